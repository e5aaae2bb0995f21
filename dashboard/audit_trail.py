"""What auditors read: logins, sessions, accesses and changes of persons, filtered, newest first, as pages and as a whole file."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import IO, Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import dict_row

from transactional.access_log import KINDS

ROWS_SHOWN = 100
_IN_MEMORY_BYTES = 4_000_000
_BATCH_ROWS = 5_000
# a spreadsheet takes a text that begins like this for a formula
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Trail:
    """One table of the trail: its rows as SQL (columns `id, at, who, kind, …`) and the kinds it knows."""

    query: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...]


TRAILS: dict[str, Trail] = {
    "logins": Trail(
        """SELECT attempt_id AS id, at, login_name AS who, outcome AS kind, address FROM auth.login_attempt
           LEFT JOIN auth.person USING (person_id)""",
        ("at", "who", "kind", "address"),
        ("SUCCEEDED", "FAILED", "LOCKED", "TRIED", "CODE_ASKED"),
    ),
    "accesses": Trail(
        """SELECT access_id AS id, at, login_name AS who, kind, subject, row_count, path, address, session_id FROM auth.access_log
           LEFT JOIN auth.person USING (person_id)""",
        ("at", "who", "kind", "subject", "row_count", "path", "address", "session_id"),
        KINDS,
    ),
    "changes": Trail(
        """SELECT event_id AS id, at, person.login_name AS who, kind, before::text, after::text,
             coalesce(actor.login_name, 'console') AS actor
           FROM auth.person_event JOIN auth.person USING (person_id) LEFT JOIN auth.person actor ON actor.person_id = actor_id""",
        ("at", "who", "kind", "before", "after", "actor"),
        (
            *("CREATED", "PASSWORD_SET", "ROLE_CHANGED", "DISABLED", "ENABLED"),
            *("SECOND_FACTOR_SET", "SECOND_FACTOR_RESET", "RECOVERY_CODE_USED"),
        ),
    ),
    "sessions": Trail(
        """SELECT session_id AS id, session.created_at AS at, login_name AS who, coalesce(end_reason, 'OPEN') AS kind,
             last_seen_at, ended_at, session.address FROM auth.session JOIN auth.person USING (person_id)""",
        ("at", "who", "kind", "last_seen_at", "ended_at", "address"),
        (
            "OPEN",
            "LOGOUT",
            "IDLE",
            "EXPIRED",
            "REPLACED",
            "PASSWORD_SET",
            "ROLE_CHANGED",
            "DISABLED",
            "SECOND_FACTOR_SET",
            "SECOND_FACTOR_RESET",
        ),
    ),
}


@dataclass(frozen=True)
class Question:
    """Which rows of which trail: `who` a login name, `kind` one of its kinds, dates inclusive in the bank's zone; empty = all."""

    table: str = "logins"
    who: str = ""
    kind: str = ""
    first: date | None = None
    last: date | None = None

    def where(self, zone: ZoneInfo) -> tuple[str, dict[str, Any]]:
        """Condition and parameters."""
        conditions = {
            "who = %(who)s": self.who,
            "kind = %(kind)s": self.kind,
            "at >= %(first)s": self.first and _midnight(self.first, zone),
            "at < %(end)s": self.last and _midnight(self.last + timedelta(days=1), zone),
        }
        chosen = [condition for condition, value in conditions.items() if value]
        values = {
            "who": self.who,
            "kind": self.kind,
            "first": conditions["at >= %(first)s"],
            "end": conditions["at < %(end)s"],
        }
        return " AND ".join(chosen) or "true", values


def page(
    connection: psycopg.Connection[Any], question: Question, zone: ZoneInfo, before: int | None
) -> tuple[list[dict[str, Any]], int]:
    """The newest rows below the number `before` (None: the newest of all), and how many rows the question has in all."""
    condition, values = question.where(zone)
    query = TRAILS[question.table].query
    with connection.cursor(row_factory=dict_row) as cursor:
        counted = cursor.execute(f"SELECT count(*) AS n FROM ({query}) trail WHERE {condition}".encode(), values).fetchone()
        rows = cursor.execute(
            f"""SELECT * FROM ({query}) trail WHERE {condition} AND (%(before)s::bigint IS NULL OR id < %(before)s)
                ORDER BY id DESC LIMIT {ROWS_SHOWN}""".encode(),
            values | {"before": before},
        ).fetchall()
    return rows, int(counted["n"]) if counted else 0


def whole_file(connection: psycopg.Connection[Any], question: Question, zone: ZoneInfo) -> tuple[IO[bytes], int]:
    """Every row as CSV (UTF-8 with a byte order mark for spreadsheets, times in UTC) in a temporary file, and the number of rows.

    The file is complete before its first byte is sent.
    """
    condition, values = question.where(zone)
    trail = TRAILS[question.table]
    output = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 -- whoever sends it closes it
    text = io.TextIOWrapper(output, encoding="utf-8", newline="", write_through=True)
    text.write("\ufeff")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(trail.columns)
    rows = 0
    with connection.transaction(), connection.cursor("trail") as cursor:
        columns = ", ".join(trail.columns)
        cursor.itersize = _BATCH_ROWS
        cursor.execute(f"SELECT {columns} FROM ({trail.query}) trail WHERE {condition} ORDER BY id DESC".encode(), values)
        for row in cursor:
            writer.writerow([_cell(value) for value in row])
            rows += 1
    text.detach()
    output.seek(0)
    return output, rows


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """A file in pieces; closed at the end, also when nobody wants the rest."""
    with file:
        while block := file.read(65_536):
            yield block


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
