"""Operators control a real night: hold it, go on without a file, run it again once the file came, killed on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

PROJECT = Path(__file__).resolve().parents[2]
DAY, END = "2026-08-30", "2026-08-31"
PASSWORDS = {"ann": "seven green lanterns", "ben": "five paper boats go"}
CHANNEL = Path(DAY) / "PC01" / "P01.channel.csv.gz"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


class Desk:
    """A small bank of its own, and two people who control its nights."""

    def __init__(self, night: Any) -> None:
        self.night = night

    def command(self, *arguments: str, by: str | None = None, expect: int = 0) -> dict[str, Any]:
        who = ["--as", by, "--password-stdin"] if by else []
        return self._run([*arguments, *who], PASSWORDS.get(by or "", ""), expect)

    def approved(self, kind: str, *options: str) -> str:
        """The id of a control that ann proposed and ben approved."""
        asked = self.command("control", "propose", "--kind", kind, "--reason", "as agreed", *options, by="ann")
        control_id = str(asked["control_id"])
        self.command("control", "approve", control_id, by="ben")
        return control_id

    def state(self, control_id: str) -> dict[str, Any]:
        (found,) = (one for one in self.command("control", "list")["controls"] if str(one["control_id"]) == control_id)
        return dict(found)

    def add(self, name: str, role: str) -> None:
        self._run(["user", "add", name, "--role", role, "--password-stdin"], PASSWORDS[name], 0)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        home = self.night.home
        address = json.loads((home / "services" / "postgres.json").read_text())["address"]
        url = f"postgresql://jobs:{(home / 'secrets' / 'pg_jobs').read_text().strip()}@{address}/fundwatch"
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    def published(self) -> list[tuple[str, int, str]]:
        rows = self.rows("select business_date, version, state from run.published where platform_id = 'P01' order by 1, 2")
        return [(day.isoformat(), version, state) for day, version, state in rows]

    def channel_file(self) -> list[tuple[Any, ...]]:
        query = f"""select state, reason_code from mart.current_file_control
                     where business_date = '{DAY}' and file_kind = 'channel' and platform_id = 'P01'"""
        return self.rows(query)

    def missing_in_channel(self) -> int:
        query = f"select count(*) from mart.current_open_item where business_date = '{DAY}' and code = 'B11'"
        return int(self.rows(query)[0][0])

    def _run(self, arguments: list[str], password: str, expect: int) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "fundwatch.cli", *arguments, "--json"],
            env=self.night.environment,
            cwd=PROJECT,
            input=f"{password}\n",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def desk(own_night: Any) -> Desk:
    """One platform, three dates; the channel file of the last date but one does not come."""
    own_night.environment["FUNDWATCH_SPARK_REMOTE"] = own_night.spark_remote
    size = ("--platforms", "1", "--customers", "60", "--history-months", "3", "--days", "2")
    world = ("--seed", "5", *size, "--faults-per-code", "0")  # what is missing is missing by this test alone
    own_night.command("simulate", *world, "--end", END, "--out", str(own_night.world))
    own_night.command("load", str(own_night.world))
    shutil.move(own_night.home / "landing" / CHANNEL, own_night.home / "kept")
    desk = Desk(own_night)
    desk.add("ann", "officer")
    desk.add("ben", "checker")
    return desk


def test_operators_hold_a_night_go_on_without_a_file_and_take_it_when_it_comes(desk: Desk) -> None:
    held = desk.approved("HOLD")
    assert desk.command("nightly", "--to", END)["reason"].startswith("held by ann (approved by ben)")
    assert desk.published() == []
    desk.approved("RESUME")
    desk.command("nightly", "--to", END)
    assert (DAY, 1, "INCOMPLETE") in desk.published()
    assert desk.channel_file() == [("MISSING", "MISSING")]
    assert desk.missing_in_channel() == 0
    assert desk.state(held)["state"] == "APPROVED"

    waiver = desk.approved("WITHOUT_FILE", "--platform", "P01", "--date", DAY, "--sender", "PC01", "--file-kind", "channel")
    (done,) = desk.command("control", "run-approved")["done"]
    assert (str(done["control_id"]), done["from"], done["to"], done["outcome"]) == (waiver, DAY, END, "PUBLISHED")
    assert desk.published()[-4:] == [(DAY, 1, "INCOMPLETE"), (DAY, 2, "COMPLETE"), (END, 1, "COMPLETE"), (END, 2, "COMPLETE")]
    assert desk.channel_file() == [("WAIVED", "MISSING")]
    # what the custodian booked and the payment company does not show is a break as any other
    assert desk.missing_in_channel() > 0

    shutil.copy2(desk.night.home / "kept", desk.night.home / "landing" / CHANNEL)
    rerun = desk.approved("RERUN", "--platform", "P01", "--from", DAY)
    kill_once_it_runs(desk, rerun)
    assert desk.state(rerun)["state"] == "APPROVED"
    (done,) = desk.command("control", "run-approved")["done"]
    assert (str(done["control_id"]), done["outcome"]) == (rerun, "PUBLISHED")
    assert [state for _, version, state in desk.published() if version == 3] == ["COMPLETE", "COMPLETE"]
    assert desk.channel_file() == [("ACCEPTED", None)]
    assert desk.missing_in_channel() == 0
    assert desk.command("control", "run-approved") == {"skipped": True, "reason": "no approved control waits to be carried out"}
    assert len(desk.rows("select from ops.control_done")) == 2


def kill_once_it_runs(desk: Desk, control_id: str) -> None:
    """Start carrying out a control and kill the process after its first step."""
    killed = subprocess.Popen(
        [sys.executable, "-m", "fundwatch.cli", "control", "run-approved"],
        env=desk.night.environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    query = f"""select from ops.control_run join run.step using (run_id)
                 where control_id = {control_id} and step = 'land' and state = 'DONE'"""
    deadline = time.monotonic() + 300
    while not desk.rows(query):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()


def test_the_watchdog_the_monthly_reports_and_retention_see_what_was_published(desk: Desk) -> None:
    assert desk.command("watchdog")["state"] == "fine"
    first = desk.command("report", "monthly", "--on", "2026-09-07")
    assert [(one["platform_id"], one["is_new"], one["error"]) for one in first["reports"]] == [("P01", True, None)]
    again = desk.command("report", "monthly", "--on", "2026-09-07")
    assert [(one["folder"], one["is_new"]) for one in again["reports"]] == [(first["reports"][0]["folder"], False)]
    assert desk.command("report", "monthly", "--on", "2026-09-08")["skipped"]
    assert "2026-09-30" in desk.command("report", "monthly", "--on", "2026-10-13", expect=10)["reports"][0]["error"]
    assert desk.command("retention", "apply")["skipped"]
