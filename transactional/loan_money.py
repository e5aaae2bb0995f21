"""Instructions that move a loan's money (spec 07 section 7.5): bid, disbursement, failed raise, repayment, compensation.

The platform names the facts; the bank works out every movement, posts the order and records what came of it in one transaction.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.allocation import OwedRow, allocate
from domain.vocabulary import MovementType, OrderType
from transactional.bodies import Capture, Hold, Movement, decode
from transactional.listings import CSV_ANSWER
from transactional.loan_money_bodies import Bid, Disbursement, FailedRaise, Payment
from transactional.loan_owed import OWED
from transactional.loan_turn import Turn, fees_of, instructed, shown
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, page
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1/loans", tags=["loans"])
BIDS = Records("bid_state", "bid_no")
_LIVE = """
SELECT bid_no, account_no, held_minor FROM loans.bid_state
WHERE platform_id = $1 AND loan_no = $2 AND held_minor > 0 ORDER BY bid_no"""


@router.post("/{loan_no}/bids", status_code=201, openapi_extra=writing(Bid))
async def place_bid(request: Request, loan_no: str) -> Response:
    """Hold a lender's money for a loan that is raising; whatever comes at once, bids never exceed the contract amount."""
    body = decode(Bid, await read_body(request))

    async def act(turn: Turn) -> Any:
        expires_at = msgspec.UNSET if body.expires_at is None else body.expires_at
        hold = Hold(body.bid_no, body.account, body.amount_minor, expires_at)
        posted = await turn.post(body.bid_no, OrderType.TENDER, [], place_holds=[hold])
        kept = await turn.connection.fetchval(
            "SELECT loans.put_bid($1, $2, $3, $4, $5, $6, $7, $8)",
            *(body.platform_id, loan_no, body.bid_no, body.account, body.mandate_no, posted["order_id"]),
            *(date.fromisoformat(posted["business_date"]), turn.actor),
        )
        return {"order": posted, "bid": msgspec.json.decode(kept)}

    return await instructed(request, loan_no, body, act)


@router.post("/{loan_no}/disbursement", status_code=201, openapi_extra=writing(Disbursement))
async def disburse(request: Request, loan_no: str) -> Response:
    """Every live bid of a full loan becomes a claim and the borrower's money, in one order; the borrower pays the fees from it.

    Problems beside those of the engine: AMOUNT_DIFFERS when the bids do not add up to `amount_minor`, STATE_CONFLICT.
    """
    body = decode(Disbursement, await read_body(request))

    async def act(turn: Turn) -> Any:
        bids = await turn.rows(_LIVE)
        total = sum(bid["held_minor"] for bid in bids)
        if total != body.amount_minor:
            raise Problem("AMOUNT_DIFFERS", f"the bids add up to {total}", field="amount_minor", value=total)
        tenders = [
            Movement(
                MovementType.TENDER, bid["account_no"], body.borrower_account, bid["held_minor"], loan_no, claim_no=bid["bid_no"]
            )
            for bid in bids
        ]
        movements = tenders + fees_of(body.borrower_account, body.fees, loan_no)
        captures = [Capture(bid["bid_no"]) for bid in bids]
        posted = await turn.post(body.request_no, OrderType.DISBURSE, movements, capture_holds=captures)
        await turn.status("9", posted["business_date"], "disbursed", disbursed_minor=total)
        return {"order": posted, "loan": await turn.state()}

    return await instructed(request, loan_no, body, act)


@router.post("/{loan_no}/failed-raise", status_code=201, openapi_extra=writing(FailedRaise))
async def fail_raise(request: Request, loan_no: str) -> Response:
    """Let go of every live bid, to the cent what was held, and mark the loan as failed; nothing reaches the borrower."""
    body = decode(FailedRaise, await read_body(request))

    async def act(turn: Turn) -> Any:
        bids = await turn.rows(_LIVE)
        if not bids:
            raise Problem("STATE_CONFLICT", "the loan has no live bid: report its status alone", field="loan_no")
        releases = [bid["bid_no"] for bid in bids]
        posted = await turn.post(body.request_no, OrderType.CANCEL_PRE_TRANSACTION, [], release_holds=releases)
        await turn.status("2", posted["business_date"], body.reason)
        released = sum(bid["held_minor"] for bid in bids)
        return {"order": posted, "loan": await turn.state(), "bids": len(bids), "released_minor": released}

    return await instructed(request, loan_no, body, act)


@router.post("/{loan_no}/repayments", status_code=201, openapi_extra=writing(Payment))
async def repay(request: Request, loan_no: str) -> Response:
    """A payment of the borrower: oldest instalment first, interest before principal, also such that are not due yet.

    The parts of the lenders follow by the largest remainder and add up to the amount. AMOUNT_EXCEEDS beyond what is owed.
    """
    body = decode(Payment, await read_body(request))

    async def act(turn: Turn) -> Any:
        movements = await _parts(turn, body, date.max, (MovementType.PRINCIPAL, MovementType.INTEREST))
        posted = await turn.post(body.request_no, OrderType.REPAYMENT, movements + fees_of(body.account, body.fees, loan_no))
        return {"order": posted, "loan": await turn.state(), "parts": [shown(movement) for movement in movements]}

    return await instructed(request, loan_no, body, act)


@router.post("/{loan_no}/compensations", status_code=201, openapi_extra=writing(Payment))
async def compensate(request: Request, loan_no: str) -> Response:
    """A guarantor pays the lenders what is due and unpaid, never more; the borrower's own days past due go on."""
    body = decode(Payment, await read_body(request))

    async def act(turn: Turn) -> Any:
        zone = str(service_of(request).settings.zone)
        today = await turn.connection.fetchval("SELECT (ledger.clock_now() AT TIME ZONE $1)::date", zone)
        movements = await _parts(turn, body, today, (MovementType.COMPENSATORY, MovementType.COMPENSATORY))
        posted = await turn.post(body.request_no, OrderType.COMPENSATORY, movements + fees_of(body.account, body.fees, loan_no))
        return {"order": posted, "loan": await turn.state(), "parts": [shown(movement) for movement in movements]}

    return await instructed(request, loan_no, body, act)


@router.get("/{loan_no}/bids", responses=CSV_ANSWER)
async def list_bids(
    request: Request,
    loan_no: str,
    platform_id: Platform = None,
    customer_no: Number = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Bids of a loan with what is still held and what became of them, by number."""
    return await page(request, BIDS, platform_id, {"loan_no": loan_no, "customer_no": customer_no}, cursor, limit)


async def _parts(turn: Turn, body: Payment, due_until: date, types: tuple[MovementType, MovementType]) -> list[Movement]:
    """Movements of a payment to the lenders; `types` are those of principal and interest."""
    await turn.alone()
    owed = [OwedRow(*row) for row in await turn.rows(OWED, due_until)]
    allocations, left = allocate(body.amount_minor, owed)
    if left:
        raise Problem("AMOUNT_EXCEEDS", f"{body.amount_minor - left} is owed", field="amount_minor", value=body.amount_minor)
    return await turn.movements(allocations, body.account, types)
