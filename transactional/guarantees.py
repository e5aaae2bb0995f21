"""`/v1/guarantees`, `/v1/guarantee-calls`, `/v1/subrogations`: policy to recovery (spec 05 section 5.10; spec 10 row 1.34)."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.listings import CSV_ANSWER
from transactional.loans_bodies import Call, Carried, Guarantee, Release
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read, record
from transactional.openapi import writing
from transactional.service import read_body

router = APIRouter(prefix="/v1", tags=["guarantees"])
GUARANTEES = Records("guarantee_state", "policy_no")
CALLS = Records("call_state", "call_no")


@router.post("/guarantees", status_code=201, openapi_extra=writing(Guarantee))
async def register_guarantee(request: Request) -> Response:
    """Register a policy of a customer with a GUARANTEECORP account."""
    return await record(request, decode(Guarantee, await read_body(request)), "register_guarantee")


@router.post("/guarantees/{policy_no}/release", status_code=201, openapi_extra=writing(Release))
async def release_guarantee(request: Request, policy_no: str) -> Response:
    """Give a policy back: nothing that was called is unpaid, nothing that was paid is unrecovered."""
    return await record(request, decode(Release, await read_body(request)), "release_guarantee", policy_no=policy_no)


@router.post("/guarantees/{policy_no}/calls", status_code=201, openapi_extra=writing(Call))
async def call_guarantee(request: Request, policy_no: str) -> Response:
    """Call what lenders miss of an instalment: after the waiting time, within the cover, and no more than is missing."""
    return await record(request, decode(Call, await read_body(request)), "call_guarantee", policy_no=policy_no)


@router.post("/guarantee-calls/{call_no}/payouts", status_code=201, openapi_extra=writing(Carried))
async def pay_out(request: Request, call_no: str) -> Response:
    """Record a posted COMPENSATORY order of the guarantor for the instalment; he gets a SUBROGATED claim for what he paid."""
    return await record(request, decode(Carried, await read_body(request)), "pay_out", call_no=call_no)


@router.post("/subrogations/{claim_no}/recoveries", status_code=201, openapi_extra=writing(Carried))
async def recover(request: Request, claim_no: str) -> Response:
    """Record a posted COMPENSATORY_REPAYMENT order against a guarantor's claim; never more than he paid."""
    body = decode(Carried, await read_body(request))
    return await record(request, body, "recover", claim_no=claim_no)


@router.get("/guarantees/{policy_no}")
async def get_guarantee(request: Request, policy_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """A policy with what was called, paid and recovered."""
    return await one(request, GUARANTEES, await platform_read(request, platform_id), policy_no)


@router.get("/guarantees", responses=CSV_ANSWER)
async def list_guarantees(
    request: Request,
    platform_id: Platform = None,
    loan_no: Number = None,
    customer_no: Number = None,
    state: Literal["IN_FORCE", "CALLED", "SUBROGATED", "RECOVERED", "RELEASED"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Policies by number."""
    return await page(
        request, GUARANTEES, platform_id, {"loan_no": loan_no, "customer_no": customer_no, "state": state}, cursor, limit
    )


@router.get("/guarantee-calls", responses=CSV_ANSWER)
async def list_calls(
    request: Request,
    platform_id: Platform = None,
    policy_no: Number = None,
    loan_no: Number = None,
    state: Literal["CALLED", "PARTLY_PAID", "PAID"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Calls by number."""
    return await page(request, CALLS, platform_id, {"policy_no": policy_no, "loan_no": loan_no, "state": state}, cursor, limit)
