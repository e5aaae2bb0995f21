"""`fundwatch up | down | status`, on homes of their own: only PostgreSQL and small stand-in processes are started here."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from domain.errors import Failed, ServiceMissing, WrongUse
from fundwatch.services import home, jars, local, postgres, process
from fundwatch.settings import ROLES, Settings, load

ONLY = ("postgres",)
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of an empty home; what runs in it is stopped at the end."""
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNDWATCH_CLOCK", "simulated")
    monkeypatch.delenv("FUNDWATCH_DATABASE_URL", raising=False)
    settings = load()
    yield settings
    local.down(settings)


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process that no `up` started."""
    child = subprocess.Popen(SLEEPER)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        child.wait()


def state_of(settings: Settings, name: str) -> local.State:
    return next(state for state in local.status(settings) if state.service == name)


def test_up_starts_once_status_tells_and_down_stops(own_home: Settings) -> None:
    assert local.up(own_home, ONLY) == {"postgres": "started"}
    first = state_of(own_home, "postgres")
    assert local.up(own_home, ONLY) == {"postgres": "running"}
    again = state_of(own_home, "postgres")

    assert (first.state, first.pid, first.address) == ("running", again.pid, again.address)
    assert first.address == f"127.0.0.1:{home.port(own_home, 'postgres')}"
    assert first.memory_bytes is not None and first.memory_bytes > 1_000_000
    assert first.since is not None
    assert state_of(own_home, "hbase").state == "stopped"

    assert local.down(own_home)["postgres"] is True
    assert state_of(own_home, "postgres").state == "stopped"
    assert first.pid is not None and not psutil.pid_exists(first.pid)
    assert local.down(own_home)["postgres"] is False


def test_every_role_enters_with_its_password_and_nobody_without(own_home: Settings) -> None:
    local.up(own_home, ONLY)
    for role in ROLES:
        with psycopg.connect(own_home.database_url(role)) as connection:
            assert connection.execute("select current_user::text, current_setting('fsync')").fetchone() == (role, "on")
    host, port = own_home.service_address("postgres")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://service:wrong@{host}:{port}/fundwatch")


def test_secrets_are_readable_by_their_owner_alone(own_home: Settings) -> None:
    home.prepare(own_home)
    folder = own_home.home / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(home.SECRETS, 0o600)
    before = own_home.secret("pg_jobs")
    home.prepare(own_home)
    assert own_home.secret("pg_jobs") == before


def test_a_taken_port_is_named_with_what_to_do_and_its_owner_left_alone(own_home: Settings) -> None:
    home.prepare(own_home)
    port = home.port(own_home, "postgres")
    with socket.create_server(("127.0.0.1", port)) as other:
        with pytest.raises(ServiceMissing, match=rf"port {port} of postgres is taken.*port_postgres in .*settings\.toml"):
            local.up(own_home, ONLY)
        assert other.fileno() >= 0 and process.port_is_open(port)
        assert state_of(own_home, "postgres").state == "stopped"
    assert local.up(own_home, ONLY) == {"postgres": "started"}


def test_up_starts_a_killed_server_again_with_every_committed_row(own_home: Settings) -> None:
    local.up(own_home, ONLY)
    killed = state_of(own_home, "postgres").pid
    assert killed is not None
    with psycopg.connect(own_home.database_url("migrator"), autocommit=True) as connection:
        connection.execute("create table kept as select generate_series(1, 1000) as number")
    os.kill(killed, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(killed)] if psutil.pid_exists(killed) else [], timeout=10)
    assert state_of(own_home, "postgres").state == "dead"

    assert local.up(own_home, ONLY) == {"postgres": "started"}
    assert state_of(own_home, "postgres").pid != killed
    with psycopg.connect(own_home.database_url("migrator")) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)


def test_a_pid_that_was_given_to_another_program_is_not_ours(own_home: Settings, stranger: psutil.Process) -> None:
    home.prepare(own_home)
    port = home.port(own_home, "api")
    ours = process.start(own_home, "api", SLEEPER, port, {})
    os.kill(ours.pid, signal.SIGKILL)
    path = own_home.home / "services" / "api.json"
    path.write_text(path.read_text().replace(f'"pid": {ours.pid}', f'"pid": {stranger.pid}'))
    # the stranger is younger than the file says
    path.write_text(path.read_text().replace(str(ours.create_time), str(ours.create_time - 3600)))

    assert state_of(own_home, "api").state == "dead"
    assert process.find(own_home, "api") is None
    assert local.down(own_home)["api"] is False
    assert stranger.is_running() and stranger.status() != psutil.STATUS_ZOMBIE


def test_a_service_that_never_gets_ready_is_stopped_and_its_log_named(own_home: Settings) -> None:
    home.prepare(own_home)
    started = process.start(own_home, "api", SLEEPER, home.port(own_home, "api"), {})
    with pytest.raises(ServiceMissing, match=r"api was not ready after 0 s \(it sleeps\); see .*log/api\.log"):
        process.wait_ready(own_home, started, lambda: "it sleeps", 0)
    assert process.find(own_home, "api") is None and not psutil.pid_exists(started.pid)


def test_a_service_that_ends_while_starting_tells_its_last_line(own_home: Settings) -> None:
    home.prepare(own_home)
    command = (sys.executable, "-c", "raise SystemExit('no licence for this planet')")
    started = process.start(own_home, "api", command, home.port(own_home, "api"), {})
    with pytest.raises(ServiceMissing, match=r"api ended before it was ready: no licence for this planet; see .*log/api\.log"):
        process.wait_ready(own_home, started, lambda: "not yet", 30)


def test_a_home_keeps_its_clock(own_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home.prepare(own_home)
    monkeypatch.setenv("FUNDWATCH_CLOCK", "system")
    with pytest.raises(WrongUse, match="made with the simulated clock"):
        home.prepare(load())
    monkeypatch.delenv("FUNDWATCH_CLOCK")
    assert load().clock == "simulated"


def test_an_unknown_service_is_wrong_use(own_home: Settings) -> None:
    with pytest.raises(WrongUse, match="unknown service airflow"):
        local.up(own_home, ("airflow",))


def test_two_homes_get_different_ports(own_home: Settings) -> None:
    home.prepare(own_home)
    ports = [home.port(own_home, name) for name in home.PORT_NAMES]
    assert len(set(ports)) == len(home.PORT_NAMES)
    assert all(process.PORTS[0] <= port < process.PORTS[1] for port in ports)


def test_a_root_without_user_namespaces_runs_the_server_as_a_system_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_namespaces_work", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    launcher = postgres._launcher()
    assert launcher.owner is not None and launcher.owner.pw_uid != 0
    assert launcher.prefix[:2] == ("setpriv", f"--reuid={launcher.owner.pw_uid}")


def test_an_interrupted_download_of_jars_does_not_count(
    own_home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNDWATCH_CACHE", str(tmp_path / "cache"))
    tools = tmp_path / "bin"
    tools.mkdir()
    fetch = 'for word in "$@"; do case "$word" in -DoutputDirectory=*) touch "${word#*=}/one.jar";; esac; done'
    for name, lines in {"mvn": f"{fetch}\nexit 1", "java": "exit 0", "javac": "exit 0"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    settings = load()

    with pytest.raises(Failed, match=r"jars of spark: `mvn` ended with 1; see .*maven-spark\.log"):
        jars.set_up(settings)
    assert list(settings.jars_dir.glob("spark/*.jar")) == []

    (tools / "mvn").write_text(f"#!/bin/sh\n{fetch}\n")
    assert jars.set_up(settings) == {"spark": True, "hbase": True, "classes": True}
    assert [path.name for path in settings.jars_dir.glob("*/*.jar")] == ["one.jar", "one.jar"]
    assert jars.set_up(settings) == {"spark": False, "hbase": False, "classes": False}
