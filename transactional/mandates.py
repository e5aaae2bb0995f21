"""`/v1/mandates`: what lenders let a platform bid in their name, and whether a bid is covered (spec 10 row 1.7)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.listings import CSV_ANSWER
from transactional.loans_bodies import Bid, Mandate, MandateUse, Reason
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read, record
from transactional.openapi import writing
from transactional.service import read_body

router = APIRouter(prefix="/v1/mandates", tags=["mandates"])
MANDATES = Records("mandate_state", "mandate_no")


@router.post("", status_code=201, openapi_extra=writing(Mandate))
async def put_mandate(request: Request) -> Response:
    """A new mandate (version 1) or its next version; a revoked one has none."""
    return await record(request, decode(Mandate, await read_body(request)), "put_mandate")


@router.post("/{mandate_no}/revocation", status_code=201, openapi_extra=writing(Reason))
async def revoke(request: Request, mandate_no: str) -> Response:
    """End a mandate: no bid is covered from now on; holds that were placed under it stand."""
    return await record(request, decode(Reason, await read_body(request)), "revoke_mandate", mandate_no=mandate_no)


@router.post("/{mandate_no}/check", openapi_extra=writing(Bid))
async def check(request: Request, mandate_no: str) -> Response:
    """Would this bid be covered now: `covered`, the `reasons` why not, and the `headroom_minor` left for this loan."""
    return await record(request, decode(Bid, await read_body(request)), "check_mandate", 200, mandate_no=mandate_no)


@router.post("/{mandate_no}/uses", status_code=201, openapi_extra=writing(MandateUse))
async def use(request: Request, mandate_no: str) -> Response:
    """Put a tender hold of the lender under the mandate, if it covers the bid; all uses together never pass its total."""
    return await record(request, decode(MandateUse, await read_body(request)), "use_mandate", mandate_no=mandate_no)


@router.get("/{mandate_no}")
async def get_mandate(request: Request, mandate_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """The version in force, what is used of it and what is left."""
    return await one(request, MANDATES, await platform_read(request, platform_id), mandate_no)


@router.get("", responses=CSV_ANSWER)
async def list_mandates(
    request: Request,
    platform_id: Platform = None,
    customer_no: Number = None,
    is_revoked: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Mandates by number, each in its newest version."""
    return await page(request, MANDATES, platform_id, {"customer_no": customer_no, "is_revoked": is_revoked}, cursor, limit)
