"""Until when each file of a business date must have come: the registry's deadline of its sender, by the bank's calendar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.calendars import Calendar
from fundwatch.settings import Settings
from ingest.records import Expected
from lake import calendars

Database = psycopg.Connection[Any]
_DEADLINES = """
select distinct on (sender_id, file_kind) sender_id, file_kind, version, days_after, counts_working_days, due_time
  from files.deadline where valid_from <= %s order by sender_id, file_kind, version desc"""


@dataclass(frozen=True)
class Deadline:
    """Until when a kind of file must have come: so many days, or working days, after its business date, at a time of day."""

    sender_id: str
    file_kind: str
    version: int
    days_after: int
    counts_working_days: bool
    due_time: time

    def of(self, day: date, calendar: Calendar) -> date:
        """The day on which a file of business date `day` is due; no working day after a holiday is the next one."""
        if self.counts_working_days:
            return calendar.add_working_days(day, self.days_after)
        return day + timedelta(days=self.days_after)


def usual(settings: Settings, day: date) -> datetime:
    """When files of a business date are due that have no deadline of their own: `files_deadline` bank time on the day after."""
    return datetime.combine(day + timedelta(days=1), settings.files_deadline, settings.zone)


@dataclass(frozen=True)
class Deadlines:
    """The deadlines in force for some business dates, by date, sender (or ``*``) and kind."""

    settings: Settings
    calendar: Calendar
    by_date: Mapping[date, Mapping[tuple[str, str], Deadline]]

    def due_at(self, file: Expected) -> datetime:
        """When a file is due: by its sender's own deadline, else by everybody's for the kind, else the usual time.

        BadInput: the calendar does not know the days.
        """
        known = self.by_date[file.business_date]
        found = known.get((file.sender_id, file.kind)) or known.get(("*", file.kind))
        if found is None:
            return usual(self.settings, file.business_date)
        return datetime.combine(found.of(file.business_date, self.calendar), found.due_time, self.settings.zone)


def read(settings: Settings, database: Database, days: list[date]) -> Deadlines:
    """The deadlines in force for business dates, and the calendar in force."""
    calendar = calendars.in_force(database, settings.calendar).calendar
    with database.cursor(row_factory=class_row(Deadline)) as cursor:
        by_date = {
            day: {(found.sender_id, found.file_kind): found for found in cursor.execute(_DEADLINES, [day])} for day in days
        }
    return Deadlines(settings, calendar, by_date)
