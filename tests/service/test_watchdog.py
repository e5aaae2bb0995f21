"""The watchdog beside a real PostgreSQL: published, late, held, incomplete, and PostgreSQL down."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fundwatch.services import process
from fundwatch.settings import load
from fundwatch.watch import serve
from fundwatch.watch.judgement import closed_date, due_date, judge, unknown
from fundwatch.watch.look import look
from transactional import controls
from transactional.controls import Control

D1, D2 = date(2026, 8, 30), date(2026, 8, 31)
T0 = datetime(2026, 8, 1, tzinfo=UTC)
SEVEN = datetime(2026, 8, 31, 23, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def execute(database: Any, *statements: str) -> None:
    with psycopg.connect(database.url("migrator"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def publish(database: Any, platform_id: str, day: date, state: str = "COMPLETE") -> None:
    reason = "null" if state == "COMPLETE" else "'PC01.channel: it did not come'"
    execute(
        database,
        f"""insert into run.published select '{day}', '{platform_id}', 1 + count(*), 1, '{state}', {reason}, '{T0}'
            from run.published where business_date = '{day}' and platform_id = '{platform_id}'""",
    )


@pytest.fixture
def bank(database: Any) -> Any:
    """Two platforms, the first date published, the second not; the clock stands a minute before the night's deadline."""
    execute(
        database,
        f"insert into registry.platform select p, p, p, 'CNY', 'CN_2017', '{D1}', '{T0}' from unnest(array['P01','P02']) p",
        "insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at) "
        f"values ('{D1}', '{D1}', 0, '{{}}', 'x', 'PUBLISHED', '{T0}')",
        f"update ledger.clock set now_at = '{SEVEN - MINUTE}'",
    )
    for platform_id in ("P01", "P02"):
        publish(database, platform_id, D1)
    return database


def at(database: Any, moment: datetime) -> None:
    execute(database, f"update ledger.clock set now_at = '{moment}'")


def test_yesterday_is_due_from_the_deadline_on_and_the_day_before_until_then(bank: Any) -> None:
    assert [due_date(bank.settings, moment) for moment in (SEVEN - MINUTE, SEVEN)] == [D1, D2]
    cutoff = datetime(2026, 8, 31, 15, 0, tzinfo=UTC)
    assert [closed_date(bank.settings, moment) for moment in (cutoff - MINUTE, cutoff)] == [D1, D2]
    found = look(bank.settings)
    assert (found.state, found.reason) == ("fine", f"every platform is published up to {D1}")
    at(bank, SEVEN)
    found = look(bank.settings)
    assert (found.state, found.reason) == ("late", f"{D2} is due and not published for P01 (since {D2}), P02 (since {D2})")
    publish(bank, "P01", D2)
    found = look(bank.settings)
    assert found.seen is not None
    assert [(one.platform_id, one.since, one.dates) for one in found.seen.late] == [("P02", D2, 1)]
    assert found.seen.files_missing == 9 + 1
    publish(bank, "P02", D2, "INCOMPLETE")
    found = look(bank.settings)
    assert (found.state, found.reason) == ("fine", f"every platform is published up to {D2}; incomplete: P02")
    publish(bank, "P02", D2)
    assert look(bank.settings).reason == f"every platform is published up to {D2}"


def test_a_gap_before_the_last_published_date_is_late_too(bank: Any) -> None:
    execute(bank, f"delete from run.published where platform_id = 'P02' and business_date = '{D1}'")
    publish(bank, "P02", D2)
    found = look(bank.settings)
    assert (found.state, found.reason) == ("late", f"{D1} is due and not published for P02 (since {D1})")


def test_a_held_night_is_named(bank: Any) -> None:
    with psycopg.connect(bank.url("service"), autocommit=True) as connection:
        controls.decide(connection, controls.propose(connection, Control("HOLD", reason="look"), "ann"), "ben", True)
    at(bank, SEVEN)
    found = look(bank.settings)
    assert found.state == "late"
    assert "the night is held by ann (approved by ben)" in found.reason


