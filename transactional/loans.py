"""`/v1/loans`: loans as platforms register them, status history, what the ledger says of each (spec 10 rows 1.5, 1.36a)."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from domain.allocation import OwedRow, allocate
from domain.splitting import OpenClaim, split
from transactional.bodies import decode
from transactional.listings import CSV_ANSWER
from transactional.loan_owed import OPEN_CLAIMS, OWED
from transactional.loans_bodies import Loan, StatusChange, Terms
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read, record
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1/loans", tags=["loans"])
LOANS = Records("loan_state", "loan_no", "LOAN_NOT_FOUND")
_HISTORY = """
SELECT seq, status, valid_from, reason, recorded_at, actor FROM loans.status
WHERE platform_id = $1 AND loan_no = $2 ORDER BY seq"""


@router.post("", status_code=201, openapi_extra=writing(Loan))
async def register_loan(request: Request) -> Response:
    """Register a loan, announced or raising; 201 with all that is known of it."""
    return await record(request, decode(Loan, await read_body(request)), "register")


@router.post("/{loan_no}/terms", status_code=201, openapi_extra=writing(Terms))
async def change_terms(request: Request, loan_no: str) -> Response:
    """Another version of the terms, while the loan is announced or raising."""
    return await record(request, decode(Terms, await read_body(request)), "change_terms", loan_no=loan_no)


@router.post("/{loan_no}/status", status_code=201, openapi_extra=writing(StatusChange))
async def change_status(request: Request, loan_no: str) -> Response:
    """The next status, if it may follow and the ledger bears it out.

    9 (disbursed) needs TENDER movements into the borrower's account that add up to `disbursed_minor`, and opens lenders' claims;
    3 (repaid) needs that no principal is outstanding; 4 (overdue) that something is past due; 10 is decided by two of the bank.
    """
    return await record(request, decode(StatusChange, await read_body(request)), "change_status", loan_no=loan_no)


@router.get("/{loan_no}")
async def get_loan(request: Request, loan_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """Contract, disbursed, outstanding, paid by borrower and by guarantor, days past due of both sides, status history."""
    platform = await platform_read(request, platform_id)
    loan = await one(request, LOANS, platform, loan_no)
    pool = service_of(request).pool
    late = await pool.fetchrow(
        "SELECT * FROM loans.days_past_due($1, $2, (ledger.clock_now() AT TIME ZONE $3)::date)",
        *(platform, loan_no, str(service_of(request).settings.zone)),
    )
    history = await pool.fetch(_HISTORY, platform, loan_no)
    return {
        **loan,
        "lender_days_past_due": late["lender_days"],
        "borrower_days_past_due": late["borrower_days"],
        "status_history": [dict(row) for row in history],
    }


@router.get("", responses=CSV_ANSWER)
async def list_loans(
    request: Request,
    platform_id: Platform = None,
    status: Literal["0", "1", "2", "3", "4", "5", "6", "8", "9", "10"] | None = None,
    customer_no: Number = None,
    project_no: Number = None,
    disbursed_on: date | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Loans of a platform by number."""
    filters = {"status": status, "customer_no": customer_no, "project_no": project_no, "disbursed_on": disbursed_on}
    return await page(request, LOANS, platform_id, filters, cursor, limit)


@router.get("/{loan_no}/split")
async def split_payment(
    request: Request, loan_no: str, amount_minor: Annotated[int, Query(gt=0, le=10**15)], platform_id: Platform = None
) -> dict[str, Any]:
    """How a payment of the borrower becomes movements (spec 05 section 5.1): oldest instalment first, interest before principal,
    among the open claims by the largest remainder. Nothing is kept; `left_minor` is what no instalment needs.
    """
    platform = await platform_read(request, platform_id)
    await one(request, LOANS, platform, loan_no)
    pool = service_of(request).pool
    owed = [OwedRow(*row) for row in await pool.fetch(OWED, platform, loan_no, date.max)]
    claims = await pool.fetch(OPEN_CLAIMS, platform, loan_no)
    allocations, left = allocate(amount_minor, owed)
    if allocations and not claims:
        raise Problem("STATE_CONFLICT", "no claim of the loan is open", field="loan_no")
    accounts = {row["claim_no"]: row["account_no"] for row in claims}
    parts = split(allocations, [OpenClaim(row["claim_no"], row["outstanding_minor"]) for row in claims])
    return {
        "parts": [
            {
                "claim_no": part.claim_no,
                "credit_account": accounts[part.claim_no],
                "issue_no": part.issue_no,
                "component": part.component.value,
                "amount_minor": part.amount_minor,
            }
            for part in parts
        ],
        "left_minor": left,
    }
