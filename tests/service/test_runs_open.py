"""Opening a run: which dates it takes, when it refuses, what it does with runs left open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from domain.calendars import Calendar
from domain.errors import BadInput, Failed, ServiceMissing
from lake import calendars, runs
from lake.lock import exclusive
from lake.postgres import connection
from lake.steps import StepContext
from spark_jobs import reconcile

D1, D2, D3, D4 = (date(2026, 8, day) for day in (28, 29, 30, 31))
T0 = datetime(2026, 8, 1, tzinfo=UTC)
AFTER = datetime(2026, 8, 31, 15, 30, tzinfo=UTC)


def _execute(database: Any, *statements: str) -> None:
    with psycopg.connect(database.url("migrator"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _publish(database: Any, run_id: int, platform_id: str, *days: date) -> None:
    for day in days:
        _execute(
            database, f"insert into run.published values ('{day}', '{platform_id}', 1, {run_id}, 'COMPLETE', null, '{AFTER}')"
        )


@pytest.fixture
def bank(database: Any) -> Iterator[Any]:
    """Two platforms, onboarded on two dates; the clock stands after the close of the last."""
    _execute(
        database,
        f"insert into registry.platform values ('P01', 'One', 'One Ltd', 'CNY', 'CN_2017', '{D1}', '{T0}')",
        f"insert into registry.platform values ('P02', 'Two', 'Two Ltd', 'CNY', 'CN_2017', '{D3}', '{T0}')",
        f"update ledger.clock set now_at = '{AFTER}'",
    )
    yield database


def _open(bank: Any, *arguments: Any, **options: Any) -> runs.Run:
    run = runs.open_run(bank.settings, *arguments, **options)
    assert run is not None
    return run


def test_the_first_run_takes_every_date_from_the_first_onboarding(bank: Any) -> None:
    run = _open(bank, D4)
    assert (run.first_date, run.last_date, run.state, run.ledger_no_to) == (D1, D4, "OPEN", 0)
    assert len(run.packs["CN_2017"]) == 64


def test_a_run_of_one_platform_starts_when_that_platform_was_onboarded(bank: Any) -> None:
    assert _open(bank, D4, platform_id="P02").first_date == D3


def test_the_next_run_starts_at_the_first_date_that_a_platform_lacks(bank: Any) -> None:
    first = _open(bank, D3)
    _publish(bank, first.run_id, "P01", D1, D2, D3)
    assert _open(bank, D4).first_date == D3
    _publish(bank, first.run_id, "P02", D3)
    assert _open(bank, D4).first_date == D4


def test_nothing_to_do_opens_no_run(bank: Any) -> None:
    first = _open(bank, D2)
    _publish(bank, first.run_id, "P01", D1, D2)
    assert runs.open_run(bank.settings, D2) is None


def test_a_published_date_runs_again_as_asked_but_not_after_a_gap(bank: Any) -> None:
    first = _open(bank, D2)
    _publish(bank, first.run_id, "P01", D1, D2)
    assert _open(bank, D2, D2).first_date == D2
    with pytest.raises(BadInput, match="2026-08-30 was not published"):
        runs.open_run(bank.settings, D4, D4)


def test_a_date_that_is_not_closed_is_refused(bank: Any) -> None:
    _execute(bank, "update ledger.clock set now_at = '2026-08-31 14:59:59Z'")
    with pytest.raises(BadInput, match="not closed"):
        runs.open_run(bank.settings, D4)
    assert _open(bank, D3).last_date == D3


@pytest.mark.parametrize("arguments", [(D4, None, "P09"), (date(2026, 8, 1),), (D4, date(2026, 8, 1)), (D3, D4)])
def test_a_platform_or_date_that_is_not_there_is_refused(bank: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BadInput):
        runs.open_run(bank.settings, *arguments)


def test_an_open_run_is_abandoned_by_the_next_and_resumed_by_the_same_night(bank: Any) -> None:
    first = _open(bank, D4)
    assert _open(bank, D4, resume=True).run_id == first.run_id
    told: list[int] = []
    second = _open(bank, D4, on_abandon=told.append)
    assert told == [first.run_id]
    assert runs.get(bank.settings, first.run_id).state == "ABANDONED"
    third = _open(bank, D3, resume=True, on_abandon=told.append)
    assert third.run_id != second.run_id
    assert told == [first.run_id, second.run_id]


def test_a_run_waits_for_the_sealer_and_says_so_when_it_does_not_come(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SEALER_SECONDS", 0.3)
    _movement(bank, 1, D4, AFTER)
    with pytest.raises(ServiceMissing, match="sealer has not passed"):
        runs.open_run(bank.settings, D4)
    _execute(bank, "select ledger.seal_pending(10)")
    assert _open(bank, D4).ledger_no_to == 1


def test_what_was_recorded_later_lies_above_the_watermark_of_a_run_as_known_then(bank: Any) -> None:
    for number, minute in enumerate((10, 20, 30), start=1):
        _movement(bank, number, D4, AFTER.replace(minute=minute))
    _execute(bank, "select ledger.seal_pending(10)")
    known = AFTER.replace(minute=20)
    run = _open(bank, D4, known_as_of=known)
    assert (run.ledger_no_to, run.first_date, run.known_as_of) == (2, D1, known)
    with pytest.raises(BadInput, match="was not published by"):
        runs.open_run(bank.settings, D4, D4, known_as_of=known)


YEAR_AFTER = date(2027, 1, 4)


def _decided(database: Any, version: int, last: date, day_off: date, recorded_at: datetime) -> None:
    """A version of the calendar with one more day off, as two people would have decided on."""
    _execute(
        database,
        f"""insert into registry.calendar_version
            select calendar_id, {version}, first_day, '{last}', holidays || date '{day_off}', make_up_days, 'a storm', 'ann',
                   '{recorded_at}' from registry.calendar where calendar_id = 'CN'""",
    )


def _kept(database: Any, run: runs.Run) -> Any:
    """What the manifest says of the run's calendar, and the calendar that step `reconcile` counts with."""
    with connection(database.settings) as jobs:
        told = calendars.told(jobs, run.run_id)
    assert told is not None
    scope = reconcile.scope(StepContext(run, database.settings, None), None)  # type: ignore[arg-type]
    return (told["calendar_id"], told["version"]), scope.calendar