def test_the_command_ends_with_0_or_10_or_4(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(expect: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "fundwatch.cli", "watchdog", "--json"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == expect, done.stderr
        assert "Traceback" not in done.stderr
        return str(json.loads(done.stdout)["state"])

    assert command(0) == "fine"
    at(bank, SEVEN)
    assert command(10) == "late"
    monkeypatch.setenv("FUNDWATCH_DATABASE_URL", f"postgresql://{process.HOST}:1/nowhere")
    assert command(4) == "unknown"


@dataclass
class Dog:
    """The watchdog's process: its port, and its journal."""

    port: int
    journal: Path
    running: subprocess.Popen[bytes]

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(process.HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def says(self, status: int, words: str) -> dict[str, Any]:
        """Wait until `/healthz` answers so."""
        word = wait_for(lambda: answer if (answer := self.get("/healthz"))[0] == status and words in answer[1] else None)
        found: dict[str, Any] = json.loads(word[1])
        return found

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


def wait_for(ask: Callable[[], Any]) -> Any:
    """What `ask` gives once it gives something."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            found = ask()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in 30 s")


@pytest.fixture
def start(bank: Any) -> Iterator[Callable[[int], Dog]]:
    """Start watchdogs that look five times a second; they are stopped at the end."""
    dogs: list[Dog] = []

    def begin(postgres_port: int) -> Dog:
        import os

        (port,) = process.free_ports(1)
        url = f"postgresql://{process.HOST}:{postgres_port}/{bank.name}"
        command = [sys.executable, "-m", "fundwatch.watch.serve", "--port", str(port), "--every-s", "0.2"]
        dog = Dog(
            port, load().log_dir / serve.JOURNAL, subprocess.Popen(command, env=os.environ | {"FUNDWATCH_DATABASE_URL": url})
        )
        dogs.append(dog)
        wait_for(lambda: dog.get("/livez")[0] == 200)
        return dog

    yield begin
    for dog in dogs:
        dog.running.send_signal(signal.SIGTERM)
        assert dog.running.wait(30) == 0
    dogs[0].journal.unlink()


def test_the_service_answers_for_machines_and_keeps_what_changed(bank: Any, start: Callable[[int], Dog]) -> None:
    port = bank.settings.service_address("postgres")[1]
    dog = start(port)
    dog.says(200, '"state": "fine"')
    at(bank, SEVEN)
    assert [one["platform_id"] for one in dog.says(503, '"state": "late"')["late"]] == ["P01", "P02"]
    status, text = dog.get("/metrics")
    assert status == 200
    assert "fundwatch_night_late 1\n" in text
    assert (
        f'fundwatch_published_business_date_seconds{{platform="P01"}} {int(datetime(2026, 8, 30, tzinfo=UTC).timestamp())}\n'
        in text
    )
    assert "fundwatch_files_missing 20\n" in text
    assert dog.get("/nowhere")[0] == 404
    for platform_id in ("P01", "P02"):
        publish(bank, platform_id, D2)
    dog.says(200, '"state": "fine"')
    states = [(line["state"], line["due"], len(line["late"])) for line in dog.lines()]
    assert states[0] == ("fine", D1.isoformat(), 0)
    assert ("late", D2.isoformat(), 2) in states
    assert states[-1] == ("fine", D2.isoformat(), 0)
    # one that starts again knows what it said last
    before = len(dog.lines())
    start(port).says(200, '"state": "fine"')
    assert len(dog.lines()) == before


def test_it_outlives_postgresql_and_says_that_it_cannot_know(bank: Any, start: Callable[[int], Dog]) -> None:
    """The server goes away for it: every connection is ended and no new one is let in; then it comes back."""
    host, port = bank.settings.service_address("postgres")
    dog = start(port)
    dog.says(200, '"state": "fine"')
    admin = f"postgresql://postgres:{bank.settings.secret('pg_superuser')}@{host}:{port}/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"alter database {bank.name} allow_connections false".encode())
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [bank.name])
        found = dog.says(503, "cannot know whether the night published")
        assert found["state"] == "unknown"
        assert "fundwatch_night_unknown 1\n" in dog.get("/metrics")[1]
        assert "fundwatch_night_late" not in dog.get("/metrics")[1]
        connection.execute(f"alter database {bank.name} allow_connections true".encode())
    dog.says(200, '"state": "fine"')


def test_a_watchdog_that_started_before_postgresql_waits_for_it(start: Callable[[int], Dog]) -> None:
    assert start(1).says(503, '"state": "unknown"')["dead_services"] == []


def test_an_old_word_counts_no_more(tmp_path: Path) -> None:
    watch = serve.Watch(tmp_path / "watchdog.jsonl", every_s=1)
    assert "has not looked yet" in watch.word().reason
    old = unknown("x").looked_at - timedelta(seconds=10)
    seen = serve.Judgement("fine", "all is well", looked_at=old)
    watch.take(seen)
    assert watch.word().state == "unknown"
    assert "looked 10 s ago last" in watch.word().reason


def test_half_a_line_of_a_killed_process_does_not_spoil_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "watchdog.jsonl"
    journal.write_text('{"state": "fi')
    serve.Watch(journal).take(unknown("first"))
    serve.Watch(journal).take(unknown("again"))
    assert [line[:9] for line in journal.read_text().splitlines()] == ['{"state":', '{"dead_se']


def test_its_process_loads_neither_spark_nor_airflow() -> None:
    script = "import sys, fundwatch.watch.serve; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "psycopg" in loaded
    assert not [name for name in ("pyspark", "airflow", "pyarrow", "pyiceberg", "fastapi") if f"'{name}'" in loaded]


def test_judging_nothing_at_all_is_fine() -> None:
    from fundwatch.watch.judgement import Seen

    assert judge(Seen(SEVEN, D2, {})).reason == "no platform is registered yet"
