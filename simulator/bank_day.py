"""The bank's days: cut-off, business dates and working days (architecture section 2)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import chinese_calendar

from domain.errors import WrongUse

ZONE = ZoneInfo("Asia/Shanghai")
CUTOFF = time(23, 0)
NIGHT_START = time(1, 30)
CUTOFF_WINDOW = timedelta(hours=2)


def opens_at(business_date: date) -> datetime:
    """First moment of a business date: the cut-off of the calendar day before, in the bank's zone."""
    return datetime.combine(business_date - timedelta(days=1), CUTOFF, ZONE)


def closes_at(business_date: date) -> datetime:
    """The cut-off that closes a business date (the first moment of the next one)."""
    return datetime.combine(business_date, CUTOFF, ZONE)


def night_of(business_date: date) -> datetime:
    """When the night that works on a business date starts: 01:30 after its close."""
    return datetime.combine(business_date + timedelta(days=1), NIGHT_START, ZONE)


def business_date_of(moment: datetime) -> date:
    """Business date of a moment; the cut-off itself belongs to the next date.

    >>> business_date_of(datetime(2026, 8, 2, 23, 0, tzinfo=ZONE)).isoformat()
    '2026-08-03'
    """
    local = moment.astimezone(ZONE)
    return local.date() + timedelta(days=1) if local.timetz().replace(tzinfo=None) >= CUTOFF else local.date()


@cache
def is_working_day(day: date) -> bool:
    """Whether banks work in mainland China on a day, make-up days included; WrongUse outside the calendar's years."""
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError as error:
        raise WrongUse(f"the working-day calendar does not cover {day}: {error}") from None


@cache
def next_working_day(day: date) -> date:
    """The first working day after a day."""
    later = day + timedelta(days=1)
    while not is_working_day(later):
        later += timedelta(days=1)
    return later


def months_after(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day.

    >>> months_after(date(2026, 1, 31), 1).isoformat()
    '2026-02-28'
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - timedelta(days=1)).day))
