"""Nights that run by themselves: the real scheduler catches up date by date, and loses nothing when it or a task is killed.

One home, one small world of two business dates that lie in the past, so that Airflow's own catch-up drives them.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.chaos, pytest.mark.timeout(1800)]

DATES = ("2025-09-29", "2025-09-30")
WORLD = ("--seed", "11", "--platforms", "1", "--customers", "120", "--history-months", "3", "--days", "1", "--end", DATES[-1])
AIRFLOW = {"airflow-api", "airflow-triggerer", "airflow-dags", "airflow-scheduler"}
ENVIRONMENT = {"FUNDWATCH_NIGHT_TO": DATES[-1], "FUNDWATCH_RETRY_S": "3"}


@dataclass(frozen=True)
class Story:
    """What was seen while the nights ran: pids that were killed, the states `status` told, what was started again."""

    killed_step: int
    killed_scheduler: int
    after_the_kill: dict[str, str]
    started_again: dict[str, str]


class Scheduled:
    """A home whose nights Airflow runs; what it shows is read from PostgreSQL."""

    def __init__(self, night: Any) -> None:
        self.night = night

    def rows(self, query: str, role: str = "reader", database: str = "fundwatch") -> list[tuple[Any, ...]]:
        """Rows of our database, or of Airflow's."""
        address = self.state_of("postgres")["address"]
        password = (self.night.home / "secrets" / f"pg_{role}").read_text().strip()
        with psycopg.connect(f"postgresql://{role}:{password}@{address}/{database}") as connection:
            return connection.execute(query).fetchall()

    def airflow(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's metadata."""
        return self.rows(query, "airflow", "airflow")

    def state_of(self, service: str) -> dict[str, Any]:
        """The state file of a service."""
        found: dict[str, Any] = json.loads((self.night.home / "services" / f"{service}.json").read_text())
        return found

    def step_of(self, business_date: str, step: str) -> str | None:
        """State of a step in the latest run that ends with a date."""
        query = f"""select s.state from run.run r join run.step s using (run_id)
                    where r.last_date = '{business_date}' and s.step = '{step}' order by r.run_id desc limit 1"""
        found = self.rows(query, "jobs")
        return str(found[0][0]) if found else None

    def command_of(self, step: str) -> psutil.Process | None:
        """The running command of a step in this home."""
        for process in psutil.process_iter():
            try:
                if {"step", step} <= set(process.cmdline()) and process.environ().get("FUNDWATCH_HOME") == str(self.night.home):
                    return process
            except psutil.Error:
                continue
        return None

    def wait_until(self, what: str, condition: Callable[[], bool], patience_s: float = 600) -> None:
        """Ask until the condition holds; a night that failed ends the wait at once."""
        pause, deadline = threading.Event(), time.monotonic() + patience_s
        while not condition():
            failed = self.airflow("select run_id from dag_run where dag_id = 'fundwatch_nightly' and state = 'failed'")
            assert not failed, f"{failed} failed while waiting for: {what}"
            assert time.monotonic() < deadline, f"waited {patience_s:.0f} s for: {what}"
            pause.wait(0.2)

    def tasks(self) -> dict[tuple[str, str], tuple[str, int]]:
        """State and number of tries of every task of the nights, by business date and task."""
        query = """select (r.logical_date at time zone 'Asia/Shanghai')::date - 1, t.task_id, t.state, t.try_number
                   from task_instance t join dag_run r using (dag_id, run_id) where dag_id = 'fundwatch_nightly'"""
        return {(str(day), task): (state, tries) for day, task, state, tries in self.airflow(query)}


@pytest.fixture(scope="module")
def scheduled(own_night: Any) -> Iterator[Scheduled]:
    """A loaded world, Airflow running over it."""
    own_night.environment |= ENVIRONMENT
    own_night.command("simulate", *WORLD, "--out", str(own_night.world))
    own_night.command("load", str(own_night.world))
    own_night.command("up", "--only", "postgres", "--airflow")
    yield Scheduled(own_night)


@pytest.fixture(scope="module")
def story(scheduled: Scheduled) -> Story:
    """Both nights: a step of the first is killed, and the scheduler in the middle of the second."""
    scheduled.wait_until("a step of the first night", lambda: scheduled.step_of(DATES[0], "reconcile") == "RUNNING")
    command = scheduled.command_of("reconcile")
    assert command is not None
    os.killpg(command.pid, signal.SIGKILL)

    scheduled.wait_until("a step of the second night", lambda: scheduled.step_of(DATES[1], "land") == "RUNNING")
    scheduler = int(scheduled.state_of("airflow-scheduler")["pid"])
    os.kill(scheduler, signal.SIGKILL)
    states = {row["service"]: row["state"] for row in scheduled.night.command("status")["services"]}
    again = scheduled.night.command("up", "--only", "postgres", "--airflow")["services"]

    ended = "select count(*) from dag_run where dag_id = 'fundwatch_nightly' and state = 'success'"
    scheduled.wait_until("all nights", lambda: scheduled.airflow(ended) == [(len(DATES),)], 1200)
    return Story(command.pid, scheduler, states, again)


def test_catch_up_publishes_every_date_once_and_in_order(scheduled: Scheduled, story: Story) -> None:
    published = scheduled.rows("select business_date::text, platform_id, version from run.published order by published_at")
    assert published == [(day, "P01", 1) for day in DATES]
    runs = scheduled.rows("select first_date::text, last_date::text, state from run.run order by run_id", "jobs")
    assert runs == [(day, day, "PUBLISHED") for day in DATES]
    nights = scheduled.airflow(
        "select state, start_date, end_date from dag_run where dag_id = 'fundwatch_nightly' order by logical_date"
    )
    assert [state for state, _, _ in nights] == ["success"] * len(DATES)
    assert all(earlier[2] <= later[1] for earlier, later in itertools.pairwise(nights))


def test_a_killed_step_and_a_killed_scheduler_cost_one_more_try_and_nothing_else(scheduled: Scheduled, story: Story) -> None:
    tasks = scheduled.tasks()
    assert {state for state, _ in tasks.values()} == {"success"}
    assert {task: tries for task, (_, tries) in tasks.items() if tries != 1} == {
        (DATES[0], "reconcile"): 2,
        (DATES[1], "land"): 2,
    }


def test_a_dead_scheduler_is_told_and_started_again_while_the_others_stay(story: Story) -> None:
    assert story.after_the_kill["airflow-scheduler"] == "dead"
    assert {story.after_the_kill[name] for name in AIRFLOW - {"airflow-scheduler"}} == {"running"}
    assert {name: story.started_again[name] for name in AIRFLOW} == dict.fromkeys(AIRFLOW, "running") | {
        "airflow-scheduler": "started"
    }


def test_no_secret_is_on_a_command_line_or_in_a_log(scheduled: Scheduled, story: Story) -> None:
    home: Path = scheduled.night.home
    names = ("pg_airflow", "airflow_jwt", "airflow_api", "airflow_fernet")
    secrets = [(home / "secrets" / name).read_text().strip() for name in names]
    secrets += json.loads((home / "secrets" / "airflow_admin.json").read_text()).values()
    assert {(home / "secrets" / name).stat().st_mode & 0o777 for name in (*names, "airflow_admin.json")} == {0o600}
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    assert any("airflow" in line for line in lines)
    texts = [
        path.read_text(errors="replace")
        for folder in ("log", "scheduler")
        for path in (home / folder).rglob("*")
        if path.is_file()
    ]
    assert not [secret for secret in secrets for text in (*lines, *texts) if secret in text]


def test_the_published_content_is_that_of_an_undisturbed_night(scheduled: Scheduled, story: Story) -> None:
    run_ids = [row[0] for row in scheduled.rows("select run_id from run.published order by business_date")]
    scheduled_content: dict[str, dict[str, Any]] = {}
    for run_id in run_ids:
        for table, days in scheduled.night.content(run_id).items():
            scheduled_content.setdefault(table, {}).update(days)
    undisturbed = scheduled.night.unprojected_nights((DATES[0], DATES[-1]))[0]
    assert set(undisturbed["open_item"]) <= set(DATES)
    assert scheduled_content == undisturbed


def test_down_leaves_no_process_of_this_home(scheduled: Scheduled, story: Story) -> None:
    stopped = scheduled.night.command("down")["services"]
    assert {stopped[name] for name in AIRFLOW} == {"stopped"}
    left = []
    for process in psutil.process_iter():
        try:
            home = str(scheduled.night.home)  # all that we start works in it or is told of it
            if process.cwd() == home or process.environ().get("FUNDWATCH_HOME") == home:
                left.append(process.cmdline())
        except psutil.Error:
            continue
    assert left == []
