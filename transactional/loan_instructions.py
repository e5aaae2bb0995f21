"""More instructions about a loan: prepayment, the payments of a sale, of a guarantee and of its recovery, entrusted payments.

As in `loan_money`: the platform names the facts, the bank works out every movement, and order and records are one transaction.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.allocation import Allocation, OwedRow, allocate
from domain.ids import is_text_id
from domain.vocabulary import Component, MovementType, OrderType
from transactional.bodies import Movement, decode
from transactional.clock import business_date
from transactional.loan_money_bodies import (
    DealPayment,
    EntrustedPayment,
    GuaranteePayment,
    Prepayment,
    SubrogationRepayment,
)
from transactional.loan_owed import OWED
from transactional.loan_plans import prepaid
from transactional.loan_turn import Turn, fees_of, instructed, shown
from transactional.loans_bodies import OfPlatform, PlanRow
from transactional.loans_records import check_mine
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1", tags=["loans"])
TEXT_ID_MAX = 64
_SELLER = "SELECT account_no FROM loans.claim_state WHERE platform_id = $1 AND claim_no = $2"
_PLAN = """SELECT issue_no, due_on, principal_minor, interest_minor, fee_minor FROM loans.plan_row
  WHERE platform_id = $1 AND loan_no = $2
    AND version = (SELECT max(version) FROM loans.plan WHERE platform_id = $1 AND loan_no = $2) ORDER BY issue_no"""
_ENTRUSTED = """SELECT coalesce(sum(amount_minor), 0)::bigint FROM loans.money
  WHERE platform_id = $1 AND loan_no = $2 AND movement_type = 'FIDUCIARY_PAYMENT'"""
_LISTED = """SELECT EXISTS (SELECT FROM registry.current_white_list WHERE platform_id = $1 AND kind = 'ACCOUNT'
  AND value = encode(sha256(convert_to($2, 'UTF8')), 'hex')
  AND $3 BETWEEN holds_from AND coalesce(holds_to, 'infinity'))"""


@router.post("/loans/{loan_no}/prepayments", status_code=201, openapi_extra=writing(Prepayment))
async def prepay(request: Request, loan_no: str) -> Response:
    """Principal before it is due, with its interest to this business date; the plan's next version and the money are one.

    Everything due before today is paid first (STATE_CONFLICT). AMOUNT_DIFFERS says the interest that has accrued; PLAN_DIFFERS
    when more is prepaid than is still to come due. A loan without outstanding principal is settled (status 3).
    """
    body = decode(Prepayment, await read_body(request))

    async def act(turn: Turn) -> Any:
        await turn.alone()
        today = await _today(request, turn.connection)
        rows = prepaid(await _unpaid_plan(turn, today), turn.loan, body.principal_minor, today)
        paid = next(row for row in rows if row.due_on == today and row.principal_minor == body.principal_minor)
        if paid.interest_minor != body.interest_minor:
            accrued = f"{paid.interest_minor} has accrued until {today}"
            raise Problem("AMOUNT_DIFFERS", accrued, field="interest_minor", value=paid.interest_minor)
        parts = [
            Allocation(paid.issue_no, Component.INTEREST, paid.interest_minor),
            Allocation(paid.issue_no, Component.PRINCIPAL, paid.principal_minor),
        ]
        movements = await turn.movements(parts, body.account, (MovementType.PRINCIPAL, MovementType.INTEREST))
        plan = {
            "reason": "PREPAYMENT",
            "valid_from": today,
            "rows": msgspec.to_builtins(rows),
            "prepaid_minor": body.principal_minor,
        }
        await _record(turn, "add_plan", **plan, source="GENERATED", differences=[])
        posted = await turn.post(body.request_no, OrderType.REPAYMENT, movements + fees_of(body.account, body.fees, loan_no))
        if (await turn.state())["outstanding_principal_minor"] == 0:
            await turn.status("3", posted["business_date"], "prepaid")
        return {"order": posted, "loan": await turn.state(), "parts": [shown(movement) for movement in movements]}

    return await instructed(request, loan_no, body, act)


@router.post("/deals/{deal_no}/payment", status_code=201, openapi_extra=writing(DealPayment), tags=["transfers"])
async def pay_for_claim(request: Request, deal_no: str) -> Response:
    """The buyer pays price and accrued interest, one of both the fee; title passes in the same transaction."""
    body = decode(DealPayment, await read_body(request))

    async def act(turn: Turn) -> Any:
        deal = await turn.connection.fetchrow("SELECT * FROM loans.take_deal($1, $2)", body.platform_id, deal_no)
        seller = await turn.connection.fetchval(
            "SELECT account_no FROM loans.claim_state WHERE platform_id = $1 AND claim_no = $2",
            body.platform_id,
            deal["claim_no"],
        )
        bought = body.claim_no or f"{deal['claim_no']}-{deal_no}"
        if len(bought) > TEXT_ID_MAX:
            raise Problem("BODY_INVALID", f"{bought} is too long: give a claim_no", field="claim_no")
        price = deal["price_minor"] + deal["accrued_minor"]
        movements = [
            Movement(MovementType.CREDIT_ASSIGNMENT, body.buyer_account, seller, price, turn.loan["loan_no"], claim_no=bought)
        ]
        if deal["fee_minor"]:
            if body.fee_account is None:
                raise Problem("BODY_INVALID", f"a fee of {deal['fee_minor']} was agreed", field="fee_account")
            payer = body.buyer_account if body.fee_payer == "BUYER" else seller
            movements.append(Movement(MovementType.COMMISSION, payer, body.fee_account, deal["fee_minor"], turn.loan["loan_no"]))
        posted = await turn.post(body.request_no, OrderType.CREDIT_ASSIGNMENT, movements)
        return {"order": posted, "deal": await _record(turn, "settle_deal", deal_no=deal_no, request_no=body.request_no)}

    return await _of(request, body, ("deal_state", "deal_no"), deal_no, act)


@router.post("/guarantee-calls/{call_no}/payment", status_code=201, openapi_extra=writing(GuaranteePayment), tags=["guarantees"])
async def pay_call(request: Request, call_no: str) -> Response:
    """The guarantor pays the lenders for the called instalment and gets a claim of his own for it (subrogation)."""
    body = decode(GuaranteePayment, await read_body(request))

    async def act(turn: Turn) -> Any:
        call = await turn.connection.fetchrow("SELECT * FROM loans.take_call($1, $2)", body.platform_id, call_no)
        coverage = await turn.connection.fetchval(
            "SELECT coverage FROM loans.guarantee_state WHERE platform_id = $1 AND policy_no = $2",
            *(body.platform_id, call["policy_no"]),
        )
        await turn.alone()
        owed = [OwedRow(*row) for row in await turn.rows(OWED, date.max)]
        due = [row for row in owed if row.issue_no == call["issue_no"]]
        if coverage == "PRINCIPAL":
            due = [OwedRow(row.issue_no, row.due_on, row.principal_minor, 0) for row in due]
        parts, left = allocate(body.amount_minor, due)
        if left:
            owes = body.amount_minor - left
            raise Problem("AMOUNT_EXCEEDS", f"{owes} is owed of the instalment", field="amount_minor", value=owes)
        movements = await turn.movements(parts, body.account, (MovementType.COMPENSATORY, MovementType.COMPENSATORY))
        posted = await turn.post(body.request_no, OrderType.COMPENSATORY, movements)
        carried = {"call_no": call_no, "request_no": body.request_no}
        if body.claim_no is not None:
            carried["claim_no"] = body.claim_no
        return {"order": posted, "call": await _record(turn, "pay_out", **carried), "parts": [shown(one) for one in movements]}

    return await _of(request, body, ("call_state", "call_no"), call_no, act)


@router.post(
    "/subrogations/{claim_no}/repayments", status_code=201, openapi_extra=writing(SubrogationRepayment), tags=["guarantees"]
)
async def repay_guarantor(request: Request, claim_no: str) -> Response:
    """The borrower pays the guarantor back, never more than he paid."""
    body = decode(SubrogationRepayment, await read_body(request))

    async def act(turn: Turn) -> Any:
        claim = await turn.connection.fetchrow("SELECT * FROM loans.take_claim($1, $2)", body.platform_id, claim_no)
        to, loan_no = claim["account_no"], turn.loan["loan_no"]
        movement = Movement(MovementType.COMPENSATORY_REPAYMENT, body.account, to, body.amount_minor, loan_no)
        posted = await turn.post(body.request_no, OrderType.COMPENSATORY_REPAYMENT, [movement])
        return {"order": posted, "claim": await _record(turn, "recover", claim_no=claim_no, request_no=body.request_no)}

    return await _of(request, body, ("claim_state", "claim_no"), claim_no, act)


@router.post("/loans/{loan_no}/entrusted-payments", status_code=201, openapi_extra=writing(EntrustedPayment))
async def pay_entrusted(request: Request, loan_no: str) -> Response:
    """Pay lent money on to a payee whom the platform's white list of accounts has today; never more than was disbursed.

    The list has sha256 of the payee's sub-account number, in hex.
    Problems: PAYEE_NOT_LISTED, AMOUNT_EXCEEDS, STATE_CONFLICT before the disbursement.
    """
    body = decode(EntrustedPayment, await read_body(request))

    async def act(turn: Turn) -> Any:
        await turn.alone()
        today = await _today(request, turn.connection)
        if not await turn.connection.fetchval(_LISTED, body.platform_id, body.payee_account, today):
            raise Problem("PAYEE_NOT_LISTED", f"{body.payee_account} is on no list in force on {today}", field="payee_account")
        disbursed = turn.loan["disbursed_minor"]
        if disbursed is None:
            raise Problem("STATE_CONFLICT", "the loan is not disbursed", field="loan_no")
        left = disbursed - await turn.connection.fetchval(_ENTRUSTED, body.platform_id, loan_no)
        if body.amount_minor > left:
            raise Problem("AMOUNT_EXCEEDS", f"{left} of the loan is left", field="amount_minor", value=left)
        movement = Movement(MovementType.FIDUCIARY_PAYMENT, body.account, body.payee_account, body.amount_minor, loan_no)
        posted = await turn.post(body.request_no, OrderType.FIDUCIARY_PAYMENT, [movement])
        return {"order": posted, "left_minor": left - body.amount_minor}

    return await instructed(request, loan_no, body, act)


async def _of(request: Request, body: OfPlatform, records: tuple[str, str], number: str, act: Any) -> Response:
    """Answer `act` with the turn of the loan that the record of a number belongs to; `records` are view and column."""
    check_mine(await scope_of(request), body.platform_id)
    query = f"SELECT loan_no FROM loans.{records[0]} WHERE platform_id = $1 AND {records[1]} = $2"
    loan_no = await service_of(request).pool.fetchval(query, body.platform_id, number) if is_text_id(number) else None
    if loan_no is None:
        raise Problem("RECORD_NOT_FOUND", f"there is no record {number}")
    return await instructed(request, loan_no, body, act)


async def _record(turn: Turn, function: str, **content: Any) -> Any:
    given = {"platform_id": turn.platform_id, "loan_no": turn.loan["loan_no"], **content}
    answer = await turn.connection.fetchval(
        f"SELECT loans.{function}($1::jsonb, $2)", msgspec.json.encode(given).decode(), turn.actor
    )
    return msgspec.json.decode(answer)


async def _today(request: Request, connection: Any) -> date:
    now = await connection.fetchval("SELECT ledger.clock_now()")
    return date.fromisoformat(business_date(service_of(request).settings, now))


async def _unpaid_plan(turn: Turn, today: date) -> list[PlanRow]:
    """The plan of a loan of which nothing due is open and nothing to come is paid."""
    rows = [PlanRow(*row) for row in await turn.rows(_PLAN)]
    if not rows:
        raise Problem("STATE_CONFLICT", "the loan has no plan", field="loan_no")
    owed = {row.issue_no: row for row in (OwedRow(*one) for one in await turn.rows(OWED, date.max))}
    for row in rows:
        left = (owed[row.issue_no].principal_minor, owed[row.issue_no].interest_minor)
        if row.due_on < today and left != (0, 0):
            raise Problem(
                "STATE_CONFLICT", f"instalment {row.issue_no} was due on {row.due_on}: it is paid first", field="loan_no"
            )
        if row.due_on >= today and left != (row.principal_minor, row.interest_minor):
            raise Problem("STATE_CONFLICT", f"instalment {row.issue_no} is paid in part already", field="loan_no")
    return rows
