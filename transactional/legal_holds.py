"""Legal holds as they are seen: judicial freezes with their queue, death, dormancy, and waking a dormant account.

They are placed, renewed, released and deducted from by proposals under four eyes (`/v1/approvals`, migration 0019).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.idempotent import once
from transactional.keys import covers
from transactional.legal_hold_bodies import Waking
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of
from transactional.staff import note, staff_of

router = APIRouter(tags=["legal holds"])
PAGE_MAX = 200
_COLUMNS = """legal_hold_id, kind, platform_id, account_no, currency, order_no, authority, amount_minor, priority, valid_from,
  expires_on, state, wanted_minor, frozen_minor, waiting_minor, deducted_minor, maker, checker, placed_at, state_at"""


@router.get("/v1/accounts/{account_no}/legal-holds")
async def of_account(request: Request, account_no: str) -> dict[str, Any]:
    """What the law holds of an account, in the order of the queue: for its platform, which may have to answer its customer."""
    account = await _account(request, account_no)
    async with (
        service_of(request).pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        held = await connection.fetchval("SELECT ledger.legal_held($1)", account["account_id"])
        state = await connection.fetchval("SELECT state FROM ledger.balance WHERE account_id = $1", account["account_id"])
        rows = await connection.fetch(
            f"""SELECT {_COLUMNS} FROM work.legal_hold_state WHERE account_id = $1
                ORDER BY state <> 'ACTIVE', priority, legal_hold_id LIMIT {PAGE_MAX}""",
            account["account_id"],
        )
    shown = [{name: value for name, value in row.items() if name not in ("maker", "checker")} for row in rows]
    return {
        "account_no": account_no,
        "account_state": state,
        "currency": account["currency"],
        "legal_held_minor": held,
        "legal_holds": shown,
    }


@router.get("/v1/legal-holds")
async def list_legal_holds(
    request: Request,
    kind: Literal["FREEZE", "DEATH", "DORMANCY"] | None = None,
    state: Literal["ACTIVE", "FULFILLED", "RELEASED", "EXPIRED", "WOKEN"] | None = None,
    platform_id: Annotated[str | None, Query(pattern="^[A-Za-z0-9._:-]{1,64}$")] = None,
    account_no: Annotated[str | None, Query(pattern="^[A-Za-z0-9._:-]{1,64}$")] = None,
    cursor: Annotated[str | None, Query(pattern="^[0-9]{1,18}$")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> dict[str, Any]:
    """Legal holds, newest first; `next_cursor` leads to older ones and is null at the end."""
    staff = await staff_of(request, "see_legal_holds")
    if account_no is not None:
        await note(request, staff, "ACCOUNT_SEEN", f"legal holds of {account_no}")
    rows = await service_of(request).pool.fetch(
        f"""SELECT {_COLUMNS} FROM work.legal_hold_state WHERE legal_hold_id < $1 AND ($2::text IS NULL OR kind = $2)
            AND ($3::text IS NULL OR state = $3) AND ($4::text IS NULL OR platform_id = $4)
            AND ($5::text IS NULL OR account_no = $5) ORDER BY legal_hold_id DESC LIMIT $6""",
        *(int(cursor) if cursor else 2**62, kind, state, platform_id, account_no, limit + 1),
    )
    more = len(rows) > limit
    return {
        "legal_holds": [dict(row) for row in rows[:limit]],
        "next_cursor": str(rows[limit - 1]["legal_hold_id"]) if more else None,
    }


@router.get("/v1/legal-holds/{legal_hold_id}")
async def get_legal_hold(request: Request, legal_hold_id: int) -> dict[str, Any]:
    """One legal hold with everything that happened to it."""
    staff = await staff_of(request, "see_legal_holds")
    known = legal_hold_id if 0 < legal_hold_id < 2**62 else 0
    pool = service_of(request).pool
    row = await pool.fetchrow(f"SELECT {_COLUMNS} FROM work.legal_hold_state WHERE legal_hold_id = $1", known)
    if row is None:
        raise Problem("LEGAL_HOLD_NOT_FOUND", f"there is no legal hold {legal_hold_id}")
    await note(request, staff, "ACCOUNT_SEEN", f"legal hold {legal_hold_id} of {row['account_no']}")
    events = await pool.fetch(
        """SELECT seq, event, amount_minor, hold_no, request_no, expires_on, actor, approval_id, at, detail
           FROM work.legal_event WHERE legal_hold_id = $1 ORDER BY seq""",
        known,
    )
    return {**dict(row), "events": [{**dict(event), "detail": msgspec.json.decode(event["detail"])} for event in events]}


@router.post("/v1/accounts/{account_no}/waking", status_code=201, openapi_extra=writing(Waking))
async def wake(request: Request, account_no: str) -> Response:
    """End an account's dormancy: its customer was verified. What else locks the account stays."""
    scope = await scope_of(request)
    account = await _account(request, account_no)
    body = decode(Waking, await read_body(request))

    async def act(connection: Any) -> Any:
        ended = await connection.fetchval(
            "SELECT work.wake_account($1, $2, $3, $4)", account["account_id"], body.channel, body.evidence_sha256, f"key:{scope}"
        )
        state = await connection.fetchval("SELECT state FROM ledger.balance WHERE account_id = $1", account["account_id"])
        return {"account_no": account_no, "legal_hold_id": ended, "account_state": state}

    return await once(request, scope, body, act)


async def _account(request: Request, account_no: str) -> Any:
    scope = await scope_of(request)
    row = None
    if "\x00" not in account_no:
        row = await service_of(request).pool.fetchrow(
            "SELECT account_id, platform_id, currency FROM registry.account WHERE account_no = $1", account_no
        )
    if row is None or not covers(scope, row["platform_id"]):  # a foreign account looks like none
        raise Problem("ACCOUNT_NOT_FOUND", f"there is no account {account_no}")
    return row
