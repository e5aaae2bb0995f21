"""Working days: calendars read from data, with ordinals so that windows and ages are subtractions (spec 07 section 7.3).

`Calendar.parse` is pure; `Calendar.of` reads a packaged file of `domain/calendars/`.
A date outside the covered years raises BadInput: holidays are announced year by year and never guessed.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from itertools import accumulate
from typing import Any, NamedTuple

from domain.errors import BadInput

_DAY = timedelta(days=1)
_SATURDAY = 5


class CalendarDay(NamedTuple):
    """One day: whether it is a working day, and how many working days the calendar has up to and including it."""

    day: date
    is_working_day: bool
    ordinal: int


@dataclass(frozen=True)
class Calendar:
    """Working days of one market between `first` and `last`, both included.

    For example ``Calendar.of("CN").is_working_day(date(2026, 10, 1))`` is False.
    """

    name: str
    first: date
    last: date
    _ordinals: tuple[int, ...]
    _working_days: tuple[date, ...]

    @staticmethod
    def of(name: str) -> Calendar:
        """The packaged calendar `name` (``CN``: weekends, holidays and make-up days; ``GENERIC``: Monday to Friday).

        Raises BadInput when there is none of that name.
        """
        return _packaged(name)

    @staticmethod
    def parse(text: str) -> Calendar:
        """A calendar from TOML: `name, first, last` and lists `holidays` (weekdays off) and `make_up_days` (weekends worked).

        Raises BadInput when the text is not such a calendar.
        """
        try:
            data = tomllib.loads(text)
            name, first, last = str(data["name"]), data["first"], data["last"]
            holidays, make_up_days = set(data.get("holidays", [])), set(data.get("make_up_days", []))
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise BadInput(f"not a calendar: {error}") from error
        _check(name, first, last, holidays, make_up_days)
        works = [day in make_up_days or (day.weekday() < _SATURDAY and day not in holidays) for day in _each(first, last)]
        working_days = tuple(day for day, is_working in zip(_each(first, last), works, strict=True) if is_working)
        return Calendar(name, first, last, tuple(accumulate(map(int, works))), working_days)

    def covers(self, first: date, last: date) -> bool:
        """Whether all days from `first` to `last` are known."""
        return self.first <= first and last <= self.last

    def is_working_day(self, day: date) -> bool:
        """Whether banks work on `day`; BadInput outside the covered years."""
        return self._day(day).is_working_day

    def next_working_day(self, day: date) -> date:
        """The first working day after `day`."""
        return self.add_working_days(day, 1)

    def add_working_days(self, day: date, count: int) -> date:
        """The working day `count` working days after `day` (before it, when negative).

        Zero gives `day` itself when it is one, else the next one. BadInput when that lies outside the covered years.
        """
        self._day(day)
        position = bisect_left(self._working_days, day)
        if count > 0 and not self.is_working_day(day):
            position -= 1
        position += count
        if not 0 <= position < len(self._working_days):
            raise BadInput(f"{count} working days from {day} lies outside calendar {self.name} ({self.first} to {self.last})")
        return self._working_days[position]

    def working_days_between(self, start: date, end: date) -> int:
        """Number of working days after `start` up to and including `end`; negative when `end` lies before `start`."""
        return self.ordinal(end) - self.ordinal(start)

    def ordinal(self, day: date) -> int:
        """How many working days the calendar has up to and including `day`."""
        return self._day(day).ordinal

    def days(self, first: date, last: date) -> list[CalendarDay]:
        """Every day from `first` to `last`, both included, with its ordinal: the calendar table of jobs."""
        return [self._day(day) for day in _each(first, last)]

    def _day(self, day: date) -> CalendarDay:
        if not self.first <= day <= self.last:
            raise BadInput(f"{day} lies outside calendar {self.name}, which knows {self.first} to {self.last}")
        index = (day - self.first).days
        ordinal = self._ordinals[index]
        before = self._ordinals[index - 1] if index else 0
        return CalendarDay(day, ordinal > before, ordinal)


def packaged_text(name: str) -> str:
    """The file of the packaged calendar `name`, as `Calendar.parse` reads it; BadInput when there is none of that name."""
    path = resources.files("domain") / "calendars" / f"{name.lower()}.toml"
    if not name.isalnum() or not path.is_file():
        raise BadInput(f"there is no calendar {name!r}")
    return path.read_text(encoding="utf-8")


def text_of(version: Mapping[str, Any]) -> str:
    """A version as the text that `Calendar.parse` reads.

    `version` has the columns of `registry.calendar_version`: calendar_id, version, first_day, last_day, holidays, make_up_days,
    source.
    """
    lines = [f"# version {version['version']}: {' '.join(version['source'].split())}", f'name = "{version["calendar_id"]}"']
    lines += [f"first = {version['first_day']}", f"last = {version['last_day']}"]
    for name in ("holidays", "make_up_days"):
        lines += [f"{name} = [", *(f"  {day}," for day in version[name]), "]"]
    return "\n".join([*lines, ""])


def _check(name: str, first: object, last: object, holidays: set[date], make_up_days: set[date]) -> None:
    if type(first) is not date or type(last) is not date or first > last:
        raise BadInput(f"calendar {name}: first and last must be dates in order")
    for day in holidays | make_up_days:
        if type(day) is not date or not first <= day <= last:
            raise BadInput(f"calendar {name}: {day} is not a date from {first} to {last}")
    if any(day.weekday() >= _SATURDAY for day in holidays) or any(day.weekday() < _SATURDAY for day in make_up_days):
        raise BadInput(f"calendar {name}: holidays must be weekdays and make-up days weekends")


def _each(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        yield day
        day += _DAY


@cache
def _packaged(name: str) -> Calendar:
    return Calendar.parse(packaged_text(name))
