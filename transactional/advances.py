"""`/v1/advances`: what the bank advanced for withdrawals of the same day, and its repayment (spec 07 section 7.5, row 1.23)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import TextId, decode
from transactional.idempotent import once
from transactional.keys import EVERY_PLATFORM
from transactional.listings import CSV_ANSWER, Cursor, Day, Format, Limit, Listing, Text, answer
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, scope_of

router = APIRouter(prefix="/v1/advances", tags=["withdrawals"])
_ADVANCES = Listing(
    "advances",
    (
        *("platform_id", "withdrawal_no", "currency", "amount_minor", "state", "advanced_on", "repaid_on", "bank_reference"),
        "recorded_at",
    ),
    "SELECT * FROM payments.advance_state",
    (("platform_id", str), ("withdrawal_no", str)),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "state": "state = {}",
        "advanced_until": "advanced_on <= {}",
    },
    is_newest_first=False,
)


class AdvanceRepayment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The statement's entry by which an advance came back to the bank."""

    platform_id: TextId
    bank_reference: TextId


@router.get("", responses=CSV_ANSWER)
async def list_advances(
    request: Request,
    platform_id: Text = None,
    state: Literal["OPEN", "REPAID", "FAILED"] | None = None,
    advanced_until: Day | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Advances; OPEN ones of yesterday and before (`advanced_until`) are what T+1 should have cleared."""
    filters = {"platform_id": platform_id, "state": state, "advanced_until": advanced_until}
    return await answer(request, _ADVANCES, "see_accounts", filters, (cursor, limit, format))


@router.post("/{withdrawal_no}/repayment", status_code=201, openapi_extra=writing(AdvanceRepayment))
async def repay(request: Request, withdrawal_no: str) -> Response:
    """Say that an advance was repaid, once; for the bank's own systems (a key for every platform)."""
    scope = await scope_of(request)
    if scope != EVERY_PLATFORM:
        raise Problem("OTHER_PLATFORM", "only the bank's systems say so")
    body = decode(AdvanceRepayment, await read_body(request))

    async def act(connection: Any) -> Any:
        kept = await connection.fetchval(
            "SELECT payments.repay_advance($1, $2, $3, $4)",
            *(body.platform_id, withdrawal_no.replace("\x00", " "), body.bank_reference, f"key:{scope}"),
        )
        return msgspec.json.decode(kept)

    return await once(request, scope, body, act)
