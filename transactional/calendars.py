"""`/v1/calendars`: working days with make-up days, in versions (spec 10, row 0.20); changed by approvals CALENDAR_CHANGE.

A version is read by `domain.calendars`, so the one parser and arithmetic serve the service and the night.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Path, Query
from psycopg.rows import dict_row
from starlette.requests import Request

from domain.calendars import Calendar, text_of
from domain.errors import BadInput, ServiceMissing
from transactional.problems import Problem
from transactional.service import service_of
from transactional.staff import reader_of

router = APIRouter(prefix="/v1/calendars", tags=["calendars"])
SPAN_DAYS_MAX = 800
VERSION_MAX = 2**31 - 1
CalendarId = Annotated[str, Path(pattern=r"^[A-Z0-9]{2,16}$")]
Version = Annotated[int | None, Query(ge=1, le=VERSION_MAX)]
_ONE = """SELECT * FROM registry.calendar_version
WHERE calendar_id = $1 AND ($2::int IS NULL OR version = $2) ORDER BY version DESC LIMIT 1"""


@router.get("")
async def list_calendars(request: Request) -> dict[str, Any]:
    """The calendars with their version in force."""
    await reader_of(request, "see_calendars")
    rows = await service_of(request).pool.fetch("SELECT * FROM registry.calendar ORDER BY calendar_id")
    return {"calendars": [_head(row) for row in rows]}


@router.get("/{calendar_id}")
async def get_calendar(
    request: Request,
    calendar_id: CalendarId,
    year: Annotated[int | None, Query(ge=1900, le=2199)] = None,
    version: Version = None,
) -> dict[str, Any]:
    """One version, the newest unless named: weekdays off and weekends worked, of one year or of all."""
    await reader_of(request, "see_calendars")
    row = await _version(request, calendar_id, version)
    kept = {name: [day for day in row[name] if year is None or day.year == year] for name in ("holidays", "make_up_days")}
    return {**_head(row), "year": year, **kept}


@router.get("/{calendar_id}/versions")
async def list_versions(
    request: Request, calendar_id: CalendarId, before: Version = None, limit: Annotated[int, Query(ge=1, le=100)] = 50
) -> dict[str, Any]:
    """The versions of a calendar, newest first: who changed it when, by which source."""
    await reader_of(request, "see_calendars")
    rows = await service_of(request).pool.fetch(
        """SELECT * FROM registry.calendar_version WHERE calendar_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3""",
        *(calendar_id, before or VERSION_MAX, limit),
    )
    return {"versions": [_head(row) for row in rows]}


@router.get("/{calendar_id}/working-days")
async def list_working_days(
    request: Request,
    calendar_id: CalendarId,
    first: Annotated[date, Query(alias="from")],
    last: Annotated[date, Query(alias="to")],
    version: Version = None,
) -> dict[str, Any]:
    """The working days from one day to another, both included, at most 800 days apart.

    CALENDAR_UNCOVERED for days the calendar does not know: they are announced year by year and never guessed.
    """
    await reader_of(request, "see_calendars")
    if not 0 <= (last - first).days <= SPAN_DAYS_MAX:
        raise Problem("PARAMETER_INVALID", f"to lies at most {SPAN_DAYS_MAX} days after from", field="to")
    row = await _version(request, calendar_id, version)
    if first < row["first_day"] or last > row["last_day"]:
        raise Problem("CALENDAR_UNCOVERED", f"calendar {calendar_id} knows {row['first_day']} to {row['last_day']}")
    days = [one.day for one in Calendar.parse(text_of(row)).days(first, last) if one.is_working_day]
    return {
        "calendar_id": calendar_id,
        "version": row["version"],
        "from": first,
        "to": last,
        "count": len(days),
        "working_days": days,
    }


def exported(database_url: str, calendar_id: str, version: int | None = None) -> str:
    """Text of a calendar's version, the newest unless named; BadInput when there is none, ServiceMissing without a database."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection, connection.cursor(row_factory=dict_row) as cursor:
            query = _ONE.replace("$1", "%(calendar)s").replace("$2", "%(version)s")
            row = cursor.execute(query.encode(), {"calendar": calendar_id, "version": version}).fetchone()
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    if row is None:
        raise BadInput(f"there is no calendar {calendar_id!r}" + (f" with version {version}" if version else ""))
    return text_of(row)


def in_force(connection: psycopg.Connection[Any], calendar_id: str) -> Calendar:
    """The working days of a calendar's version in force; of the packaged one when none is recorded."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT * FROM registry.calendar WHERE calendar_id = %s", [calendar_id]).fetchone()
    return _counted(row, calendar_id)


async def now_in_force(connection: Any, calendar_id: str) -> Calendar:
    """As `in_force`, for the service."""
    return _counted(await connection.fetchrow("SELECT * FROM registry.calendar WHERE calendar_id = $1", calendar_id), calendar_id)


def _counted(row: Any, calendar_id: str) -> Calendar:
    return Calendar.of(calendar_id) if row is None else _parsed(text_of(row))


@lru_cache(maxsize=8)
def _parsed(text: str) -> Calendar:
    return Calendar.parse(text)


async def _version(request: Request, calendar_id: str, version: int | None) -> Any:
    row = await service_of(request).pool.fetchrow(_ONE, calendar_id, version)
    if row is None:
        raise Problem("CALENDAR_NOT_FOUND", f"there is no calendar {calendar_id}" + (f" version {version}" if version else ""))
    return row


def _head(row: Any) -> dict[str, Any]:
    names = ("calendar_id", "version", "first_day", "last_day", "source", "actor", "recorded_at")
    return {name: row[name] for name in names}
