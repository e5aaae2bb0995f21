"""`/v1/audit`, `/v1/exports`: who changed what, and who took which table away: newest first, in full as CSV."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from transactional import csv_file
from transactional.service import service_of
from transactional.staff import note, staff_of

router = APIRouter(prefix="/v1", tags=["audit"])
PAGE_MAX = 500
NO_CURSOR = 2**62
Words = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Cursor = Annotated[int | None, Query(ge=1, le=NO_CURSOR)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
COLUMNS = ("change_id", "at", "recorded_at", "actor", "action", "subject_type", "subject", "platform_id", "before", "after")
EXPORT_COLUMNS = ("export_id", "at", "login_name", "role", "subject", "row_count", "filters", "path", "address")
_CHANGES = f"""SELECT {", ".join(COLUMNS)} FROM audit.change
WHERE change_id < $1 AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
  AND ($4::text IS NULL OR subject_type = $4) AND ($5::text IS NULL OR subject = $5) AND ($6::text IS NULL OR platform_id = $6)
  AND ($7::timestamptz IS NULL OR recorded_at >= $7) AND ($8::timestamptz IS NULL OR recorded_at < $8)
ORDER BY change_id DESC"""
_EXPORTS = """SELECT access_id AS export_id, at, login_name, role, subject, row_count, detail AS filters, path, address
FROM auth.access_log LEFT JOIN auth.person USING (person_id)
WHERE kind = 'EXPORT' AND access_id < $1 AND ($2::text IS NULL OR login_name = $2)
  AND ($3::timestamptz IS NULL OR at >= $3) AND ($4::timestamptz IS NULL OR at < $4)
ORDER BY access_id DESC"""


def _asked(
    actor: Words = None,
    action: Words = None,
    subject_type: Words = None,
    subject: Words = None,
    platform_id: Words = None,
    first: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    last: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """The filters of a request; `from` (included) and `to` (not) are moments of the service's clock."""
    given = {"actor": actor, "action": action, "subject_type": subject_type, "subject": subject, "platform_id": platform_id}
    return {**given, "from": first, "to": last}


Asked = Annotated[dict[str, Any], Depends(_asked)]


@router.get("/audit")
async def list_changes(request: Request, asked: Asked, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """Changes with what was before and after, newest first; the look itself is written to the access log."""
    staff = await staff_of(request, "see_audit")
    await note(request, staff, "AUDIT_SEEN", "audit", None, _filters(asked))
    rows = await service_of(request).pool.fetch(f"{_CHANGES} LIMIT {limit + 1}", cursor or NO_CURSOR, *asked.values())
    return _page("changes", rows, limit, "change_id", ("before", "after"))


@router.get("/audit.csv")
async def export_changes(request: Request, asked: Asked) -> Response:
    """Every change that the filters leave."""
    staff = await staff_of(request, "see_audit")
    rows = csv_file.queried(service_of(request).pool, _CHANGES, NO_CURSOR, *asked.values())
    return await csv_file.send(request, staff, "audit", COLUMNS, rows, _filters(asked))


@router.get("/exports")
async def list_exports(
    request: Request,
    login_name: Words = None,
    first: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    last: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Who exported which table with how many rows, at the pages and at the service, newest first; times are real."""
    staff = await staff_of(request, "see_audit")
    await note(request, staff, "AUDIT_SEEN", "exports")
    values = (cursor or NO_CURSOR, login_name, first, last)
    rows = await service_of(request).pool.fetch(f"{_EXPORTS} LIMIT {limit + 1}", *values)
    return _page("exports", rows, limit, "export_id", ("filters",))


@router.get("/exports.csv")
async def export_exports(
    request: Request,
    login_name: Words = None,
    first: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    last: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> Response:
    """Every export that the filters leave, those before this one."""
    staff = await staff_of(request, "see_audit")
    filters = _filters({"login_name": login_name, "from": first, "to": last})
    rows = csv_file.queried(service_of(request).pool, _EXPORTS, NO_CURSOR, login_name, first, last)
    return await csv_file.send(request, staff, "exports", EXPORT_COLUMNS, rows, filters)


def _page(name: str, rows: list[Any], limit: int, key: str, parsed: tuple[str, ...]) -> dict[str, Any]:
    shown = [
        {**dict(row), **{field: None if row[field] is None else msgspec.json.decode(row[field]) for field in parsed}}
        for row in rows[:limit]
    ]
    return {name: shown, "next_cursor": str(shown[-1][key]) if len(rows) > limit else None}


def _filters(asked: dict[str, Any]) -> dict[str, str]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in asked.items() if value is not None
    }
