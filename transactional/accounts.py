"""Reading accounts: the list, what one is, its balance at two times, its movements (contracts section 5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request

from transactional.answers import AccountMovements, AccountRow, Balance
from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Moment, Text, answer, paged
from transactional.openapi import answering
from transactional.problems import Problem
from transactional.query_reader import Reader, reader_of
from transactional.service import service_of

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])
PAGE_MAX = 1_000

_ACCOUNTS = Listing(
    "accounts",
    ("account_no", "platform_id", "account_role", "is_control", "currency", "customer_no", "paycom_id", "state", "recorded_at"),
    "SELECT a.*, b.state FROM registry.account a JOIN ledger.balance b USING (account_id)",
    (("account_no", str),),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "account_role": "account_role = {}",
        "customer_no": "customer_no = {}",
        "state": "state = {}",
        "currency": "currency = {}",
    },
    is_newest_first=False,
)
_ACCOUNT = """
SELECT a.account_id, a.account_no, a.platform_id, a.account_role, a.is_control, a.currency, a.customer_no, a.paycom_id, b.state,
       a.recorded_at
FROM registry.account a JOIN ledger.balance b USING (account_id) WHERE a.account_no = $1"""
_HELD = """
SELECT split_part(hold_no, '-', 1) = 'LEGAL' AS is_legal, o.order_type, count(*) AS holds, sum(remaining)::bigint AS held_minor
FROM (SELECT platform_id, hold_no, min(order_id) FILTER (WHERE event_type = 'PLACE') AS order_id,
             sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) AS remaining
      FROM ledger.hold_event WHERE account_id = $1 AND recorded_at <= $2 GROUP BY platform_id, hold_no) h
JOIN ledger.trade_order o USING (order_id) WHERE remaining > 0 GROUP BY 1, 2 ORDER BY 1, 2"""
_BALANCE_NOW = """
SELECT credit_minor - debit_minor AS balance_minor, held_minor, ledger.legal_held($1) AS legal_held_minor
FROM ledger.balance WHERE account_id = $1"""
# What an account had at the end of the last closed day that lies before both times: everything booked until then had taken effect
# and was known, so only the entries behind it are looked at. Parameters: account and the earlier of both times.
SETTLED = """
SELECT b.closing_minor, b.last_version FROM ledger.day_balance b JOIN ledger.day_close d USING (business_date)
WHERE b.account_id = $1 AND d.ends_at <= {before} ORDER BY b.business_date DESC LIMIT 1"""
_BALANCE_AS_OF = f"""
WITH settled AS MATERIALIZED ({SETTLED.format(before="least($2::timestamptz, $3::timestamptz)")})
SELECT (coalesce((SELECT closing_minor FROM settled), 0)
        + coalesce((SELECT sum(e.amount_minor) FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
                    WHERE e.account_id = $1 AND e.account_version > coalesce((SELECT last_version FROM settled), 0)
                      AND m.effective_at <= $2 AND m.recorded_at <= $3), 0))::bigint AS balance_minor,
       coalesce((SELECT sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) FROM ledger.hold_event
                 WHERE account_id = $1 AND recorded_at <= least($2, $3)), 0)::bigint AS held_minor,
       coalesce((SELECT sum(CASE event_type WHEN 'PLACE' THEN amount_minor ELSE -amount_minor END) FROM ledger.hold_event
                 WHERE account_id = $1 AND recorded_at <= least($2, $3)
                   AND hold_no LIKE 'LEGAL-%'), 0)::bigint AS legal_held_minor"""
FIRST_KEPT = """
SELECT least($2::timestamptz, (SELECT min(m.effective_at) FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
                               WHERE e.account_id = $1))"""
_MOVEMENTS = """
SELECT e.account_version, e.amount_minor, e.balance_after_minor, m.movement_id, s.ledger_no, m.order_id, m.request_no, m.seq,
       m.order_type, m.movement_type, m.debit_account_no, m.credit_account_no, m.currency, m.loan_no, m.issue_no, m.component,
       m.claim_no, m.reversal_of, m.effective_at, m.recorded_at, m.business_date
FROM ledger.entry e JOIN ledger.movement_full m USING (movement_id) LEFT JOIN ledger.seal s USING (movement_id)
WHERE e.account_id = $1 AND e.account_version < $2 ORDER BY e.account_version DESC LIMIT $3"""


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(_ACCOUNTS))
async def list_accounts(
    request: Request,
    platform_id: Text = None,
    role: Text = None,
    customer_no: Text = None,
    state: Literal["OPEN", "LOCKED", "CLOSED"] | None = None,
    currency: Text = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Accounts in order of their numbers, a page at a time, or all as CSV."""
    filters = {"platform_id": platform_id, "account_role": role, "customer_no": customer_no, "state": state, "currency": currency}
    return await answer(request, _ACCOUNTS, "see_accounts", filters, (cursor, limit, format))


