"""`/v1/days`: the closes of business dates, and closing one (issue: day close; architecture section 2, business date)."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from transactional.idempotent import once
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/days", tags=["days"])
PAGE_MAX = 400
_COLUMNS = """business_date, ends_at, ledger_no_to, encode(head, 'hex') AS head, orders, movements,
  amount_minor::text AS amount_minor, accounts, closed_by, closed_at"""


class Nothing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """No body: the date stands in the path."""


@router.get("")
async def list_days(
    request: Request, before: date | None = None, limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 31
) -> dict[str, Any]:
    """Closed business dates, newest first, and the oldest open one; `before` pages to older ones."""
    await staff_of(request, "see_days")
    pool = service_of(request).pool
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM ledger.day_close WHERE business_date < $1 ORDER BY business_date DESC LIMIT $2",
        *(before or date.max, limit),
    )
    return {"days": [dict(row) for row in rows], "next_open_day": await pool.fetchval("SELECT ledger.next_open_day()")}


@router.get("/{business_date}")
async def get_day(request: Request, business_date: date) -> dict[str, Any]:
    """The close of a date; 404 while it is open."""
    await staff_of(request, "see_days")
    return await _one(service_of(request).pool, business_date)


@router.post("/{business_date}/close", status_code=201, openapi_extra=writing(Nothing))
async def close_day(request: Request, business_date: date) -> Response:
    """Close the oldest open date once it is over, sealed and balanced; closing it again answers the first close."""
    staff = await staff_of(request, "close_day")
    settings = service_of(request).settings

    async def act(connection: Any) -> Any:
        await connection.execute(
            "SELECT ledger.close_day($1, $2, $3::text::interval, $4)",
            *(business_date, str(settings.zone), settings.cutoff.isoformat(), staff.login_name),
        )
        return await _one(connection, business_date)

    return await once(request, staff.scope, Nothing(), act)


async def _one(connection: Any, business_date: date) -> dict[str, Any]:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM ledger.day_close WHERE business_date = $1", business_date)
    if row is None:
        raise Problem("DAY_NOT_CLOSED", f"business date {business_date} is not closed")
    return dict(row)
