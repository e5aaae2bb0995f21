"""Working-day ordinals of whole columns of dates, for windows, ages and due dates that are subtractions."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.calendars import Calendar
from domain.errors import BadInput

EVERY_DAY = "EVERY_DAY"
"""The calendar in which every day counts, for records of markets and years no calendar is kept for."""
_EPOCH = date(1970, 1, 1)


def known(name: str) -> bool:
    """Whether there is a calendar of that name."""
    if name == EVERY_DAY:
        return True
    try:
        Calendar.of(name)
    except BadInput:
        return False
    return True


def ordinals(name: str, days: pa.Array) -> pa.Array:
    """Working days up to and including each date (date32); null for a null and for a date the calendar does not know."""
    numbers = pc.cast(days, pa.int32())
    if name == EVERY_DAY:
        return numbers
    first, table = _table(name)
    places = pc.subtract(numbers, first)
    inside = pc.and_(pc.greater_equal(places, 0), pc.less(places, len(table)))
    return pc.take(table, pc.if_else(inside, places, pa.scalar(None, pa.int32())))


def table(name: str) -> pa.Table:
    """The days of a calendar and their ordinals, for engines that join them."""
    first, found = _table(name)
    return pa.table({"day": pa.array(np.arange(first, first + len(found), dtype=np.int32)).cast(pa.date32()), "ordinal": found})


def ordinal(name: str, day: date) -> int:
    """Working days up to and including one date; BadInput outside the calendar."""
    found = ordinals(name, pa.array([day], pa.date32()))[0].as_py()
    if found is None:
        raise BadInput(f"{day} lies outside calendar {name}")
    return int(found)


@cache
def _table(name: str) -> tuple[int, pa.Array]:
    calendar = Calendar.of(name)
    days = np.array([entry.ordinal for entry in calendar.days(calendar.first, calendar.last)], dtype=np.int32)
    return (calendar.first - _EPOCH).days, pa.array(days)
