"""`POST /v1/limits/check`: may this borrower take so much more, and by which rule of which pack (spec 03 rules C1, C2, C5).

The answer is of this moment; what keeps two requests from passing a cap together is the registration of the loan, which asks
again under a lock of the person (migration 0021).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.money import MINOR_DIGITS
from transactional.answers import CapVerdict
from transactional.bodies import Amount, TextId, decode
from transactional.idempotent import once
from transactional.keys import covers
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/limits", tags=["limits"])


class LimitQuestion(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How much more a borrower of a platform wants; `loan_no` leaves out a loan that is registered already."""

    platform_id: TextId
    customer_no: TextId
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    amount_minor: Amount
    loan_no: TextId | None = None


@router.post("/check", status_code=201, openapi_extra=writing(LimitQuestion, CapVerdict))
async def check_limits(request: Request) -> Response:
    """`allow`, `headroom_minor` (null: no cap), the rule that decided and all that were asked, each with cap and exposure."""
    scope = await scope_of(request)
    body = decode(LimitQuestion, await read_body(request))
    if body.currency not in MINOR_DIGITS:
        raise Problem("BODY_INVALID", f"unknown currency {body.currency}", field="currency")
    if not covers(scope, body.platform_id):
        raise Problem("CUSTOMER_NOT_FOUND", f"there is no customer {body.customer_no} of {body.platform_id}")

    async def act(connection: Any) -> Any:
        verdict = await connection.fetchval(
            "SELECT limits.verdict($1, $2, $3, $4, $5)",
            *(body.platform_id, body.customer_no, body.currency, body.amount_minor, body.loan_no),
        )
        return msgspec.json.decode(verdict)

    return await once(request, scope, body, act)


@router.get("/caps")
async def list_caps(request: Request, pack_id: str | None = None) -> dict[str, Any]:
    """Every version of every cap, oldest first."""
    await staff_of(request, "see_limits")
    rows = await service_of(request).pool.fetch(
        "SELECT * FROM limits.cap WHERE $1::text IS NULL OR pack_id = $1 ORDER BY pack_id, rule_id, party_type, version", pack_id
    )
    return {"caps": [dict(row) for row in rows]}
