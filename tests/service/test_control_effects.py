"""What approved controls do: a held night opens no run, waivers count from their approval on, re-runs happen exactly once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput, Failed
from fundwatch import night, outbound, reruns, send
from fundwatch.settings import Settings
from lake import operators, runs
from lake.lock import exclusive
from lake.steps import Run
from transactional import controls, users
from transactional.controls import Control

D1, D2 = date(2026, 8, 30), date(2026, 8, 31)
T0 = datetime(2026, 8, 1, tzinfo=UTC)
NOW = datetime(2026, 8, 31, 17, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
WITHOUT = Control("WITHOUT_FILE", "P01", D2, "PC01", "channel", "their system is down")
RERUN = Control("RERUN", "P01", D1, reason="corrected statement")
PASSWORDS = {"ann": "seven green lanterns", "ben": "five paper boats go", "eve": "nine quiet rivers run"}


@pytest.fixture
def bank(database: Any) -> Any:
    """Platform P01 of which both dates are published, the last one INCOMPLETE; the clock stands at 01:30 bank time."""
    execute(
        database,
        f"insert into registry.platform values ('P01', 'One', 'One', 'CNY', 'CN_2017', '{D1}', '{T0}')",
        f"insert into registry.payment_company values ('PC01', 'Pay', '{T0}')",
        f"insert into registry.payment_company_platform values ('PC01', 'P01', '{T0}')",
        "insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at) "
        f"values ('{D1}', '{D2}', 0, '{{}}', 'x', 'PUBLISHED', '{NOW}')",
        f"insert into run.published values ('{D1}', 'P01', 1, 1, 'COMPLETE', null, '{NOW}')",
        f"insert into run.published values ('{D2}', 'P01', 1, 1, 'INCOMPLETE', 'PC01.channel', '{NOW}')",
        f"update ledger.clock set now_at = '{NOW}'",
    )
    return database


def execute(database: Any, *statements: str) -> None:
    with psycopg.connect(database.url("migrator"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def approved(database: Any, control: Control) -> int:
    """The id of a control that ann proposed and ben approved."""
    with psycopg.connect(database.url("service"), autocommit=True) as connection:
        control_id = controls.propose(connection, control, "ann")
        controls.decide(connection, control_id, "ben", True)
    return control_id


def state(database: Any, control_id: int) -> controls.ControlState:
    with psycopg.connect(database.url("service")) as connection:
        return controls.get(connection, control_id)


def test_a_held_night_opens_no_run_until_it_is_resumed(bank: Any) -> None:
    execute(bank, f"delete from run.published where business_date = '{D2}'")
    left_open = runs.open_run(bank.settings, D2)
    assert left_open is not None
    approved(bank, Control("HOLD", reason="the books do not add up"))
    sentence = f"held by ann \\(approved by ben\\) since {NOW.isoformat().replace('+', '.')}: the books do not add up"
    with pytest.raises(runs.Held, match=sentence):
        runs.open_run(bank.settings, D2)
    assert runs.get(bank.settings, left_open.run_id).state == "OPEN"
    assert night.nightly(bank.settings, D2, None, None, None, print)["reason"].startswith("held by ann")
    known = runs.open_run(bank.settings, D2, known_as_of=NOW)
    assert known is not None
    approved(bank, Control("RESUME", reason="they do"))
    opened = runs.open_run(bank.settings, D2)
    assert opened is not None
    assert opened.first_date == D2


def test_a_waiver_counts_from_its_approval_on_also_when_the_clock_stands_still(bank: Any) -> None:
    before = runs.open_run(bank.settings, D2, D1)
    control_id = approved(bank, WITHOUT)
    after = runs.open_run(bank.settings, D2, D1)
    with psycopg.connect(bank.url("jobs")) as connection:
        seen = [[one.control_id for one in operators.waivers(connection, run)] for run in (before, after) if run]
    assert seen == [[], [control_id]]


def test_a_waiver_counts_for_runs_that_are_opened_after_its_approval_only(bank: Any) -> None:
    early = runs.open_run(bank.settings, D2, D1)
    execute(bank, f"update ledger.clock set now_at = '{NOW + HOUR}'")
    control_id = approved(bank, WITHOUT)
    execute(bank, f"update ledger.clock set now_at = '{NOW + 2 * HOUR}'")
    late = runs.open_run(bank.settings, D2, D1)
    before, after = (runs.open_run(bank.settings, D2, known_as_of=NOW + part * HOUR) for part in (0.5, 1.5))
    other = Run(late.run_id, D1, D2, "P09", None, 0) if late else None
    earlier = Run(late.run_id, D1, D1, "P01", None, 0) if late else None
    with psycopg.connect(bank.url("jobs")) as connection:
        seen = [
            [one.control_id for one in operators.waivers(connection, run)]
            for run in (early, late, before, after, other, earlier)
            if run
        ]
    assert seen == [[], [control_id], [], [control_id], [], []]


def test_a_step_behind_the_publish_that_fails_keeps_no_other_and_is_raised(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    failing: list[str] = []

    def run_step(settings: Settings, run: Run, step: night.Step, spark: Any) -> night.Done:
        taken.append(step.name)
        if step.name in failing:
            raise Failed("the disk is full")
        return night.Done(step.name, 0, 0, 0.0)

    monkeypatch.setattr(night, "run_step", run_step)
    monkeypatch.setattr(night, "spark_session", lambda *_: nullcontext())
    run = runs.open_run(bank.settings, D2, D1)
    assert run is not None
    for fails, then in (("send", ["publish", "send", "history"]), ("verify", ["indicators", "verify"])):
        failing[:] = [fails]
        with pytest.raises(Failed, match="the disk is full"):
            night.carry_on(bank.settings, run, print)
        assert taken[-len(then) :] == then


def test_the_step_behind_the_publish_sends_every_date_that_its_run_published(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[date, str | None]] = []

    def sent(settings: Settings, day: date, platform_id: str | None) -> dict[str, Any]:
        asked.append((day, platform_id))
        return {"sent": [{"state": "WRITTEN", "rows": 3}, {"state": "SENT_ALREADY", "rows": 9}], "written": 1, "unchanged": 1}

    monkeypatch.setattr(outbound, "send", sent)
    done = send.run_without_spark(Run(1, D1, D2, "P01", None, 0), bank.settings, [])
    assert asked == [(D1, "P01"), (D2, "P01")]
    assert (done.rows_out, done.detail) == (6, {"dates": 2, "written": 2, "unchanged": 2})


class Killed(BaseException):
    """Ends a process in the middle, as kill -9 would."""


@pytest.fixture
def carried(bank: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Instead of the night's steps: publish the run (or die first, `dies` times), and note which runs were carried on."""
    told: dict[str, Any] = {"runs": [], "dies": 0}

    def carry_on(settings: Settings, run: Run, say: Callable[[str], None]) -> None:
        told["runs"].append(run.run_id)
        if told["dies"]:
            told["dies"] -= 1
            raise Killed
        if runs.get(settings, run.run_id).state == "PUBLISHED":
            return
        execute(
            bank,
            f"update run.run set state = 'PUBLISHED' where run_id = {run.run_id}",
            f"""insert into run.published
                select d::date, 'P01', 1 + max(version), {run.run_id}, 'COMPLETE', null, ledger.clock_now()
                  from generate_series('{run.first_date}'::date, '{run.last_date}'::date, '1 day') d
                  join run.published on business_date = d::date group by d on conflict do nothing""",
        )

    monkeypatch.setattr(night, "carry_on", carry_on)
    yield told


