"""Closing book days before the night reads them: after its checks a business date is final (migration 0020)."""

from __future__ import annotations

from datetime import date

import psycopg
from psycopg.rows import TupleRow

from domain.errors import BadInput, Failed
from fundwatch.settings import Settings

_NOT_YET = ("DAY_NOT_OVER", "DAY_OUT_OF_ORDER", "DAY_NOT_SEALED")


def close_days(database: psycopg.Connection[TupleRow], settings: Settings, to: date, by: str) -> list[date]:
    """Close every business date up to `to` that is still open, oldest first, each in its own transaction; gives those closed.

    `database` is in autocommit mode, of role jobs or service; `by` stands in the audit. BadInput: a date that is not over or not
    sealed yet. Failed: a day whose books do not balance stays open, and so do those after it.
    """
    closed = []
    while (day := _next_open_day(database)) is not None and day <= to:
        values = [day, str(settings.zone), settings.cutoff.isoformat(), by]
        try:
            database.execute("select ledger.close_day(%s, %s, %s::interval, %s)", values)
        except psycopg.DatabaseError as error:
            if error.sqlstate != "FW422":
                raise
            sentence = f"business date {day} cannot be closed: {error.diag.message_primary} {error.diag.message_detail}"
            raise (BadInput if error.diag.message_primary in _NOT_YET else Failed)(sentence) from None
        closed.append(day)
    return closed


def _next_open_day(database: psycopg.Connection[TupleRow]) -> date | None:
    row = database.execute("select ledger.next_open_day()").fetchone()
    assert row is not None
    day: date | None = row[0]
    return day
