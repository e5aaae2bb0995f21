"""The nightly DAG: it parses, has the night's steps in order, and runs once for every calendar day."""

from __future__ import annotations

import itertools
import json
import stat
import sys
import time
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from fundwatch_job import business_date, outcome

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    started = time.process_time()
    loaded = DagBag(str(PROJECT / "dags"))
    assert loaded.import_errors == {}
    assert time.process_time() - started < 30
    return loaded


def test_the_dag_has_the_steps_of_night_toml_in_one_line(bag: DagBag) -> None:
    steps = [step["name"] for step in tomllib.loads((PROJECT / "fundwatch" / "night.toml").read_text())["step"]]
    dag = bag.dags["fundwatch_nightly"]
    order = ["open_run", *steps]
    assert [task.task_id for task in dag.topological_sort()] == order
    for earlier, later in itertools.pairwise(order):
        assert dag.get_task(earlier).downstream_task_ids == {later}
    assert 6 <= len(order) <= 10


def test_history_follows_a_publish_that_was_done_already(bag: DagBag) -> None:
    rules = {task.task_id: getattr(task.trigger_rule, "value", task.trigger_rule) for task in bag.dags["fundwatch_nightly"].tasks}
    assert rules.pop("history") == "none_failed"
    assert set(rules.values()) == {"all_success"}


def test_only_one_night_runs_at_a_time_and_transient_failures_are_retried_twice(bag: DagBag) -> None:
    dag = bag.dags["fundwatch_nightly"]
    assert dag.max_active_runs == 1
    assert {task.retries for task in dag.tasks} == {2}


def test_serialising_twice_gives_the_same_dag() -> None:
    first = DagSerialization.to_dict(DagBag(str(PROJECT / "dags")).dags["fundwatch_nightly"])
    second = DagSerialization.to_dict(DagBag(str(PROJECT / "dags")).dags["fundwatch_nightly"])
    assert json.dumps(first, sort_keys=True, default=str) == json.dumps(second, sort_keys=True, default=str)


def test_a_year_of_nights_covers_every_business_date_once_at_half_past_one_bank_time(bag: DagBag) -> None:
    serialised = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags["fundwatch_nightly"]))
    zone = ZoneInfo("Asia/Shanghai")
    restriction = TimeRestriction(
        datetime(2026, 1, 1, tzinfo=zone).astimezone(UTC), datetime(2026, 12, 31, 23, tzinfo=zone).astimezone(UTC), True
    )
    dates, last = [], None
    while True:
        info = serialised.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info is None:
            break
        last = info.data_interval
        local = info.run_after.astimezone(zone)
        assert (local.hour, local.minute) == (1, 30)
        run = SimpleNamespace(partition_key=None, logical_date=info.data_interval.end, run_after=info.run_after)
        dates.append(business_date({"params": {}, "dag_run": run}, "Asia/Shanghai"))
    assert dates == [date(2025, 12, 31) + timedelta(days=days) for days in range(365)]


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


def test_the_dag_runs_in_process_and_hands_the_run_id_to_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    cli = tmp_path / "fundwatch"
    cli.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))\n"
        "assert not any(name.startswith(('AIRFLOW__', 'PYTHON')) for name in os.environ)\n"
        "print('noise'); print('{\"run_id\": 42}')\n"
    )
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FUNDWATCH_CLI", str(cli))
    import in_process

    assert in_process.main("fundwatch_nightly", "2026-08-31") == 0
    lines = calls.read_text().splitlines()
    assert lines[0] == "run open --to 2026-08-31 --json"
    assert lines[1:4] == ["step land --run 42 --json", "step extract --run 42 --json", "step reconcile --run 42 --json"]
    assert "run publish 42 --json" in lines


def test_a_night_with_nothing_to_do_skips_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    cli = tmp_path / "fundwatch"
    cli.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))\n"
        "print('{\"skipped\": true}')\n"
    )
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FUNDWATCH_CLI", str(cli))
    import in_process

    in_process.main("fundwatch_nightly", "2026-08-31")
    assert calls.read_text().splitlines() == ["run open --to 2026-08-31 --json"]