def test_an_approved_rerun_is_carried_out_once_over_all_published_dates(bank: Any, carried: dict[str, Any]) -> None:
    assert reruns.run_approved(bank.settings, print)["skipped"]
    control_id = approved(bank, RERUN)
    (done,) = reruns.run_approved(bank.settings, print)["done"]
    run = runs.get(bank.settings, done["run_id"])
    assert (run.first_date, run.last_date, run.platform_id) == (D1, D2, "P01")
    there = state(bank, control_id)
    assert (there.state, there.outcome, there.run_id, there.detail) == ("DONE", "PUBLISHED", run.run_id, "every date is complete")
    assert reruns.run_approved(bank.settings, print) == {"skipped": True, "reason": "no approved control waits to be carried out"}
    assert carried["runs"] == [run.run_id]


def test_what_is_only_proposed_or_rejected_is_not_carried_out(bank: Any, carried: dict[str, Any]) -> None:
    with psycopg.connect(bank.url("service"), autocommit=True) as connection:
        controls.propose(connection, RERUN, "ann")
        controls.decide(connection, controls.propose(connection, RERUN, "ann"), "ben", False, "no need")
    assert reruns.run_approved(bank.settings, print)["skipped"]


def test_a_rerun_that_was_killed_goes_on_with_its_run_and_ends_with_one_row(bank: Any, carried: dict[str, Any]) -> None:
    control_id = approved(bank, RERUN)
    carried["dies"] = 2
    for _ in range(2):
        with pytest.raises(Killed):
            reruns.run_approved(bank.settings, print)
        assert state(bank, control_id).state == "APPROVED"
    # a night in between abandons the open run: the control gets another one
    runs.open_run(bank.settings, D2, D1)
    (done,) = reruns.run_approved(bank.settings, print)["done"]
    first, again, last = carried["runs"]
    assert first == again
    assert last == done["run_id"] != first
    assert state(bank, control_id).run_id == last


