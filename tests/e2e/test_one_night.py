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
END = "2026-08-31"

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


def test_three_dates_in_one_pass_and_one_by_one_give_the_same_content(night: Any, published: dict[str, Any]) -> None:
    dates = [f"2026-08-{day:02d}" for day in range(29, 32)]
    together, *single = night.unprojected_nights((dates[0], dates[-1]), *((day, day) for day in dates))
    one_by_one: dict[str, Any] = {}
    for content in single:
        for table, days in content.items():
            one_by_one.setdefault(table, {}).update(days)
    assert set(together["open_item"]) <= set(dates)
    assert together == one_by_one


def test_a_step_killed_half_way_leaves_nothing_published_and_its_rerun_gives_the_same_content(
    night: Any, published: dict[str, Any]
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
    assert [night.content(int(run_id))] == night.unprojected_nights((END, END))
