"""`/v1/collateral`: what secures a loan, what it is worth, who holds rights in it (spec 05 section 5.10; spec 10 row 1.35).

Its disposal is decided by two of the bank: kind COLLATERAL_DISPOSAL of `/v1/approvals`.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.listings import CSV_ANSWER
from transactional.loans_bodies import Collateral, Lien, Valuation
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read, record
from transactional.openapi import writing
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1/collateral", tags=["collateral"])
COLLATERAL = Records("collateral_state", "collateral_no")
_VALUATIONS = """
SELECT seq, valued_on, method, value_minor, valuer, valid_until, recorded_at FROM loans.valuation
WHERE platform_id = $1 AND collateral_no = $2 ORDER BY seq"""
_LIENS = """
SELECT seq, event, holder_customer_no, registration_no, lien_rank, happened_on, recorded_at FROM loans.lien
WHERE platform_id = $1 AND collateral_no = $2 ORDER BY seq"""
_DISPOSALS = """
SELECT disposed_on, gross_minor, costs_minor, to_lenders_minor, to_guarantor_minor, to_owner_minor, approval_id, recorded_at
FROM loans.disposal WHERE platform_id = $1 AND collateral_no = $2"""


@router.post("", status_code=201, openapi_extra=writing(Collateral))
async def register_collateral(request: Request) -> Response:
    """Register what secures a loan, with its haircut and the highest LTV."""
    return await record(request, decode(Collateral, await read_body(request)), "register_collateral")


@router.post("/{collateral_no}/valuations", status_code=201, openapi_extra=writing(Valuation))
async def value_collateral(request: Request, collateral_no: str) -> Response:
    """A dated valuation; the answer says the LTV that comes of it."""
    return await record(request, decode(Valuation, await read_body(request)), "value_collateral", collateral_no=collateral_no)


@router.post("/{collateral_no}/liens", status_code=201, openapi_extra=writing(Lien))
async def change_lien(request: Request, collateral_no: str) -> Response:
    """Rights are registered, go over to another holder, or are released."""
    return await record(request, decode(Lien, await read_body(request)), "change_lien", collateral_no=collateral_no)


@router.get("/{collateral_no}")
async def get_collateral(request: Request, collateral_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """Collateral with its LTV, valuations, rights and disposal."""
    platform = await platform_read(request, platform_id)
    found = await one(request, COLLATERAL, platform, collateral_no)
    pool = service_of(request).pool
    parts = {"valuations": _VALUATIONS, "liens": _LIENS, "disposals": _DISPOSALS}
    return found | {
        name: [dict(row) for row in await pool.fetch(query, platform, collateral_no)] for name, query in parts.items()
    }


@router.get("", responses=CSV_ANSWER)
async def list_collateral(
    request: Request,
    platform_id: Platform = None,
    loan_no: Number = None,
    customer_no: Number = None,
    state: Literal["UNREGISTERED", "REGISTERED", "TRANSFERRED", "RELEASED", "DISPOSED"] | None = None,
    is_ltv_exceeded: bool | None = None,
    is_valuation_stale: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Collateral by number; `is_ltv_exceeded` and `is_valuation_stale` are the alerts of spec 05 section 5.10."""
    filters = {
        "loan_no": loan_no,
        "customer_no": customer_no,
        "state": state,
        "is_ltv_exceeded": is_ltv_exceeded,
        "is_valuation_stale": is_valuation_stale,
    }
    return await page(request, COLLATERAL, platform_id, filters, cursor, limit)