def test_a_rerun_killed_after_publishing_does_not_run_again(
    bank: Any, carried: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(bank, RERUN)
    close = reruns._close

    def killed(*_: Any) -> dict[str, Any]:
        raise Killed

    monkeypatch.setattr(reruns, "_close", killed)
    with pytest.raises(Killed):
        reruns.run_approved(bank.settings, print)
    monkeypatch.setattr(reruns, "_close", close)
    (done,) = reruns.run_approved(bank.settings, print)["done"]
    assert carried["runs"] == [done["run_id"]] * 2
    versions = psycopg.connect(bank.url("migrator")).execute("select max(version) from run.published").fetchone()
    assert versions == (2,)


def test_a_hold_keeps_reruns_waiting(bank: Any, carried: dict[str, Any]) -> None:
    approved(bank, RERUN)
    approved(bank, Control("HOLD", reason="look"))
    assert reruns.run_approved(bank.settings, print)["reason"].startswith("held by ann")
    assert carried["runs"] == []


def test_a_rerun_that_cannot_be_is_refused_once_and_does_not_stop_the_others(bank: Any, carried: dict[str, Any]) -> None:
    execute(
        bank,
        f"insert into registry.platform values ('P02', 'Two', 'Two', 'CNY', 'CN_2017', '{D1}', '{T0}')",
        f"insert into run.published values ('{D2}', 'P02', 1, 1, 'COMPLETE', null, '{NOW}')",
    )
    gap = approved(bank, Control("RERUN", "P02", D2, reason="x"))
    good = approved(bank, RERUN)
    with pytest.raises(BadInput, match=f"control {gap} cannot be carried out: {D1} was not published"):
        reruns.run_approved(bank.settings, print)
    assert (state(bank, gap).outcome, state(bank, good).outcome) == ("REFUSED", "PUBLISHED")
    assert reruns.run_approved(bank.settings, print)["skipped"]


def test_going_on_without_a_file_of_a_published_incomplete_date_runs_it_again(bank: Any, carried: dict[str, Any]) -> None:
    complete = approved(bank, Control("WITHOUT_FILE", "P01", D1, "PC01", "channel", "x"))
    first, second = (approved(bank, Control("WITHOUT_FILE", "P01", D2, "PC01", kind, "x")) for kind in ("channel", "settlement"))
    (done,) = reruns.run_approved(bank.settings, print)["done"]
    assert (done["control_id"], done["from"], done["to"]) == (first, D2.isoformat(), D2.isoformat())
    assert [state(bank, one).state for one in (complete, first, second)] == ["APPROVED", "DONE", "APPROVED"]


def test_reruns_and_nights_take_turns(bank: Any) -> None:
    with exclusive(bank.settings), pytest.raises(Failed, match="another night"):
        reruns.run_approved(bank.settings, print)


class Desk:
    """The command line as operators use it: each with a name and a password on standard input."""

    def __call__(self, *arguments: str, by: str | None = None, password: str | None = None, expect: int = 0) -> dict[str, Any]:
        who = ["--as", by, "--password-stdin"] if by else []
        done = subprocess.run(
            [sys.executable, "-m", "fundwatch.cli", "control", *arguments, *who, "--json"],
            input=f"{PASSWORDS.get(by or '', '') if password is None else password}\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"{done.returncode} {done.stdout} {done.stderr}"
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if done.stdout else {"error": " ".join(done.stderr.split())}


@pytest.fixture
def desk(bank: Any) -> Desk:
    """Two people of the desk and one who may only look."""
    for name, role in (("ann", "officer"), ("ben", "checker"), ("eve", "viewer")):
        users.create(bank.url("migrator"), name, role, PASSWORDS[name])
    return Desk()


def test_two_people_control_the_night_from_the_command_line(bank: Any, desk: Desk) -> None:
    hold = ("propose", "--kind", "HOLD", "--reason", "look first")
    control_id = str(desk(*hold, by="ann")["control_id"])
    assert [one["maker"] for one in desk("list", "--pending")["controls"]] == ["ann"]
    approved_by_ben = desk("approve", control_id, "--note", "agreed", by="ben")
    assert approved_by_ben == {"control_id": int(control_id), "state": "APPROVED", "maker": "ann", "checker": "ben"}
    assert desk("list")["held"].startswith("held by ann (approved by ben)")
    assert desk("run-approved")["skipped"]
    assert "was approved by ben" in desk("reject", control_id, "--note", "no", by="ben", expect=3)["error"]


def test_wrong_people_and_wrong_words_are_refused_and_change_nothing(bank: Any, desk: Desk) -> None:
    rerun = ("propose", "--kind", "RERUN", "--platform", "P01", "--from", D1.isoformat(), "--reason", "x")
    assert "do not belong together" in desk(*rerun, by="ann", password="a wrong password", expect=3)["error"]
    assert "eve is viewer, who may not propose control" in desk(*rerun, by="eve", expect=3)["error"]
    assert "--password-stdin" in desk(*rerun, "--as", "ann", expect=2)["error"]
    assert "there is no platform P09" in desk(*rerun, "--platform", "P09", by="ann", expect=3)["error"]
    assert "is not a date" in desk(*rerun, "--from", "yesterday", by="ann", expect=2)["error"]
    assert "not both" in desk(*rerun, "--date", D1.isoformat(), by="ann", expect=2)["error"]
    assert (
        "a HOLD is for the whole night"
        in desk("propose", "--kind", "HOLD", "--platform", "P01", "--reason", "x", by="ann", expect=3)["error"]
    )
    assert desk("list")["controls"] == []
    own = str(desk(*rerun, by="ben")["control_id"])
    assert "a second person decides it" in desk("approve", own, by="ben", expect=3)["error"]
    assert "ann is officer, who may not decide control" in desk("approve", own, by="ann", expect=3)["error"]
    assert "there is no control 99" in desk("approve", "99", by="ben", expect=3)["error"]
