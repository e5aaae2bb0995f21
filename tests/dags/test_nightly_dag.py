"""The nightly DAG: it parses, has the night's steps in order, and runs once for every calendar day."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import in_process
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from fundwatch_job import FilesArrived, business_date, outcome

if TYPE_CHECKING:
    from conftest import StandIn

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    started = time.process_time()
    loaded = DagBag(str(PROJECT / "dags"))
    assert loaded.import_errors == {}
    assert time.process_time() - started < 30
    return loaded


def test_the_dag_has_the_steps_of_night_toml_in_one_line_up_to_the_publish(bag: DagBag) -> None:
    steps = tomllib.loads((PROJECT / "fundwatch" / "night.toml").read_text())["step"]
    line = ["wait_for_files", "open_run", *(step["name"] for step in steps if not step.get("after_publish"))]
    after = {step["name"] for step in steps if step.get("after_publish")}
    dag = bag.dags["fundwatch_nightly"]
    assert {task.task_id for task in dag.tasks} == {*line, *after}
    for earlier, later in itertools.pairwise(line):
        assert dag.get_task(earlier).downstream_task_ids == {later}
    assert line[-1] == "publish" and dag.get_task("publish").downstream_task_ids == after == {"send", "history"}
    assert 8 <= len(line) <= 12


def test_history_and_sending_follow_a_publish_that_was_done_already(bag: DagBag) -> None:
    rules = {task.task_id: getattr(task.trigger_rule, "value", task.trigger_rule) for task in bag.dags["fundwatch_nightly"].tasks}
    assert rules.pop("history") == rules.pop("send") == "none_failed"
    assert set(rules.values()) == {"all_success"}


def test_only_one_night_runs_at_a_time_and_transient_failures_are_retried_twice(bag: DagBag) -> None:
    dag = bag.dags["fundwatch_nightly"]
    assert dag.max_active_runs == 1
    assert {task.pool for task in dag.tasks if task.task_id != "wait_for_files"} == {"fundwatch_books"}
    assert {task.retries for task in dag.tasks} == {2}


def test_serialising_twice_gives_the_same_dag() -> None:
    first = DagSerialization.to_dict(DagBag(str(PROJECT / "dags")).dags["fundwatch_nightly"])
    second = DagSerialization.to_dict(DagBag(str(PROJECT / "dags")).dags["fundwatch_nightly"])
    assert json.dumps(first, sort_keys=True, default=str) == json.dumps(second, sort_keys=True, default=str)


def test_a_year_of_nights_covers_every_business_date_once_at_half_past_one_bank_time(bag: DagBag) -> None:
    dag = bag.dags["fundwatch_nightly"]
    serialised = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    zone = ZoneInfo("Asia/Shanghai")
    # the last night is that of 2026-12-31
    restriction = TimeRestriction(dag.start_date, datetime(2027, 1, 1, 1, 30, tzinfo=zone).astimezone(UTC), True)
    dates, last = [], None
    while True:
        info = serialised.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info is None:
            break
        last = info.data_interval
        # an interval before the start date would give a run without tasks that counts as a success
        assert info.data_interval.start >= dag.start_date
        local = info.run_after.astimezone(zone)
        assert (local.hour, local.minute) == (1, 30)
        run = SimpleNamespace(partition_key=None, logical_date=info.data_interval.end, run_after=info.run_after)
        dates.append(business_date({"params": {}, "dag_run": run}, "Asia/Shanghai"))
    assert dates == [date(2026, 1, 1) + timedelta(days=days) for days in range(365)]


def test_a_given_business_date_wins_over_the_clock() -> None:
    run = SimpleNamespace(partition_key=None, logical_date=None, run_after=datetime(2026, 9, 1, tzinfo=UTC))
    assert business_date({"params": {"business_date": "2026-08-15"}, "dag_run": run}, "Asia/Shanghai") == date(2026, 8, 15)
    assert business_date({"params": {}, "dag_run": run}, "Asia/Shanghai") == date(2026, 8, 31)


@pytest.mark.parametrize("exit_code", [2, 3, 10])
def test_wrong_use_bad_input_and_failed_checks_are_not_retried(exit_code: int) -> None:
    with pytest.raises(AirflowFailException, match=f"exit code {exit_code}"):
        outcome(exit_code, "why")


@pytest.mark.parametrize("exit_code", [1, 4, 5, -9, -15])
def test_crashes_missing_services_and_signals_are_retried(exit_code: int) -> None:
    with pytest.raises(AirflowException) as caught:
        outcome(exit_code, "why")
    assert not isinstance(caught.value, AirflowFailException | AirflowSkipException)


def test_nothing_to_do_is_a_skip_and_a_result_is_handed_on() -> None:
    with pytest.raises(AirflowSkipException):
        outcome(0, '{"skipped": true}')
    assert outcome(0, '{"run_id": 7}') == {"run_id": 7}


READY = {"ready": True, "missing": [], "deadline_passed": False}


def test_the_dag_runs_in_process_and_hands_the_run_id_to_every_step(fundwatch: StandIn) -> None:
    fundwatch.answer({"": (0, {"run_id": 42}), "files wait": (0, READY)})
    assert in_process.main("fundwatch_nightly", "2026-08-31") == 0
    assert fundwatch.calls[:4] == [
        "files wait --to 2026-08-31 --collect --json",
        "run open --to 2026-08-31 --json",
        "step land --run 42 --json",
        "step extract --run 42 --json",
    ]
    assert fundwatch.calls[-3] == "run publish 42 --json"
    assert set(fundwatch.calls[-2:]) == {"step send --run 42 --json", "step history --run 42 --json"}


def test_a_date_that_is_published_skips_every_step(fundwatch: StandIn) -> None:
    fundwatch.answer({"files wait": (0, READY), "run open": (0, {"skipped": True})})
    assert in_process.main("fundwatch_nightly", "2026-08-31") == 0
    assert fundwatch.calls == ["files wait --to 2026-08-31 --collect --json", "run open --to 2026-08-31 --json"]


def test_a_date_that_is_refused_fails_at_once_and_no_step_follows(fundwatch: StandIn) -> None:
    fundwatch.answer({"files wait": (0, READY), "run open": (3, {})})
    assert in_process.main("fundwatch_nightly", "2026-08-31") == 5
    assert fundwatch.calls == ["files wait --to 2026-08-31 --collect --json", "run open --to 2026-08-31 --json"]


def test_in_process_nobody_waits_for_files_that_are_not_there(fundwatch: StandIn) -> None:
    fundwatch.answer({"files wait": (0, READY | {"ready": False, "missing": ["P01/P01.orders"]})})
    assert in_process.main("fundwatch_nightly", "2026-08-31") == 5
    assert fundwatch.calls == ["files wait --to 2026-08-31 --collect --json"]


CONTEXT = {
    "params": {"business_date": "2026-08-31"},
    "run_id": "manual",
    "dag_run": SimpleNamespace(partition_key=None, logical_date=None, run_after=datetime(2026, 9, 1, tzinfo=UTC)),
}


@pytest.fixture
def sensor() -> FilesArrived:
    return FilesArrived(task_id="wait", arguments=["files", "wait", "--to", "{business_date}"], zone="Asia/Shanghai")


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [
        ({"ready": True, "missing": [], "deadline_passed": False}, True),
        ({"ready": False, "missing": ["P01/P01.orders"], "deadline_passed": False}, False),
        ({"ready": False, "missing": ["P01/P01.orders"], "deadline_passed": True}, True),
        ({"ready": False, "missing": [], "deadline_passed": True, "held": True, "reason": "held by ann"}, False),
    ],
)
def test_the_night_waits_for_its_files_until_the_deadline_and_as_long_as_it_is_held(
    fundwatch: StandIn, sensor: FilesArrived, answer: dict[str, Any], goes_on: bool
) -> None:
    fundwatch.answer({"files wait": (0, answer)})
    assert sensor.poke(CONTEXT) is goes_on
    assert fundwatch.calls == ["files wait --to 2026-08-31 --json"]


def test_a_wait_holds_no_slot_and_asks_every_minute(bag: DagBag) -> None:
    wait = bag.dags["fundwatch_nightly"].get_task("wait_for_files")
    assert (wait.mode, wait.poke_interval, wait.pool) == ("reschedule", 60, "default_pool")


def test_a_wait_asks_again_when_a_service_is_missing_and_fails_on_a_refused_date(
    fundwatch: StandIn, sensor: FilesArrived
) -> None:
    fundwatch.answer({"files wait": (4, {})})
    assert sensor.poke(CONTEXT) is False
    fundwatch.answer({"files wait": (3, {})})
    with pytest.raises(AirflowFailException, match="exit code 3"):
        sensor.poke(CONTEXT)
    fundwatch.answer({"files wait": (5, {})})
    with pytest.raises(AirflowException):
        sensor.poke(CONTEXT)


def test_a_command_dies_with_its_killed_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = tmp_path / "fundwatch"
    cli.write_text(f"#!{sys.executable}\nimport os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    cli.chmod(0o755)
    monkeypatch.setenv("FUNDWATCH_CLI", str(cli))
    script = (
        "import sys; from fundwatch_job import Command; from types import SimpleNamespace as N; from datetime import *\n"
        "run = N(partition_key=None, logical_date=None, run_after=datetime.now(UTC))\n"
        "log = N(info=lambda text, *rest: print(text, flush=True))\n"
        "Command(['nap'], 'UTC').run({'params': {}, 'dag_run': run, 'run_id': 'r'}, log)"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "dags")}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        command = next(int(line) for line in task.stdout if line.strip().isdigit())
        waiter = os.pidfd_open(command)
        os.kill(task.pid, signal.SIGKILL)
    try:
        assert select.select([waiter], [], [], 20)[0], "the command outlived its task"
    finally:
        os.close(waiter)
