"""`/v1/loans/{no}/plan`: versions of the repayment plan, given by the platform and compared, or generated from the terms."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import BadInput
from domain.schedules import bullet_interest, months_after, schedule
from domain.vocabulary import PlanType
from transactional import csv_file
from transactional.bodies import decode
from transactional.listings import CSV_ANSWER, wants_csv
from transactional.loans import LOANS
from transactional.loans_bodies import Plan, PlanRow
from transactional.loans_records import Platform, one, platform_read, record
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/loans", tags=["loans"])
_ROWS = """
SELECT issue_no, due_on, principal_minor, interest_minor, fee_minor FROM loans.plan_row
WHERE platform_id = $1 AND loan_no = $2 AND version = $3 ORDER BY issue_no"""
_FILE_COLUMNS = (
    *(
        "platform_id",
        "loan_no",
        "version",
        "reason",
        "valid_from",
        "source",
        "issue_no",
        "due_on",
        "principal_minor",
        "interest_minor",
    ),
    "fee_minor",
)
_FILE = """
SELECT platform_id, loan_no, version, p.reason, p.valid_from, p.source, issue_no, due_on, principal_minor, interest_minor,
       fee_minor
FROM loans.plan p JOIN loans.plan_row r USING (platform_id, loan_no, version)
WHERE platform_id = $1 AND loan_no = $2 AND ($3::int IS NULL OR version = $3) ORDER BY version, issue_no"""
_VERSIONS = """
SELECT version, reason, valid_from, source, differences, recorded_at, actor FROM loans.plan
WHERE platform_id = $1 AND loan_no = $2 ORDER BY version"""


@router.post("/{loan_no}/plan", status_code=201, openapi_extra=writing(Plan))
async def add_plan(request: Request, loan_no: str, generate: bool = False) -> Response:
    """The next version of the plan: principal adds up to the disbursed amount, what was due before `valid_from` stays as it was.

    With `generate=true` ORIGINAL and PREPAYMENT rows are computed; an ORIGINAL that is given is compared with what the terms
    give, and `differences` names row, field, given and expected. RESTRUCTURING is decided by two of the bank
    (POST /v1/approvals).
    """
    body = decode(Plan, await read_body(request))
    platform = await platform_read(request, body.platform_id)
    loan = await one(request, LOANS, platform, loan_no)
    if loan["disbursed_minor"] is None:
        raise Problem("STATE_CONFLICT", "the loan is not disbursed", field="loan_no")
    if generate:
        if body.rows:
            raise Problem("BODY_INVALID", "rows are generated: send none", field="rows")
        rows = await _generated(request, loan, body)
        more = {"rows": msgspec.to_builtins(rows), "source": "GENERATED", "differences": []}
    else:
        expected = _original(loan) if body.reason == "ORIGINAL" else body.rows
        more = {"rows": msgspec.to_builtins(body.rows), "source": "GIVEN", "differences": differences(body.rows, expected)}
    return await record(request, body, "add_plan", loan_no=loan_no, **more)


@router.get("/{loan_no}/plan", responses=CSV_ANSWER)
async def get_plan(
    request: Request, loan_no: str, platform_id: Platform = None, version: Annotated[int | None, Query(ge=1, le=100_000)] = None
) -> Any:
    """The rows of a version (the newest when none is asked for), and all versions with their reasons.

    With ``Accept: text/csv`` the rows of the version asked for, or of all of them, as one file (people: permission `export`).
    """
    platform = await platform_read(request, platform_id)
    await one(request, LOANS, platform, loan_no)
    pool = service_of(request).pool
    versions = [
        {**row, "differences": msgspec.json.decode(row["differences"])} for row in await pool.fetch(_VERSIONS, platform, loan_no)
    ]
    wanted = version or len(versions)
    if not 1 <= wanted <= len(versions):
        raise Problem("RECORD_NOT_FOUND", f"loan {loan_no} has no plan of this version", field="version")
    if wants_csv(request, None):
        return await _file(request, platform, loan_no, version)
    rows = await pool.fetch(_ROWS, platform, loan_no, wanted)
    return {**versions[wanted - 1], "loan_no": loan_no, "rows": [dict(row) for row in rows], "versions": versions}


async def _file(request: Request, platform: str, loan_no: str, version: int | None) -> Response:
    staff = request.state.reader.staff
    if staff is not None:
        await staff_of(request, "export")
    asked = {"platform_id": platform, "loan_no": loan_no} | ({} if version is None else {"version": version})
    rows = csv_file.queried(service_of(request).pool, _FILE, platform, loan_no, version)
    return await csv_file.send(request, staff, "loan_plan", _FILE_COLUMNS, rows, asked)


def differences(given: list[PlanRow], expected: list[PlanRow]) -> list[dict[str, Any]]:
    """Where two plans differ, row by row: issue, field, given and expected; a row of one side only differs in `issue_no`."""
    found: list[dict[str, Any]] = []
    theirs, ours = ({row.issue_no: row for row in rows} for rows in (given, expected))
    for issue_no in sorted(theirs.keys() | ours.keys()):
        one_row, other = theirs.get(issue_no), ours.get(issue_no)
        if one_row is None or other is None:
            missing = {"given": one_row and issue_no, "expected": other and issue_no}
            found.append({"issue_no": issue_no, "field": "issue_no", **missing})
            continue
        for name in ("due_on", "principal_minor", "interest_minor"):
            first, second = (msgspec.to_builtins(getattr(row, name)) for row in (one_row, other))
            if first != second:
                found.append({"issue_no": issue_no, "field": name, "given": first, "expected": second})
    return found


async def _generated(request: Request, loan: dict[str, Any], body: Plan) -> list[PlanRow]:
    if body.reason == "ORIGINAL":
        return _original(loan)
    if body.reason != "PREPAYMENT" or body.prepaid_minor is None:
        raise Problem("BODY_INVALID", "generated are ORIGINAL plans and a PREPAYMENT with prepaid_minor", field="reason")
    stored = await service_of(request).pool.fetch(_ROWS, loan["platform_id"], loan["loan_no"], loan["plan_version"])
    return prepaid([PlanRow(*row) for row in stored], loan, body.prepaid_minor, body.valid_from)


def _original(loan: dict[str, Any]) -> list[PlanRow]:
    return _schedule(loan, loan["disbursed_minor"], loan["term_months"], loan["disbursed_on"])


def _schedule(loan: dict[str, Any], principal_minor: int, months: int, start: date) -> list[PlanRow]:
    try:
        rows = schedule(PlanType(loan["plan_type"]), principal_minor, Decimal(loan["annual_rate"]), months, start)
    except BadInput as error:
        raise Problem("PLAN_DIFFERS", str(error), field="rows") from None
    return [PlanRow(row.issue_no, row.due_on, row.principal_minor, row.interest_minor) for row in rows]


def prepaid(rows: list[PlanRow], loan: dict[str, Any], prepaid_minor: int, paid_on: date) -> list[PlanRow]:
    """The plan after a prepayment: what was due before, the prepayment with its interest to the day, the rest computed anew.

    The rest keeps its due dates; its principal is what neither the past nor the prepayment covers. Interest of what is prepaid
    runs from the last monthly due date, of a BULLET loan from the disbursement. Problem PLAN_DIFFERS when more is prepaid than
    is still to come due.
    """
    past = [row for row in rows if row.due_on < paid_on]
    coming = rows[len(past) :]
    rest = sum(row.principal_minor for row in coming) - prepaid_minor
    if rest < 0 or not coming:
        raise Problem("PLAN_DIFFERS", "more is prepaid than is still to come due", field="prepaid_minor")
    kind, rate, disbursed_on = PlanType(loan["plan_type"]), Decimal(loan["annual_rate"]), loan["disbursed_on"]
    monthly = {months_after(disbursed_on, number) for number in range(1, loan["term_months"] + 1)}
    start = disbursed_on
    if kind is not PlanType.BULLET:
        start = max([disbursed_on, *(row.due_on for row in past if row.due_on in monthly)])
    anew = [PlanRow(len(past) + 1, paid_on, prepaid_minor, bullet_interest(prepaid_minor, rate, start, paid_on))]
    if rest and kind is PlanType.BULLET:
        due_on = coming[-1].due_on
        anew.append(PlanRow(len(past) + 2, due_on, rest, bullet_interest(rest, rate, disbursed_on, due_on)))
    elif rest:
        computed = _schedule(loan, rest, len(coming), start)
        anew += [
            PlanRow(len(past) + 1 + row.issue_no, kept.due_on, row.principal_minor, row.interest_minor)
            for kept, row in zip(coming, computed, strict=True)
        ]
    return past + anew
