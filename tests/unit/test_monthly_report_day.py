"""The day of the monthly reports: the 5th working day of a month by the bank's calendar."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from domain.calendars import Calendar
from domain.errors import BadInput
from fundwatch.monthly import is_report_day

CN = Calendar.of("CN")


def days_of(year: int, month: int) -> list[date]:
    first = date(year, month, 1)
    return [day for number in range(31) if (day := first + timedelta(days=number)).month == month]


@pytest.mark.parametrize(("year", "month"), [(CN.first.year + number // 12, number % 12 + 1) for number in range(12 * 3)])
def test_every_month_has_one_report_day_and_it_is_the_5th_working_day(year: int, month: int) -> None:
    (found,) = [day for day in days_of(year, month) if is_report_day(CN, day)]
    assert CN.is_working_day(found)
    assert sum(CN.is_working_day(day) for day in days_of(year, month) if day < found) == 4


def test_holidays_and_make_up_days_move_it() -> None:
    # 1 to 7 October 2026 are holidays, Saturday the 10th is worked
    assert is_report_day(CN, date(2026, 10, 13))
    assert is_report_day(CN, date(2026, 9, 7))
    assert not is_report_day(CN, date(2026, 9, 5))


def test_a_day_that_the_calendar_does_not_know_is_refused() -> None:
    with pytest.raises(BadInput, match="outside calendar"):
        is_report_day(CN, CN.last + timedelta(days=40))
