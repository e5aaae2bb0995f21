"""Airflow as a service: what a killed process leaves is ended, its secrets, its database; no real scheduler runs here."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from domain.errors import ServiceMissing
from fundwatch.services import airflow, airflow_home, family, home, local, process
from fundwatch.settings import Settings, load

# a worker in the session of its parent, whose command made a session of its own, as the operator starts commands
LEADER = """
import subprocess, sys, time
nap = [sys.executable, "-c", "import time; time.sleep(600)"]
worker = "import subprocess, time; print(subprocess.Popen({!r}, start_new_session=True).pid, flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", worker.format(nap)])
time.sleep(600)
"""


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of an empty home; what runs in it is stopped at the end."""
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNDWATCH_CLOCK", "simulated")
    for name in ("FUNDWATCH_DATABASE_URL", "FUNDWATCH_NIGHT_FROM", airflow_home.URL_GIVEN):
        monkeypatch.delenv(name, raising=False)
    settings = load()
    home.prepare(settings)
    yield settings
    local.down(settings)


def _started(settings: Settings) -> tuple[process.Started, psutil.Process]:
    """A stand-in scheduler and the command at the end of its family."""
    started = process.start(settings, airflow.SCHEDULER.NAME, [sys.executable, "-c", LEADER], None, {})
    process.wait_ready(settings, started, lambda: None if Path(started.log).read_text().strip() else "no command yet", 30)
    return started, psutil.Process(int(Path(started.log).read_text()))


def test_a_killed_scheduler_leaves_a_family_that_the_next_start_or_stop_ends(own_home: Settings) -> None:
    started, command = _started(own_home)
    os.kill(started.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(started.pid)] if psutil.pid_exists(started.pid) else [], timeout=10)
    assert process.find(own_home, airflow.SCHEDULER.NAME) is None
    left = family.of(started)
    assert len(left) == 2 and command in left

    assert airflow.SCHEDULER.stop(own_home) is False
    assert family.of(started) == [] and not command.is_running()


def test_stopping_a_scheduler_ends_its_commands_too(own_home: Settings) -> None:
    started, command = _started(own_home)
    assert airflow.SCHEDULER.stop(own_home) is True
    assert not command.is_running() and family.of(started) == []
    assert process.recorded(own_home, airflow.SCHEDULER.NAME) is None


def test_the_family_of_a_number_that_another_program_got_is_empty(own_home: Settings) -> None:
    started, command = _started(own_home)
    older = process.Started(**(vars(started) | {"create_time": started.create_time - 3600}))
    assert family.of(older) == []
    assert command.is_running()


def test_airflows_secrets_and_database_are_its_own(own_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(airflow_home, "_run", lambda settings, *words: commands.append(words))
    local.up(own_home, ("postgres",))
    airflow_home.prepare(own_home)
    airflow_home.prepare(own_home)
    assert [words[:2] for words in commands] == [("db", "migrate"), ("pools", "set")]

    names = ("pg_airflow", "airflow_jwt", "airflow_api", "airflow_fernet", airflow_home.PASSWORDS)
    assert {stat.S_IMODE((own_home.secrets_dir / name).stat().st_mode) for name in names} == {0o600}
    host, port = own_home.service_address("postgres")
    mine = f"postgresql://airflow:{own_home.secret('pg_airflow')}@{host}:{port}"
    with psycopg.connect(f"{mine}/airflow") as connection:
        connection.execute("create table of_airflow (number int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"{mine}/fundwatch")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"postgresql://service:{own_home.secret('pg_service')}@{host}:{port}/airflow")


def test_nights_are_planned_from_the_first_onboarding(own_home: Settings) -> None:
    local.up(own_home, ("postgres",))
    (airflow_home.folder(own_home)).mkdir()
    (airflow_home.folder(own_home) / "since").write_text("2026-09-01")
    for name in ("pg_airflow", "airflow_jwt", "airflow_api", "airflow_fernet"):
        home.write_private(own_home.secrets_dir / name, "secret\n")
    assert airflow_home.environment(own_home)["FUNDWATCH_NIGHT_FROM"] == ""
    with psycopg.connect(own_home.database_url("service")) as connection:
        for platform, onboarded_on in (("P01", "2026-08-05"), ("P02", "2026-08-01")):
            row = [platform, "n", "n", "CNY", "CN_2017", onboarded_on, "2026-08-05T00:00:00Z"]
            connection.execute("insert into registry.platform values (%s, %s, %s, %s, %s, %s, %s)", row)
    assert airflow_home.environment(own_home)["FUNDWATCH_NIGHT_FROM"] == "2026-08-01"


def test_without_its_environment_airflow_is_a_missing_service(own_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_home, "PROJECT", own_home.home)
    with pytest.raises(ServiceMissing, match="make env"):
        airflow_home.program()


def test_a_home_without_airflow_does_not_speak_of_it(own_home: Settings) -> None:
    assert not [state.service for state in local.status(own_home) if state.service.startswith("airflow")]
    airflow_home.folder(own_home).mkdir()
    assert [state.state for state in local.status(own_home) if state.service.startswith("airflow")] == ["stopped"] * 4
