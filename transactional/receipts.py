"""`/v1/receipts`: money on the special account without a known owner, until it is claimed or returned (break B27, row 1.27a).

Claims and returns are decided by two people (kinds RECEIPT_CLAIM and RECEIPT_RETURN); interest and charges of the special account
likewise (INTEREST_CREDITED, BANK_CHARGE).
"""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import BadInput
from transactional.bodies import Amount, TextId, decode
from transactional.idempotent import once
from transactional.keys import EVERY_PLATFORM
from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Text, answer
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.registry_bodies import Currency, Sha256, check_masked
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1", tags=["receipts"])
_AGED = """
SELECT s.*, CASE WHEN open_minor > 0 THEN today - value_on ELSE 0 END AS age_days,
       CASE WHEN open_minor > 0 THEN registry.working_days_after('{calendar}', value_on, today) ELSE 0 END AS age_working_days
FROM payments.receipt_state s CROSS JOIN (SELECT work.business_date(ledger.clock_now()) AS today) clock"""
_ITEMS = Listing(
    "bank_items",
    ("platform_id", "bank_reference", "kind", "currency", "amount_minor", "booked_on", "order_id", "approval_id", "recorded_at"),
    "SELECT * FROM payments.bank_item",
    (("platform_id", str), ("bank_reference", str)),
    {"platform_id": "platform_id = {}", "reach": "platform_id = {}", "kind": "kind = {}"},
    is_newest_first=False,
)
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\Z")]


class Receipt(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One entry of the special account's statement that nobody is known for; names and account numbers masked or hashed."""

    platform_id: TextId
    receipt_no: TextId
    bank_reference: TextId
    currency: Currency
    amount_minor: Amount
    value_on: date
    payer_hash: Sha256 | None = None
    payer_masked: Words | None = None
    remittance: Words | None = None


@router.post("/receipts", status_code=201, openapi_extra=writing(Receipt))
async def record_receipt(request: Request) -> Response:
    """Record a receipt and put its money into suspense; for the bank's own systems (a key for every platform)."""
    scope = await scope_of(request)
    if scope != EVERY_PLATFORM:
        raise Problem("OTHER_PLATFORM", "only the bank's systems record receipts")
    body = decode(Receipt, await read_body(request))
    check_masked(body.payer_masked, "payer_masked")
    check_masked(body.remittance, "remittance")

    async def act(connection: Any) -> Any:
        given = msgspec.json.encode(body).decode()
        return msgspec.json.decode(await connection.fetchval("SELECT payments.put_receipt($1::jsonb, $2)", given, f"key:{scope}"))

    return await once(request, scope, body, act)


@router.get("/receipts", responses=CSV_ANSWER)
async def list_receipts(
    request: Request,
    platform_id: Text = None,
    receipt_no: Text = None,
    state: Literal["OPEN", "PARTLY_CLAIMED", "CLAIMED", "RETURNING", "RETURNED"] | None = None,
    currency: Text = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Receipts with what is open of each and for how many calendar and working days; as pages or whole as CSV.

    `age_working_days` counts by the version of the bank's calendar in force and is null where that does not reach.
    """
    filters = {"platform_id": platform_id, "receipt_no": receipt_no, "state": state, "currency": currency}
    return await answer(
        request, _receipts(service_of(request).settings.calendar), "see_accounts", filters, (cursor, limit, format)
    )


@cache
def _receipts(calendar: str) -> Listing:
    if not calendar.isalnum():
        raise BadInput(f"{calendar!r} is no calendar")
    return Listing(
        "receipts",
        (
            *("platform_id", "receipt_no", "bank_reference", "currency", "amount_minor", "open_minor", "claimed_minor"),
            *("returned_minor", "state", "value_on", "payer_masked", "remittance", "business_date", "age_days"),
            *("age_working_days", "recorded_at"),
        ),
        _AGED.replace("{calendar}", calendar),
        (("platform_id", str), ("receipt_no", str)),
        {
            "platform_id": "platform_id = {}",
            "reach": "platform_id = {}",
            "state": "state = {}",
            "currency": "currency = {}",
            "receipt_no": "receipt_no = {}",
        },
        is_newest_first=False,
    )


@router.get("/bank-items", responses=CSV_ANSWER)
async def list_bank_items(
    request: Request,
    platform_id: Text = None,
    kind: Literal["INTEREST", "CHARGE"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Interest, charges and taxes of special accounts, each with the order that passed it on; as pages or whole as CSV."""
    return await answer(request, _ITEMS, "see_accounts", {"platform_id": platform_id, "kind": kind}, (cursor, limit, format))
