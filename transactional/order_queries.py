"""Reading orders: the list, and one with its movements, holds, reversal links and what became of it (rows 0.7, 1.11)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from transactional.listings import CSV_ANSWER, Cursor, Day, Format, Limit, Listing, Text, answer, paged
from transactional.movement_queries import LISTING as MOVEMENTS
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import service_of

router = APIRouter(prefix="/v1/orders", tags=["orders"])
LISTING = Listing(
    "orders",
    (
        *("order_id", "platform_id", "request_no", "order_type", "currency", "amount_minor", "state", "reverses_request_no"),
        *("reversed_by_request_no", "reversed_at", "effective_at", "recorded_at", "business_date", "entered_by"),
    ),
    """SELECT o.*, CASE WHEN later.order_id IS NULL THEN 'POSTED' ELSE 'REVERSED' END AS state,
              earlier.request_no AS reverses_request_no, later.request_no AS reversed_by_request_no,
              later.recorded_at AS reversed_at
       FROM ledger.trade_order o LEFT JOIN ledger.trade_order earlier ON earlier.order_id = o.reverses_order_id
       LEFT JOIN ledger.trade_order later ON later.reverses_order_id = o.order_id""",
    (("order_id", int),),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "request_no": "request_no = {}",
        "order_type": "order_type = {}",
        "business_from": "business_date >= {}",
        "business_to": "business_date <= {}",
    },
)
_MOVEMENTS = f"SELECT {', '.join(MOVEMENTS.columns)} FROM ledger.movement_full WHERE order_id = $1 ORDER BY seq"
_HOLD_EVENTS = """SELECT h.hold_event_id, h.hold_no, h.event_type, a.account_no, h.amount_minor, h.expires_at, h.recorded_at
  FROM ledger.hold_event h JOIN registry.account a USING (account_id) WHERE h.order_id = $1 AND h.platform_id = $2
  AND h.account_id IN (SELECT account_id FROM registry.account WHERE platform_id = $2) ORDER BY h.hold_event_id"""


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(LISTING))
async def list_orders(
    request: Request,
    platform_id: Text = None,
    request_no: Text = None,
    order_type: Text = None,
    business_from: Day | None = None,
    business_to: Day | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Orders that pass every filter, newest first, a page at a time, or all as CSV."""
    filters = {
        "platform_id": platform_id,
        "request_no": request_no,
        "order_type": order_type,
        "business_from": business_from,
        "business_to": business_to,
    }
    return await answer(request, LISTING, "see_rows", filters, (cursor, limit, format))


@router.get("/{platform_id}/{request_no}")
async def get_order(request: Request, platform_id: str, request_no: str) -> dict[str, Any]:
    """One order with `movements`, `holds` (events of holds) and `history` (POSTED, then REVERSED)."""
    reader = await reader_of(request, "see_timeline")
    row = None
    async with (
        service_of(request).pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        if "\x00" not in platform_id + request_no and reader.sees(platform_id):
            query, values = LISTING.query({"platform_id": platform_id, "request_no": request_no}, None)
            row = await connection.fetchrow(query, *values)
        if row is None:
            raise Problem("NOT_FOUND", f"there is no order {request_no} of {platform_id}")
        movements = await connection.fetch(_MOVEMENTS, row["order_id"])
        holds = await connection.fetch(_HOLD_EVENTS, row["order_id"], platform_id)
    await reader.looked(request, "ACCOUNT_SEEN", f"order {platform_id}/{request_no}")
    history = [{"state": "POSTED", "at": row["recorded_at"], "by": row["entered_by"]}]
    if row["reversed_at"] is not None:
        history.append({"state": "REVERSED", "at": row["reversed_at"], "by": row["reversed_by_request_no"]})
    return {
        **dict(row),
        "movements": [dict(movement) for movement in movements],
        "holds": [dict(hold) for hold in holds],
        "history": history,
    }