@router.get("/{account_no}", openapi_extra=answering(AccountRow))
async def get_account(request: Request, account_no: str) -> dict[str, Any]:
    """The account's row of the registry, with its state."""
    _, account = await seen_account(request, account_no, "see_accounts")
    return dict(account)


@router.get("/{account_no}/balance", openapi_extra=answering(Balance))
async def get_balance(
    request: Request,
    account_no: str,
    effective_as_of: Moment | None = None,
    known_as_of: Moment | None = None,
    detail: bool = False,
) -> dict[str, Any]:
    """Balance, held and available in minor units: now, or by what took effect and was known at given times.

    `legal_held_minor` is the part of what is held that courts froze. HISTORY_NOT_KEPT before the account's first movement and
    its opening. With `detail` the open holds by the type of order that placed them, courts' holds apart.
    """
    _, account = await seen_account(request, account_no, "see_accounts")
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        if effective_as_of is None and known_as_of is None:
            row = await connection.fetchrow(_BALANCE_NOW, account["account_id"])
        else:
            row = await _balance_as_of(connection, account, effective_as_of, known_as_of)
        moment = min(filter(None, (effective_as_of, known_as_of)), default=datetime(9999, 1, 1, tzinfo=UTC))
        holds = await connection.fetch(_HELD, account["account_id"], moment) if detail else []
    return {
        "account_no": account_no,
        "currency": account["currency"],
        "balance_minor": row["balance_minor"],
        "held_minor": row["held_minor"],
        "legal_held_minor": row["legal_held_minor"],
        "available_minor": row["balance_minor"] - row["held_minor"],
        "state": account["state"],
        **({"holds": [dict(hold) for hold in holds]} if detail else {}),
    }


@router.get("/{account_no}/movements", openapi_extra=answering(AccountMovements))
async def get_movements(
    request: Request,
    account_no: str,
    cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> dict[str, Any]:
    """Movements of the account, newest first; `next_cursor` leads to older ones and is null at the end."""
    _, account = await seen_account(request, account_no, "see_timeline")
    before = cursor if cursor is not None else 2**62
    rows = await service_of(request).pool.fetch(_MOVEMENTS, account["account_id"], before, limit + 1)
    more = len(rows) > limit
    return {
        "movements": [dict(row) for row in rows[:limit]],
        "next_cursor": str(rows[limit - 1]["account_version"]) if more else None,
    }


async def seen_account(request: Request, account_no: str, *permissions: str) -> tuple[Reader, Any]:
    """Who asks and the account's row; a person's look is written down. Problem ACCOUNT_NOT_FOUND, also for a foreign account."""
    reader = await reader_of(request, *permissions)
    row = await service_of(request).pool.fetchrow(_ACCOUNT, account_no) if "\x00" not in account_no else None
    if row is None or not reader.sees(row["platform_id"]):  # a foreign account looks like none
        raise Problem("ACCOUNT_NOT_FOUND", f"there is no account {account_no}")
    await reader.looked(request, "ACCOUNT_SEEN", account_no)
    return reader, row


async def known_by(connection: Any, known: datetime | None) -> datetime:
    """The moment up to which movements count, behind every writer of before; Problem KNOWN_AS_OF_IN_FUTURE.

    Whoever posts after this lock is granted records a later time, so the answer never changes.
    """
    await connection.execute("SELECT pg_advisory_xact_lock_shared(7401)")
    now: datetime = await connection.fetchval("SELECT ledger.clock_now()")
    if known is not None and known >= now:  # more may yet be recorded at this very time
        raise Problem("KNOWN_AS_OF_IN_FUTURE", f"it is {now.isoformat()}", field="known_as_of")
    return known or now


async def _balance_as_of(connection: Any, account: Any, effective: datetime | None, known: datetime | None) -> Any:
    moment = await known_by(connection, known)
    await check_kept(connection, account, effective or moment, moment, ("effective_as_of", "known_as_of"))
    return await connection.fetchrow(_BALANCE_AS_OF, account["account_id"], effective or moment, moment)


async def check_kept(connection: Any, account: Any, effective: datetime, known: datetime, fields: tuple[str, str]) -> None:
    """Problem HISTORY_NOT_KEPT for what took effect, or was known, before an account's opening and its first movement.

    `fields` name both times for the caller. The first movement is looked up only for times before the opening.
    """
    opened = account["recorded_at"]
    if effective >= opened and known >= opened:
        return
    first = await connection.fetchval(FIRST_KEPT, account["account_id"], opened)
    if known < opened or effective < first:
        field = fields[1] if known < opened else fields[0]
        raise Problem("HISTORY_NOT_KEPT", f"the history of {account['account_no']} begins at {first.isoformat()}", field=field)
