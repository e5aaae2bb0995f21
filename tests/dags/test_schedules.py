"""All DAGs: they parse quickly and light, run when the bank means it, call the commands they should, keep off each other."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import in_process
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowSkipException
from fundwatch_job import FundwatchJob, calendar_date, is_within

if TYPE_CHECKING:
    from conftest import StandIn

PROJECT = Path(__file__).resolve().parents[2]
DAGS = {
    "fundwatch_nightly",
    "fundwatch_monthly",
    "fundwatch_model",
    "fundwatch_retention",
    "fundwatch_verify",
    "fundwatch_controls",
}
ZONE = "Asia/Shanghai"


def test_every_file_parses_in_a_fifth_of_a_second_and_loads_nothing_of_ours(parsed: Callable[..., dict[str, Any]]) -> None:
    found = parsed()
    assert found["errors"] == {}
    assert set(found["dags"]) == DAGS
    assert max(found["seconds"].values()) < 0.2
    ours = {"domain", "fundwatch", "lake", "transactional", "ingest", "recon", "spark_jobs", "reports", "models", "pyspark"}
    assert not ours & set(found["loaded"])


def test_schedules_are_plain_cron_in_the_banks_zone_and_the_start_of_the_night_is_a_setting(
    parsed: Callable[..., dict[str, Any]],
) -> None:
    dags = parsed(FUNDWATCH_ZONE="Europe/Vilnius", FUNDWATCH_NIGHT_START="02:15")["dags"]
    assert {name.removeprefix("fundwatch_"): dag["cron"] for name, dag in dags.items()} == {
        "nightly": "15 2 * * *",
        "monthly": "30 6 * * *",
        "model": "0 12 2 * *",
        "retention": "0 12 * * 0",
        "verify": "0 14 * * 0",
        "controls": "*/10 * * * *",
    }
    assert {dag["zone"] for dag in dags.values()} == {"Europe/Vilnius"}
    assert {dag["active"] for dag in dags.values()} == {1}


def test_nights_catch_up_from_the_first_business_date_to_the_last(parsed: Callable[..., dict[str, Any]]) -> None:
    dags = parsed(FUNDWATCH_NIGHT_FROM="2025-09-28", FUNDWATCH_NIGHT_TO="2025-09-30", FUNDWATCH_SCHEDULED_SINCE="2026-11-05")[
        "dags"
    ]
    nightly = dags["fundwatch_nightly"]
    assert nightly["catchup"] is True
    # 01:30 in Shanghai on the day after each date
    assert (nightly["start"], nightly["end"]) == ("2025-09-28T17:30:00+00:00", "2025-09-30T17:30:00+00:00")
    assert dags["fundwatch_monthly"]["catchup"] is True
    assert dags["fundwatch_monthly"]["start"] == "2026-11-04T16:00:00+00:00"
    assert not any(dags[f"fundwatch_{name}"]["catchup"] for name in ("model", "retention", "verify", "controls"))


def test_without_a_first_business_date_no_night_is_planned_and_without_a_birthday_nothing_catches_up(
    parsed: Callable[..., dict[str, Any]],
) -> None:
    dags = parsed(FUNDWATCH_NIGHT_FROM="", FUNDWATCH_SCHEDULED_SINCE="")["dags"]
    assert dags["fundwatch_nightly"]["cron"] is None
    assert dags["fundwatch_monthly"]["catchup"] is False


@pytest.mark.parametrize(
    ("dag_id", "call"),
    [
        ("fundwatch_monthly", "report monthly --on 2026-09-07 --json"),
        ("fundwatch_model", "model train --to 2026-09-07 --json"),
        ("fundwatch_retention", "retention apply --json"),
        ("fundwatch_verify", "ledger verify --json"),
        ("fundwatch_controls", "control run-approved --json"),
    ],
)
def test_the_other_dags_call_one_command_skip_when_there_is_nothing_and_fail_on_bad_input(
    fundwatch: StandIn, dag_id: str, call: str
) -> None:
    for answer, exit_code in (((0, {"done": 1}), 0), ((0, {"skipped": True}), 0), ((3, {}), 5)):
        fundwatch.answer({"": answer})
        assert in_process.main(dag_id, "2026-09-07") == exit_code
    assert fundwatch.calls == [call] * 3


def test_the_monthly_dag_asks_for_its_own_day_and_the_night_for_the_day_before() -> None:
    # 06:30 in Shanghai on the 7th is the evening of the 6th in UTC
    run = SimpleNamespace(partition_key=None, logical_date=datetime(2026, 9, 6, 22, 30, tzinfo=UTC), run_after=None)
    assert calendar_date({"params": {}, "dag_run": run}, ZONE) == date(2026, 9, 7)


class Counts:
    """Task instances of the nightly DAG that have ended, by task."""

    def __init__(self, **ended: int) -> None:
        self.ended = ended

    def get_ti_count(self, dag_id: str, task_ids: list[str], states: list[str]) -> int:
        assert dag_id == "fundwatch_nightly" and "running" not in states
        return sum(self.ended[task] for task in task_ids)


@pytest.mark.parametrize(("opened", "ended", "within"), [(0, 0, False), (3, 3, False), (4, 3, True)])
def test_a_night_is_under_way_between_its_opening_and_its_last_step(opened: int, ended: int, within: bool) -> None:
    assert is_within(Counts(open_run=opened, history=ended), "fundwatch_nightly", "open_run", "history") is within


def test_controls_wait_for_their_next_time_while_a_night_is_under_way(fundwatch: StandIn) -> None:
    task = DagBag(str(PROJECT / "dags")).dags["fundwatch_controls"].get_task("run_approved")
    assert isinstance(task, FundwatchJob)
    with pytest.raises(AirflowSkipException, match="in the middle"):
        task.execute({"ti": Counts(open_run=1, history=0)})
    assert fundwatch.calls == []
    last = tomllib.loads((PROJECT / "fundwatch" / "night.toml").read_text())["step"][-1]["name"]
    assert task.not_within == ("fundwatch_nightly", "open_run", last)


def test_whatever_changes_what_is_published_takes_the_one_slot_of_the_books() -> None:
    dags = DagBag(str(PROJECT / "dags")).dags
    pools = {dag_id: {task.pool for task in dag.tasks} for dag_id, dag in dags.items()}
    assert pools["fundwatch_controls"] == pools["fundwatch_retention"] == {"fundwatch_books"}
    assert pools["fundwatch_monthly"] == pools["fundwatch_model"] == {"default_pool"}
