"""Working-day calendars."""

from __future__ import annotations

from datetime import date, timedelta

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.calendars import Calendar
from domain.errors import BadInput

CN = Calendar.of("CN")
CN_DATES = st.dates(date(2015, 3, 1), date(2026, 10, 1))


def test_every_day_of_the_chinese_calendar_agrees_with_the_published_package() -> None:
    day = CN.first
    while day <= CN.last:
        assert CN.is_working_day(day) == chinese_calendar.is_workday(day), day
        day += timedelta(days=1)


def test_national_day_2026_is_off_and_its_make_up_saturday_is_worked() -> None:
    assert not CN.is_working_day(date(2026, 10, 1))
    assert CN.is_working_day(date(2026, 10, 10))
    assert CN.next_working_day(date(2026, 9, 30)) == date(2026, 10, 8)


def test_the_generic_calendar_knows_only_weekends() -> None:
    generic = Calendar.of("GENERIC")
    assert generic.is_working_day(date(2026, 10, 1))
    assert generic.working_days_between(date(2026, 8, 28), date(2026, 8, 31)) == 1
    assert generic.next_working_day(date(2026, 8, 29)) == date(2026, 8, 31)


def test_days_gives_one_row_a_day_whose_ordinals_subtract_to_working_days() -> None:
    days = CN.days(date(2026, 9, 28), date(2026, 10, 12))
    assert len(days) == 15
    assert [d.is_working_day for d in days[:4]] == [True, True, True, False]
    assert days[-1].ordinal - days[0].ordinal == CN.working_days_between(date(2026, 9, 28), date(2026, 10, 12)) == 6


@pytest.mark.parametrize("day", [date(2014, 12, 31), date(2027, 1, 1)])
def test_a_date_outside_the_covered_years_is_refused_and_never_guessed(day: date) -> None:
    with pytest.raises(BadInput, match="outside calendar CN"):
        CN.is_working_day(day)
    with pytest.raises(BadInput):
        CN.add_working_days(date(2026, 12, 31), 1)


@pytest.mark.parametrize("name", ["XX", "../calendars/cn", ""])
def test_an_unknown_calendar_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no calendar"):
        Calendar.of(name)


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        'name = "X"',
        'name = "X"\nfirst = 2026-02-01\nlast = 2026-01-01',
        'name = "X"\nfirst = 2026-01-01\nlast = 2026-01-31\nholidays = [2026-02-02]',
        'name = "X"\nfirst = 2026-01-01\nlast = 2026-01-31\nholidays = [2026-01-03]',
        'name = "X"\nfirst = 2026-01-01\nlast = 2026-01-31\nmake_up_days = [2026-01-05]',
    ],
)
def test_a_text_that_is_no_calendar_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Calendar.parse(text)


@given(CN_DATES, st.integers(0, 40))
def test_adding_working_days_lands_on_a_working_day_that_many_later(day: date, count: int) -> None:
    landed = CN.add_working_days(day, count)
    assert CN.is_working_day(landed)
    if count:
        assert CN.working_days_between(day, landed) == count
    else:
        assert landed >= day and CN.working_days_between(day, landed) == (0 if CN.is_working_day(day) else 1)


@given(CN_DATES, st.integers(1, 40))
def test_going_back_from_a_working_day_undoes_going_forth(day: date, count: int) -> None:
    start = CN.add_working_days(day, 0)
    assert CN.add_working_days(CN.add_working_days(start, count), -count) == start