def test_a_run_reads_the_calendar_that_was_in_force_when_it_was_opened(bank: Any) -> None:
    before = _open(bank, D2)
    _decided(bank, 2, date(2027, 12, 31), D4, AFTER)
    after = _open(bank, D4)
    (told, calendar), (told_after, calendar_after) = _kept(bank, before), _kept(bank, after)
    assert (told, told_after) == (("CN", 1), ("CN", 2))
    assert calendar == Calendar.of("CN")
    assert (calendar_after.is_working_day(D4), calendar_after.last) == (False, date(2027, 12, 31))
    assert [one.working_days_between(D1, D4) for one in (calendar, calendar_after)] == [1, 0]


def test_a_run_as_known_then_reads_the_calendar_as_known_then(bank: Any) -> None:
    _decided(bank, 2, date(2026, 12, 31), D4, AFTER.replace(minute=20))
    then, now = (_open(bank, D4, known_as_of=AFTER.replace(minute=minute)) for minute in (10, 25))
    assert [_kept(bank, run)[1].is_working_day(D4) for run in (then, now)] == [True, False]


def test_dates_beyond_the_calendar_are_refused_until_people_add_the_years(bank: Any) -> None:
    _execute(bank, "update ledger.clock set now_at = '2027-01-05Z'")
    with pytest.raises(BadInput, match=r"calendar CN \(version 1\) knows 2015-01-01 to 2026-12-31, .* CALENDAR_CHANGE"):
        runs.open_run(bank.settings, YEAR_AFTER)
    assert runs.listed(bank.settings) == []
    _decided(bank, 2, date(2027, 12, 31), date(2027, 1, 1), AFTER)
    assert _open(bank, YEAR_AFTER).last_date == YEAR_AFTER


def test_without_a_recorded_version_the_packaged_calendar_counts(bank: Any) -> None:
    _execute(
        bank,
        "alter table registry.calendar_version disable trigger all",
        "delete from registry.calendar_version",
        "alter table registry.calendar_version enable trigger all",
    )
    assert _kept(bank, _open(bank, D4)) == (("CN", None), Calendar.of("CN"))


def test_a_second_night_at_the_same_time_is_refused(bank: Any) -> None:
    with exclusive(bank.settings), pytest.raises(Failed, match="another night"), exclusive(bank.settings):
        pass
    with exclusive(bank.settings):
        pass


def test_the_lock_is_free_the_moment_its_holder_ends_however_it_ends(bank: Any) -> None:
    with connection(bank.settings, autocommit=True) as other:
        for _ in range(30):
            with pytest.raises(KeyboardInterrupt), exclusive(bank.settings):
                raise KeyboardInterrupt
            # asked by a connection that was there before: nothing is waited for
            held = """select count(*) from pg_locks join pg_database d on d.oid = database
                      where locktype = 'advisory' and d.datname = current_database()"""
            assert other.execute(held).fetchone() == (0,)


def test_a_step_keeps_its_last_state_and_the_run_is_shown_with_it(bank: Any) -> None:
    run = _open(bank, D4)
    runs.record_step(bank.settings, run.run_id, "land", "RUNNING")
    runs.record_step(bank.settings, run.run_id, "land", "DONE", 3, 2, 1.5, {"files": 1})
    shown = runs.show(bank.settings, run.run_id)
    assert [(step["step"], step["state"], step["rows_in"], step["rows_out"]) for step in shown["steps"]] == [
        ("land", "DONE", 3, 2)
    ]
    assert runs.listed(bank.settings)[0]["run_id"] == run.run_id
    with pytest.raises(BadInput, match="nothing is published"):
        runs.show(bank.settings)


def _movement(database: Any, number: int, day: date, recorded_at: datetime) -> None:
    """A movement between two accounts of P01, past the posting engine."""
    at = f"'{recorded_at}', '{recorded_at}', '{day}'"
    _execute(
        database,
        f"""insert into registry.account (account_no, platform_id, account_role, is_control, currency, recorded_at)
            values ('P01-X-SPECIAL', 'P01', 'SPECIAL_ACCOUNT', true, 'CNY', '{T0}'),
                   ('P01-F-INCOME', 'P01', 'PLATFORM_INCOME', false, 'CNY', '{T0}') on conflict do nothing""",
        f"insert into ledger.trade_order values ({number}, 'P01', 'REQ-{number}', 'OPENING', 'CNY', 5, null, {at})",
        f"""insert into ledger.movement (movement_id, order_id, seq, movement_type, debit_account_id, credit_account_id,
              amount_minor, currency, effective_at, recorded_at, business_date)
            select {number}, {number}, 1, 'OPENING_BALANCE', s.account_id, i.account_id, 5, 'CNY', {at}
              from registry.account s, registry.account i
             where s.account_no = 'P01-X-SPECIAL' and i.account_no = 'P01-F-INCOME'""",
        f"""insert into ledger.entry (account_id, account_version, movement_id, amount_minor, balance_after_minor)
            select account_id, {number}, {number}, side * 5, side * 5 * {number}
              from (values ('P01-X-SPECIAL', -1), ('P01-F-INCOME', 1)) line (account_no, side)
              join registry.account using (account_no)""",
    )
