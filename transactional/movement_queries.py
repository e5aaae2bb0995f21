"""`GET /v1/movements`: movements of the whole book by filters, newest first (row 1.11)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from transactional.listings import CSV_ANSWER, Amount, Cursor, Day, Format, Limit, Listing, Moment, Text, answer, paged

router = APIRouter(prefix="/v1/movements", tags=["movements"])
LISTING = Listing(
    "movements",
    (
        *("movement_id", "platform_id", "order_id", "request_no", "seq", "order_type", "movement_type", "debit_account_no"),
        *("credit_account_no", "amount_minor", "currency", "loan_no", "issue_no", "component", "claim_no", "reversal_of"),
        *("effective_at", "recorded_at", "business_date", "entered_by"),
    ),
    "SELECT * FROM ledger.movement_full",
    (("movement_id", int),),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "movement_type": "movement_type = {}",
        "account_no": "movement_id IN (SELECT e.movement_id FROM ledger.entry e JOIN registry.account a USING (account_id)"
        " WHERE a.account_no = {})",
        "loan_no": "loan_no = {}",
        "claim_no": "claim_no = {}",
        "request_no": "request_no = {}",
        "business_from": "business_date >= {}",
        "business_to": "business_date <= {}",
        "effective_from": "effective_at >= {}",
        "effective_before": "effective_at < {}",
        "amount_min_minor": "amount_minor >= {}",
        "amount_max_minor": "amount_minor <= {}",
    },
)


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(LISTING))
async def list_movements(
    request: Request,
    platform_id: Text = None,
    movement_type: Text = None,
    account_no: Text = None,
    loan_no: Text = None,
    claim_no: Text = None,
    request_no: Text = None,
    business_from: Day | None = None,
    business_to: Day | None = None,
    effective_from: Moment | None = None,
    effective_before: Moment | None = None,
    amount_min_minor: Amount = None,
    amount_max_minor: Amount = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Movements that pass every filter, a page at a time, or all as CSV."""
    filters = {
        "platform_id": platform_id,
        "movement_type": movement_type,
        "account_no": account_no,
        "loan_no": loan_no,
        "claim_no": claim_no,
        "request_no": request_no,
        "business_from": business_from,
        "business_to": business_to,
        "effective_from": effective_from,
        "effective_before": effective_before,
        "amount_min_minor": amount_min_minor,
        "amount_max_minor": amount_max_minor,
    }
    return await answer(request, LISTING, "see_rows", filters, (cursor, limit, format))
