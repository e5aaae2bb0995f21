"""`fundwatch files expected`: each file of a date with its deadline by the bank's calendar and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from domain.calendars import Calendar
from fundwatch.expected_files import expected
from tests.service.conftest import Api
from tests.service.test_files_wait import CAME, D2, DAILY, Bank
from transactional.controls import Control

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def bank(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(database.settings.home / "secrets"))
    yield Bank(database, tmp_path)


def states(bank: Bank) -> dict[str, str]:
    return {f"{row['sender_id']}/{row['file_kind']}": row["state"] for row in expected(bank.settings, D2)["files"]}


def judge(bank: Bank, kind: str, state: str, came: datetime | None = CAME) -> None:
    received = f"'{came}'" if came else "null"
    bank.execute(
        "insert into mart.file_control "
        "(business_date, run_id, platform_id, sender_id, file_kind, file_name, state, reason, received_at) "
        f"values ('{D2}', 1, 'P01', 'P01', '{kind}', 'P01.{kind}.csv.gz', '{state}', 'as found', {received})"
    )


def test_each_expected_file_is_due_until_it_came_or_its_deadline_passed(bank: Bank) -> None:
    bank.send("P01", "orders")
    found = states(bank)
    assert len(found) == len(DAILY)
    assert {state for file, state in found.items() if file != "P01/orders"} == {"DUE"}
    assert found["P01/orders"] == "ARRIVED"
    due_at = datetime.combine(D2 + timedelta(days=1), bank.settings.files_deadline, ZONE)
    bank.at(due_at + timedelta(minutes=2))
    bank.send("P01", "plans", came=due_at + timedelta(minutes=1))
    result = expected(bank.settings, D2)
    found = {row["file_kind"]: row for row in result["files"] if row["sender_id"] == "P01"}
    assert {kind: found[kind]["state"] for kind in ("orders", "plans", "loans")} == {
        "orders": "ARRIVED",
        "plans": "LATE",
        "loans": "MISSING",
    }
    assert found["plans"]["due_at"] == due_at.isoformat()
    assert result["counts"]["MISSING"] == len(DAILY) - 2


def test_verdicts_of_the_newest_run_show_until_a_corrected_file_comes(bank: Bank) -> None:
    bank.execute("insert into run.published values ('2026-08-31', 'P01', 1, 1, 'INCOMPLETE', null, now())")
    bank.send("P01", "orders")
    bank.send("P01", "plans")
    judge(bank, "orders", "ACCEPTED")
    judge(bank, "plans", "REFUSED")
    judge(bank, "loans", "MISSING", None)
    found = states(bank)
    assert (found["P01/orders"], found["P01/plans"], found["P01/loans"]) == ("ACCEPTED", "REFUSED", "DUE")
    bank.send("P01", "plans", came=CAME + timedelta(minutes=5))
    assert states(bank)["P01/plans"] == "ARRIVED"


def test_a_waived_file_shows_as_waived_unless_it_was_accepted(bank: Bank) -> None:
    for kind in ("channel", "settlement"):
        bank.approve(Control("WITHOUT_FILE", "P01", D2, "PC01", kind, "their system is down"))
    found = states(bank)
    assert (found["PC01/channel"], found["PC01/settlement"], found["BANK/statement"]) == ("WAIVED", "WAIVED", "DUE")


def deadline(bank: Bank, sender: str, kind: str, version: int, rule: str, valid_from: date) -> None:
    bank.execute(
        "insert into auth.person (login_name, display_name, role) values ('ann', 'Ann', 'officer') on conflict do nothing",
        "insert into work.approval (kind, subject, payload, payload_hash, reason, maker, proposed_at, expires_at) "
        f"values ('FILE_DEADLINE', '{sender}/{kind}/{version}', '{{}}', sha256('x'), 'x', 'ann', now(), now())",
        f"insert into files.deadline values ('{sender}', '{kind}', {version}, {rule}, '{valid_from}', 'ann', 'ben', "
        "(select max(approval_id) from work.approval), now())",
    )


def due(bank: Bank, day: date, sender: str, kind: str) -> str:
    rows = expected(bank.settings, day)["files"]
    return next(str(row["due_at"]) for row in rows if (row["sender_id"], row["file_kind"]) == (sender, kind))


def test_a_deadline_counts_working_days_of_the_banks_calendar_and_the_senders_own_wins(bank: Bank) -> None:
    day = date(2026, 9, 30)
    # the first working day after the holidays of October
    after = Calendar.of("CN").next_working_day(day)
    assert (after - day).days > 5
    deadline(bank, "*", "settlement", 1, "1, true, '10:00'", day)
    deadline(bank, "PC01", "channel", 1, "0, false, '23:30'", day)
    assert due(bank, day, "PC01", "settlement") == f"{after}T10:00:00+08:00"
    assert due(bank, day, "PC01", "channel") == f"{day}T23:30:00+08:00"
    assert due(bank, day - timedelta(days=1), "PC01", "settlement") == f"{day}T04:00:00+08:00"
    deadline(bank, "PC01", "settlement", 1, "2, false, '12:00'", day)
    assert due(bank, day, "PC01", "settlement") == "2026-10-02T12:00:00+08:00"


def test_the_night_waits_for_each_file_until_its_senders_own_deadline(bank: Bank) -> None:
    deadline(bank, "PC01", "channel", 1, "0, false, '23:30'", D2)
    deadline(bank, "*", "settlement", 1, "1, true, '10:00'", D2)
    bank.send_all(("PC01", "channel"))
    found = bank.probe()  # 01:30: it was due at 23:30
    assert (found["ready"], found["deadline"], found["deadline_passed"]) == (False, "2026-08-31T23:30:00+08:00", True)
    (bank.settings.landing_dir / D2.isoformat() / "PC01" / "P01.settlement.csv.gz").unlink()
    bank.at(datetime(2026, 8, 31, 20, tzinfo=UTC))  # 04:00, when the usual files are due
    found = bank.probe()
    assert (found["missing_count"], found["deadline"]) == (2, "2026-09-01T10:00:00+08:00")
    assert not found["deadline_passed"]


def test_a_deadline_is_changed_by_two_people_and_never_for_dates_that_are_over(api: Api) -> None:
    maker, checker = api.staff("ann", "officer"), api.staff("ben", "checker")
    today = api.client.get("/v1/clock").json()["business_date"]
    payload = {"days_after": 1, "counts_working_days": True, "due_time": "10:00", "valid_from": today}
    for subject, change in (
        ("PC01/unheard", {}),
        ("PC01", {}),
        ("PC01/channel", {"days_after": 32}),
        ("PC01/channel", {"days_after": 1.5}),
        ("PC01/channel", {"due_time": "24:00"}),
        ("PC01/channel", {"counts_working_days": 1}),
        ("PC01/channel", {"valid_from": "1999-01-01"}),
        ("PC01/channel", {"valid_from": "2026-02-30"}),
        ("PC01/channel", {"more": 1}),
    ):
        answer = api.put_down("FILE_DEADLINE", subject, payload | change, by=maker)
        assert answer.status_code == 422, (subject, change, answer.text)
    proposed = api.put_down("FILE_DEADLINE", "PC01/channel", payload, by=maker).json()
    assert api.decide(proposed, by=maker).status_code == 403
    answer = api.decide(proposed, by=checker)
    assert (answer.status_code, answer.json()["result"]) == (201, {"version": 1, "valid_from": today})
    with psycopg.connect(api.admin_url) as connection:
        kept = connection.execute(
            "select sender_id, file_kind, version, days_after, due_time, maker, checker from files.deadline"
        )
        assert kept.fetchall() == [("PC01", "channel", 1, 1, time(10), "ann", "ben")]
