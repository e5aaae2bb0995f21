"""Dormancy: accounts without a customer's movement for N working days are proposed; a second person decides on each."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.calendars import Calendar
from domain.errors import BadInput
from transactional.bodies import decode
from transactional.calendars import now_in_force
from transactional.idempotent import once
from transactional.legal_hold_bodies import DormancyProposals
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, service_of
from transactional.staff import staff_of

router = APIRouter(tags=["legal holds"])


@router.post("/v1/dormancy-proposals", status_code=201, openapi_extra=writing(DormancyProposals))
async def propose_dormant(request: Request) -> Response:
    """Propose every quiet account found (kind DORMANCY); 201 with the proposals and the account number to go on after."""
    staff = await staff_of(request, "propose_approval")
    body = decode(DormancyProposals, await read_body(request))
    settings = service_of(request).settings

    async def act(connection: Any) -> Any:
        today = await connection.fetchval("SELECT work.business_date(ledger.clock_now())")
        before = quiet_before(await now_in_force(connection, settings.calendar), today, settings.dormancy_working_days)
        rows = await connection.fetch(
            "SELECT account_no, quiet_since FROM work.quiet_accounts($1, $2, $3, $4)",
            *(body.platform_id, before, body.after_account_no or "", body.limit),
        )
        proposals = [await _propose(connection, body.platform_id, row, staff.login_name) for row in rows]
        last = rows[-1]["account_no"] if len(rows) == body.limit else None
        return {"quiet_before": before, "proposals": proposals, "next_account_no": last}

    return await once(request, staff.scope, body, act)


def quiet_before(calendar: Calendar, today: date, working_days: int) -> date:
    """The date `working_days` working days before `today`; Problem CALENDAR_NOT_COVERED beyond the calendar.

    For example 5 working days before Friday 2026-09-11 is Friday 2026-09-04.
    """
    try:
        return calendar.add_working_days(today, -working_days)
    except BadInput as error:
        raise Problem("CALENDAR_NOT_COVERED", str(error)) from None


async def _propose(connection: Any, platform_id: str, quiet: Any, maker: str) -> dict[str, Any]:
    payload = {"account_no": quiet["account_no"], "quiet_since": quiet["quiet_since"].isoformat()}
    approval_id = await connection.fetchval(
        "SELECT work.propose('DORMANCY', $1, $2, $3::jsonb, $4, $5)",
        *(platform_id, quiet["account_no"], msgspec.json.encode(payload).decode(), "no customer's movement", maker),
    )
    return {"approval_id": approval_id, **payload}
