"""The bank's working days as the night reads them: the version that two people decided on, kept with the run that read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.rows import TupleRow, dict_row

from domain.calendars import Calendar, packaged_text, text_of
from domain.errors import BadInput
from fundwatch.settings import Settings
from lake.postgres import connection

_Database = psycopg.Connection[TupleRow]
_IN_FORCE = """select * from registry.calendar_version
 where calendar_id = %s and recorded_at <= coalesce(%s::timestamptz, 'infinity') order by version desc limit 1"""


@dataclass(frozen=True)
class Kept:
    """A calendar as text; `version` is null when it is the packaged one."""

    calendar_id: str
    version: int | None
    text: str

    @cached_property
    def calendar(self) -> Calendar:
        """Its working days."""
        return Calendar.parse(self.text)

    def must_cover(self, first: date, last: date) -> None:
        """BadInput unless all days from `first` to `last` are known."""
        known = self.calendar
        if not known.covers(first, last):
            which = f"version {self.version}" if self.version else "as packaged"
            raise BadInput(
                f"calendar {self.calendar_id} ({which}) knows {known.first} to {known.last}, and the run goes from {first} to "
                f"{last}: have the years added by an approval CALENDAR_CHANGE"
            )


def in_force(database: _Database, calendar_id: str, known_as_of: datetime | None = None) -> Kept:
    """The version that was recorded last (by `known_as_of`), the packaged calendar when none was; BadInput without either."""
    with database.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_IN_FORCE, [calendar_id, known_as_of]).fetchone()
    if row is None:
        return Kept(calendar_id, None, packaged_text(calendar_id))
    return Kept(calendar_id, row["version"], text_of(row))


def keep(database: _Database, run_id: int, kept: Kept) -> None:
    """Put the calendar down as an input of the run."""
    database.execute(
        "insert into run.calendar (run_id, calendar_id, version, content, sha256) values (%s, %s, %s, %s, %s)",
        [run_id, kept.calendar_id, kept.version, kept.text, sha256(kept.text.encode()).hexdigest()],
    )


def kept_by(database: _Database, run_id: int) -> Kept | None:
    """The calendar that a run kept as its input; None for a run that keeps none."""
    row = database.execute("select calendar_id, version, content from run.calendar where run_id = %s", [run_id]).fetchone()
    return Kept(*row) if row else None


def of_run(settings: Settings, run_id: int) -> Calendar:
    """The calendar that a run reads; the packaged one for a run that keeps none."""
    with connection(settings) as database:
        kept = kept_by(database, run_id)
    return kept.calendar if kept else Calendar.of(settings.calendar)


def told(database: _Database, run_id: int) -> dict[str, Any] | None:
    """Which calendar a run read, for its manifest: id, version and hash; None for a run that keeps none."""
    with database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select calendar_id, version, sha256 from run.calendar where run_id = %s", [run_id]).fetchone()
