"""`/v1/transfers` and `/v1/deals`: claims on offer, sales that are agreed, and title that moves when the money has moved."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.listings import CSV_ANSWER
from transactional.loans_bodies import Carried, Deal, Listing, Reason
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read, record
from transactional.openapi import writing
from transactional.service import read_body

router = APIRouter(prefix="/v1", tags=["transfers"])
LISTINGS = Records("listing_state", "listing_no")
DEALS = Records("deal_state", "deal_no")


@router.post("/transfers", status_code=201, openapi_extra=writing(Listing))
async def list_claim(request: Request) -> Response:
    """Offer principal of a claim: no more than is outstanding and neither offered nor agreed elsewhere."""
    return await record(request, decode(Listing, await read_body(request)), "list_claim")


@router.post("/transfers/{listing_no}/withdrawal", status_code=201, openapi_extra=writing(Reason))
async def withdraw(request: Request, listing_no: str) -> Response:
    """Take an offer back; deals that are agreed stand."""
    return await record(request, decode(Reason, await read_body(request)), "withdraw_listing", listing_no=listing_no)


@router.post("/transfers/{listing_no}/deals", status_code=201, openapi_extra=writing(Deal))
async def agree(request: Request, listing_no: str) -> Response:
    """Agree on a sale of all or a part of what is unsold; it is reserved for the buyer from now on."""
    return await record(request, decode(Deal, await read_body(request)), "agree_deal", listing_no=listing_no)


@router.post("/deals/{deal_no}/settlement", status_code=201, openapi_extra=writing(Carried))
async def settle(request: Request, deal_no: str) -> Response:
    """Move title by a posted CREDIT_ASSIGNMENT order: the buyer paid the seller price and accrued interest, one of them the fee,
    to the cent. The buyer's claim takes its number from the order's movement.
    """
    return await record(request, decode(Carried, await read_body(request)), "settle_deal", deal_no=deal_no)


@router.post("/deals/{deal_no}/cancellation", status_code=201, openapi_extra=writing(Reason))
async def cancel(request: Request, deal_no: str) -> Response:
    """Give up a deal that is not settled; its principal is free again."""
    return await record(request, decode(Reason, await read_body(request)), "cancel_deal", deal_no=deal_no)


@router.get("/transfers/{listing_no}")
async def get_listing(request: Request, listing_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """One offer with what is unsold of it."""
    return await one(request, LISTINGS, await platform_read(request, platform_id), listing_no)


@router.get("/transfers", responses=CSV_ANSWER)
async def list_listings(
    request: Request,
    platform_id: Platform = None,
    claim_no: Number = None,
    loan_no: Number = None,
    seller_customer_no: Number = None,
    state: Literal["LISTED", "SOLD", "WITHDRAWN", "EXPIRED"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Offers by number."""
    filters = {"claim_no": claim_no, "loan_no": loan_no, "seller_customer_no": seller_customer_no, "state": state}
    return await page(request, LISTINGS, platform_id, filters, cursor, limit)


@router.get("/deals/{deal_no}")
async def get_deal(request: Request, deal_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """One sale with its price, premium, accrued interest as agreed and as computed, and the order that settled it."""
    return await one(request, DEALS, await platform_read(request, platform_id), deal_no)


@router.get("/deals", responses=CSV_ANSWER)
async def list_deals(
    request: Request,
    platform_id: Platform = None,
    listing_no: Number = None,
    loan_no: Number = None,
    seller_customer_no: Number = None,
    buyer_customer_no: Number = None,
    state: Literal["AGREED", "SETTLED", "CANCELLED"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Sales by number."""
    filters = {
        "listing_no": listing_no,
        "loan_no": loan_no,
        "seller_customer_no": seller_customer_no,
        "buyer_customer_no": buyer_customer_no,
        "state": state,
    }
    return await page(request, DEALS, platform_id, filters, cursor, limit)
