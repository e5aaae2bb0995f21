"""What operators told the night to do, as jobs read it: the hold in force, files it goes on without (migration 0008)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from lake.steps import Run

_WAIVERS = """
select platform_id, business_date, sender_id, file_kind, control_id, reason, maker, checker from night.file_waiver
 where business_date between %(first)s and %(last)s and (%(platform_id)s::text is null or platform_id = %(platform_id)s)
   and case when %(known_as_of)s::timestamptz is null then last_run_id < %(run_id)s else decided_at <= %(known_as_of)s end
 order by control_id desc"""
Database = psycopg.Connection[Any]


@dataclass(frozen=True)
class Waiver:
    """An approved decision to go on without a file; `sentence` is what file control says of it."""

    platform_id: str
    business_date: date
    sender_id: str
    file_kind: str
    control_id: int
    reason: str
    maker: str
    checker: str

    @property
    def key(self) -> tuple[date, str, str, str]:
        """Business date, sender, platform and kind of the file."""
        return self.business_date, self.sender_id, self.platform_id, self.file_kind

    @property
    def sentence(self) -> str:
        """For people: which control, by whom, why."""
        return f"control {self.control_id} of {self.maker}, approved by {self.checker}, goes on without it: {self.reason}"


def hold(database: Database, until_commit: bool = False) -> str | None:
    """Why the night is held, or None.

    With `until_commit` the answer stays true until the caller's transaction ends: no control is decided before that.
    """
    source = "ops.hold_now()" if until_commit else "ops.hold_at('infinity')"
    row = database.execute(f"select maker, checker, since, reason from {source}".encode()).fetchone()
    if row is None:
        return None
    maker, checker, since, reason = row
    return f"held by {maker} (approved by {checker}) since {_moment(since)}: {reason}"


def waivers(database: Database, run: Run) -> list[Waiver]:
    """Files that a run does not wait for: approved by its `known_as_of`, else before it was opened; newest first."""
    values = {
        "first": run.first_date,
        "last": run.last_date,
        "platform_id": run.platform_id,
        "known_as_of": run.known_as_of,
        "run_id": run.run_id,
    }
    with database.cursor(row_factory=class_row(Waiver)) as cursor:
        return cursor.execute(_WAIVERS, values).fetchall()


def waived_files(database: Database, first: date, last: date) -> set[tuple[date, str, str, str]]:
    """(business date, sender, platform, kind) of every file waived by now on the dates."""
    query = "select business_date, sender_id, platform_id, file_kind from night.file_waiver where business_date between %s and %s"
    return set(database.execute(query, [first, last]).fetchall())


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
