"""The whole night on real parts, in a home of its own: services, a small world, the DAG, the answer key, the figures."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
END, LAST_BUT_ONE = "2026-08-31", "2026-08-30"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_the_dag_publishes_the_night_and_the_answer_key_is_found_exactly(night: Any, published: dict[str, Any]) -> None:
    assert all(task["state"] == "success" for task in published["tasks"].values())
    check = night.command("check", str(night.world))
    assert check["ok"] is True
    assert sum(counts["planted"] for counts in check["codes"].values()) > 0
    for counts in check["codes"].values():
        assert (counts["missed"], counts["extra"]) == (0, 0)


def test_a_night_run_twice_has_nothing_to_do(night: Any, published: dict[str, Any]) -> None:
    assert night.command("nightly", "--to", END)["skipped"] is True


def test_the_ledger_verifies_after_the_load(night: Any, published: dict[str, Any]) -> None:
    assert night.command("ledger", "verify")["ok"] is True


def test_the_figure_set_is_built_and_verified_offline(night: Any, published: dict[str, Any]) -> None:
    built = night.command("report", "build", "--pack", "CN_2017", "--platform", "P01", "--period", END[:7])
    assert night.command("report", "verify", built["folder"])["ok"] is True


@pytest.fixture(scope="module")
def in_one_pass(night: Any, published: dict[str, Any]) -> dict[str, Any]:
    """What the night over all dates wrote, by table and date."""
    content: dict[str, Any] = night.content(night.command("run", "show")["run_id"])
    return content


def of(content: dict[str, Any], business_date: str) -> dict[str, Any]:
    """What a content holds of one date."""
    return {table: days[business_date] for table, days in content.items() if business_date in days}


def engine_of(night: Any, run_id: int) -> str:
    """What reconciled a run."""
    (detail,) = [
        step["detail"] for step in night.command("run", "show", "--run", str(run_id))["steps"] if step["step"] == "reconcile"
    ]
    return str(detail["engine"])


# tests/e2e/test_scheduler.py compares two dates one by one with one pass; here one date, planned and compiled as in a bank
def test_a_date_run_alone_on_spark_has_the_content_that_it_has_in_one_pass_on_duckdb(
    night: Any, in_one_pass: dict[str, Any]
) -> None:
    assert engine_of(night, night.command("run", "show")["run_id"]) == "duckdb"
    (alone,) = night.unprojected_nights((LAST_BUT_ONE, LAST_BUT_ONE), FUNDWATCH_RECON_ENGINE="spark")
    assert {day for days in alone.values() for day in days} == {LAST_BUT_ONE}
    assert of(alone, LAST_BUT_ONE)["open_item"]["rows"] > 0
    assert of(alone, LAST_BUT_ONE) == of(in_one_pass, LAST_BUT_ONE)


def test_a_step_killed_half_way_leaves_nothing_published_and_its_rerun_gives_the_same_content(
    night: Any, in_one_pass: dict[str, Any]
) -> None:
    first = night.command("run", "show")
    opened = night.command("run", "open", "--from", END, "--to", END)
    run_id = str(opened["run_id"])
    environment = night.environment | {"FUNDWATCH_SPARK_REMOTE": night.spark_remote}
    for step in ("land", "extract", "snapshot"):
        night.command("step", step, "--run", run_id, FUNDWATCH_SPARK_REMOTE=night.spark_remote)
    killed = subprocess.Popen(
        [sys.executable, "-m", "fundwatch.cli", "step", "reconcile", "--run", run_id],
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        steps = {step["step"]: step["state"] for step in night.command("run", "show", "--run", run_id)["steps"]}
        if steps.get("reconcile") == "RUNNING":
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert night.command("run", "show")["run_id"] == first["run_id"]
    for step in ("reconcile", "features", "score", "indicators", "verify"):
        night.command("step", step, "--run", run_id, FUNDWATCH_SPARK_REMOTE=night.spark_remote)
    night.command("run", "publish", run_id)
    assert of(night.content(int(run_id)), END) == of(in_one_pass, END)
