"""`GET /v1/holds`: one row a hold with what is left of it, newest first (row 1.12)."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request

from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Text, answer, paged

router = APIRouter(prefix="/v1/holds", tags=["holds"])
LISTING = Listing(
    "holds",
    (
        *("hold_event_id", "platform_id", "hold_no", "account_no", "currency", "request_no", "order_type", "placed_minor"),
        *("remaining_minor", "state", "expires_at", "recorded_at", "business_date"),
    ),
    """SELECT h.hold_event_id, h.platform_id, h.hold_no, a.account_no, a.currency, o.request_no, o.order_type,
              h.amount_minor AS placed_minor, h.amount_minor - t.taken AS remaining_minor,
              CASE WHEN h.amount_minor = t.taken THEN 'ENDED' ELSE 'OPEN' END AS state,
              h.expires_at, h.recorded_at, h.business_date
       FROM ledger.hold_event h JOIN registry.account a USING (account_id) JOIN ledger.trade_order o USING (order_id)
       CROSS JOIN LATERAL (SELECT coalesce(sum(x.amount_minor), 0)::bigint AS taken FROM ledger.hold_event x
         WHERE x.platform_id = h.platform_id AND x.hold_no = h.hold_no AND x.event_type <> 'PLACE') t
       WHERE h.event_type = 'PLACE'""",
    (("hold_event_id", int),),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "account_no": "account_no = {}",
        "hold_no": "hold_no = {}",
        "state": "state = {}",
    },
)


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(LISTING))
async def list_holds(
    request: Request,
    platform_id: Text = None,
    account_no: Text = None,
    hold_no: Text = None,
    state: Literal["OPEN", "ENDED"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Holds that pass every filter, a page at a time, or all as CSV."""
    filters = {"platform_id": platform_id, "account_no": account_no, "hold_no": hold_no, "state": state}
    return await answer(request, LISTING, "see_rows", filters, (cursor, limit, format))
