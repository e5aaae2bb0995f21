"""Reading one account: what it is, its balance at two times, its movements (contracts section 5)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request

from transactional.keys import covers
from transactional.problems import Problem
from transactional.service import scope_of, service_of

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])
PAGE_MAX = 1_000

_ACCOUNT = """
SELECT account_id, account_no, platform_id, account_role, is_control, currency, customer_no, paycom_id, recorded_at
FROM registry.account WHERE account_no = $1"""
_BALANCE_NOW = """
SELECT credit_minor - debit_minor AS balance_minor, held_minor FROM ledger.balance WHERE account_id = $1"""
_BALANCE_AS_OF = """
SELECT coalesce((SELECT sum(e.amount_minor) FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
                 WHERE e.account_id = $1 AND m.effective_at <= $2 AND m.recorded_at <= $3), 0)::bigint AS balance_minor,
       coalesce((SELECT sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) FROM ledger.hold_event
                 WHERE account_id = $1 AND recorded_at <= least($2, $3)), 0)::bigint AS held_minor"""
_MOVEMENTS = """
SELECT e.account_version, e.amount_minor, e.balance_after_minor, m.movement_id, s.ledger_no, m.order_id, m.request_no, m.seq,
       m.order_type, m.movement_type, m.debit_account_no, m.credit_account_no, m.currency, m.loan_no, m.issue_no, m.component,
       m.claim_no, m.reversal_of, m.effective_at, m.recorded_at, m.business_date
FROM ledger.entry e JOIN ledger.movement_full m USING (movement_id) LEFT JOIN ledger.seal s USING (movement_id)
WHERE e.account_id = $1 AND e.account_version < $2 ORDER BY e.account_version DESC LIMIT $3"""


@router.get("/{account_no}")
async def get_account(request: Request, account_no: str) -> dict[str, Any]:
    """The account's row of the registry."""
    return dict(await _account(request, account_no))


@router.get("/{account_no}/balance")
async def get_balance(
    request: Request,
    account_no: str,
    effective_as_of: AwareDatetime | None = None,
    known_as_of: AwareDatetime | None = None,
) -> dict[str, Any]:
    """Balance, held and available in minor units: now, or by what took effect and was known at given times."""
    account = await _account(request, account_no)
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        if effective_as_of is None and known_as_of is None:
            row = await connection.fetchrow(_BALANCE_NOW, account["account_id"])
        else:
            row = await _balance_as_of(connection, account["account_id"], effective_as_of, known_as_of)
    return {
        "account_no": account_no,
        "currency": account["currency"],
        "balance_minor": row["balance_minor"],
        "held_minor": row["held_minor"],
        "available_minor": row["balance_minor"] - row["held_minor"],
    }


@router.get("/{account_no}/movements")
async def get_movements(
    request: Request,
    account_no: str,
    cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> dict[str, Any]:
    """Movements of the account, newest first; `next_cursor` leads to older ones and is null at the end."""
    account = await _account(request, account_no)
    before = cursor if cursor is not None else 2**62
    rows = await service_of(request).pool.fetch(_MOVEMENTS, account["account_id"], before, limit + 1)
    more = len(rows) > limit
    return {
        "movements": [dict(row) for row in rows[:limit]],
        "next_cursor": str(rows[limit - 1]["account_version"]) if more else None,
    }


async def _account(request: Request, account_no: str) -> Any:
    scope = await scope_of(request)
    row = await service_of(request).pool.fetchrow(_ACCOUNT, account_no) if "\x00" not in account_no else None
    if row is None or not covers(scope, row["platform_id"]):  # a foreign account looks like none
        raise Problem("ACCOUNT_NOT_FOUND", f"there is no account {account_no}")
    return row


async def _balance_as_of(connection: Any, account_id: int, effective: datetime | None, known: datetime | None) -> Any:
    # behind the writers: whoever posts after this lock is granted records a later time, so the answer never changes
    await connection.execute("SELECT pg_advisory_xact_lock_shared(7401)")
    now = await connection.fetchval("SELECT ledger.clock_now()")
    if known is not None and known >= now:  # more may yet be recorded at this very time
        raise Problem("KNOWN_AS_OF_IN_FUTURE", f"it is {now.isoformat()}", field="known_as_of")
    return await connection.fetchrow(_BALANCE_AS_OF, account_id, effective or now, known or now)
