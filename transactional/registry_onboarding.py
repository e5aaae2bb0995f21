"""A platform joins with balances, loans and claims agreed to the cent, and leaves with a final statement that balances.

Both are proposals that a second person decides (kinds PLATFORM_ONBOARDING, PLATFORM_LEAVING); the effect is migration 0015's.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from domain.money import MINOR_DIGITS
from transactional.bodies import decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.registry_asker import asker_of
from transactional.registry_bodies import Leaving, Onboarding, Platform
from transactional.registry_versions import PAGE_MAX
from transactional.service import read_body, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/platforms", tags=["registry"])
_STATEMENT = """SELECT account_no, account_role, currency, opening_minor, debit_minor::bigint AS debit_minor,
  credit_minor::bigint AS credit_minor, closing_minor FROM registry.final_statement
  WHERE platform_id = $1 AND account_no > $2 ORDER BY account_no LIMIT $3"""
_TOTALS = """SELECT currency, count(*) AS accounts, sum(opening_minor)::bigint AS opening_minor,
  sum(debit_minor)::bigint AS debit_minor, sum(credit_minor)::bigint AS credit_minor, sum(closing_minor)::bigint AS closing_minor
  FROM registry.final_statement
  WHERE platform_id = $1 GROUP BY currency ORDER BY currency"""


@router.post("", status_code=201, openapi_extra=writing(Platform))
async def open_platform(request: Request) -> Response:
    """Register a platform in state ONBOARDING, with its control accounts; it trades once its onboarding is decided."""
    staff = await staff_of(request, "keep_registry")
    body = decode(Platform, await read_body(request))
    if body.currency not in MINOR_DIGITS:
        raise Problem("BODY_INVALID", f"unknown currency {body.currency}", field="currency")

    async def act(connection: Any) -> Any:
        await connection.execute(
            "SELECT registry.open_platform($1::jsonb, $2)", msgspec.json.encode(body).decode(), staff.login_name
        )
        return {"platform_id": body.platform_id, "status": "ONBOARDING"}

    return await once(request, staff.scope, body, act)


@router.post("/{platform_id}/onboarding", status_code=201, openapi_extra=writing(Onboarding))
async def propose_onboarding(request: Request, platform_id: str) -> Response:
    """Propose to take a platform over; refused when balances are not the special account's, or claims not the loans."""
    settings = service_of(request).settings
    body = decode(Onboarding, await read_body(request))
    payload = {name: value for name, value in msgspec.to_builtins(body).items() if name != "reason"} | {
        "zone": str(settings.zone),
        "cutoff": settings.cutoff.isoformat(),
    }
    return await _propose(request, "PLATFORM_ONBOARDING", platform_id, payload, body)


@router.post("/{platform_id}/leaving", status_code=201, openapi_extra=writing(Leaving))
async def propose_leaving(request: Request, platform_id: str) -> Response:
    """Propose that a platform in state LEAVING has left: refused while any account holds money or any claim is open."""
    body = decode(Leaving, await read_body(request))
    return await _propose(request, "PLATFORM_LEAVING", platform_id, {"valid_from": body.valid_from.isoformat()}, body)


async def _propose(
    request: Request, kind: str, platform_id: str, payload: dict[str, Any], body: Onboarding | Leaving
) -> Response:
    staff = await staff_of(request, "propose_approval")
    if "\x00" in platform_id:
        raise Problem("UNKNOWN_PLATFORM", "no such platform", field="platform_id")

    async def act(connection: Any) -> Any:
        approval_id = await connection.fetchval(
            "SELECT work.propose($1, $2, $3, $4::jsonb, $5, $6)",
            *(kind, platform_id, platform_id, msgspec.json.encode(payload).decode(), body.reason, staff.login_name),
        )
        row = await connection.fetchrow(
            """SELECT approval_id, kind, encode(payload_hash, 'hex') AS payload_hash, state, maker, expires_at
               FROM work.approval_state WHERE approval_id = $1""",
            approval_id,
        )
        return dict(row)

    return await once(request, staff.scope, body, act)


@router.get("/{platform_id}/final-statement")
async def final_statement(
    request: Request,
    platform_id: str,
    cursor: Annotated[str, Query(max_length=64, pattern=r"^[^\x00]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> dict[str, Any]:
    """What a platform left with: opening + credits − debits = closing = 0 of each account, and the totals; 404 before it left."""
    asker = await asker_of(request, "see_rows")
    asker.require(platform_id)
    pool = service_of(request).pool
    totals = await pool.fetch(_TOTALS, platform_id) if "\x00" not in platform_id else []
    if not totals:
        raise Problem("NOT_FOUND", f"{platform_id} has no final statement")
    rows = await pool.fetch(_STATEMENT, platform_id, cursor, limit + 1)
    next_cursor = rows[limit - 1]["account_no"] if len(rows) > limit else None
    return {"totals": [dict(row) for row in totals], "accounts": [dict(row) for row in rows[:limit]], "next_cursor": next_cursor}
