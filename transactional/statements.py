"""Statements of accounts and a platform's balances, at two times (rows 0.3, 1.11, 1.27b)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from fundwatch.settings import Settings
from transactional.accounts import SETTLED, check_kept, known_by, seen_account
from transactional.answers import PlatformBalances, Statement
from transactional.cursors import decode, encode
from transactional.listings import Cursor, Day, Limit, Moment
from transactional.openapi import answering
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import service_of

router = APIRouter(prefix="/v1", tags=["statements"])
DAYS_MAX = 3_660
_SETTLED = SETTLED.format(before="least($2::timestamptz, $4::timestamptz)")
_SUMS = f"""WITH settled AS MATERIALIZED ({_SETTLED}),
  behind AS (SELECT e.amount_minor, m.effective_at FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
    WHERE e.account_id = $1 AND e.account_version > coalesce((SELECT last_version FROM settled), 0)
      AND m.effective_at < $3 AND m.recorded_at <= $4),
  total AS (SELECT coalesce(sum(amount_minor) FILTER (WHERE effective_at < $2), 0) AS before,
      coalesce(sum(amount_minor) FILTER (WHERE effective_at >= $2), 0) AS moved,
      count(*) FILTER (WHERE effective_at >= $2) AS movements FROM behind)
  SELECT (s.closing + before)::bigint AS opening_minor, moved::bigint AS moved_minor, movements,
    (s.closing + before + moved)::bigint AS closing_minor
  FROM total, (SELECT coalesce((SELECT closing_minor FROM settled), 0) AS closing) s"""
_LINES = f"""WITH settled AS MATERIALIZED ({_SETTLED})
  SELECT * FROM (
    SELECT m.movement_id, o.request_no, o.order_type, m.movement_type, e.amount_minor, m.loan_no, m.claim_no, m.reversal_of,
      m.effective_at, m.recorded_at, m.business_date,
      ((m.effective_at AT TIME ZONE $5) + (interval '24 hours' - $6::time::interval))::date AS effective_date,
      (coalesce((SELECT closing_minor FROM settled), 0)
       + sum(e.amount_minor) OVER (ORDER BY m.effective_at, m.movement_id))::bigint AS balance_after_minor
    FROM ledger.entry e JOIN ledger.movement m USING (movement_id) JOIN ledger.trade_order o USING (order_id)
    WHERE e.account_id = $1 AND e.account_version > coalesce((SELECT last_version FROM settled), 0)
      AND m.effective_at < $3 AND m.recorded_at <= $4) line
  WHERE effective_at >= $2 AND (effective_at, movement_id) > ($7, $8) ORDER BY effective_at, movement_id LIMIT $9"""
_PLATFORM = """SELECT a.account_role, a.currency, CASE WHEN a.is_control THEN a.account_no END AS control_account_no,
    count(*) AS accounts, coalesce(sum(x.balance), 0)::bigint AS balance_minor
  FROM registry.account a LEFT JOIN LATERAL (
    SELECT sum(e.amount_minor) AS balance FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
    WHERE e.account_id = a.account_id AND m.effective_at <= $2 AND m.recorded_at <= $3) x ON true
  WHERE a.platform_id = $1 GROUP BY 1, 2, 3 ORDER BY 2, 1, 3"""


def start_of(day: date, settings: Settings) -> datetime:
    """The moment at which a business date begins: the cut-off of the day before, in the bank's zone."""
    return datetime.combine(day - timedelta(days=1), settings.cutoff, settings.zone).astimezone(UTC)


@router.get("/accounts/{account_no}/statement", openapi_extra=answering(Statement))
async def get_statement(
    request: Request,
    account_no: str,
    from_date: Annotated[Day, Query(alias="from")],
    to_date: Annotated[Day, Query(alias="to")],
    known_as_of: Moment | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Opening, movements with the balance after each, and closing of business dates `from` to `to`, in minor units.

    A movement stands on the date on which it took effect; `late` says that it was recorded after that date. All pages of one
    statement say the same `known_as_of`.
    """
    if not 0 <= (to_date - from_date).days <= DAYS_MAX:
        raise Problem("PERIOD_INVALID", f"a statement covers 1 to {DAYS_MAX + 1} days", field="to")
    _, account = await seen_account(request, account_no, "see_timeline")
    settings = service_of(request).settings
    filters = {"account_no": account_no, "from": from_date, "to": to_date, "asked": known_as_of}
    after = decode(cursor, "statement", filters, (datetime, int, datetime)) or [datetime(1970, 1, 1, tzinfo=UTC), 0, known_as_of]
    begin, end = start_of(from_date, settings), start_of(to_date + timedelta(days=1), settings)
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        known = await known_by(connection, after[2])
        await check_kept(connection, account, end - timedelta(microseconds=1), known, ("from", "from"))
        span = (account["account_id"], begin, end, known)
        sums = await connection.fetchrow(_SUMS, *span)
        lines = await connection.fetch(_LINES, *span, str(settings.zone), settings.cutoff, after[0], after[1], limit + 1)
    assert sums["opening_minor"] + sums["moved_minor"] == sums["closing_minor"], account_no
    shown = [{**dict(line), "late": line["business_date"] > line["effective_date"]} for line in lines[:limit]]
    last = [shown[-1]["effective_at"], shown[-1]["movement_id"], known] if len(lines) > limit else None
    return {
        "account_no": account_no,
        "currency": account["currency"],
        "from": from_date,
        "to": to_date,
        "known_as_of": known,
        **dict(sums),
        "rows": shown,
        "next_cursor": None if last is None else encode("statement", filters, last),
    }


@router.get("/platforms/{platform_id}/balances", openapi_extra=answering(PlatformBalances))
async def get_platform_balances(
    request: Request, platform_id: str, effective_as_of: Moment | None = None, known_as_of: Moment | None = None
) -> dict[str, Any]:
    """Sums of a platform's balances a role and currency, each control account by itself; `sum_minor` a currency is 0."""
    reader = await reader_of(request, "see_accounts")
    rows = []
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        known = await known_by(connection, known_as_of)
        effective = effective_as_of or known
        if reader.sees(platform_id) and "\x00" not in platform_id:
            rows = await connection.fetch(_PLATFORM, platform_id, effective, known)
    if not rows:
        raise Problem("NOT_FOUND", f"there is no platform {platform_id}")
    await reader.looked(request, "ACCOUNT_SEEN", f"balances of {platform_id}")
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["currency"]] = sums.get(row["currency"], 0) + row["balance_minor"]
    return {
        "platform_id": platform_id,
        "effective_as_of": effective,
        "known_as_of": known,
        "rows": [dict(row) for row in rows],
        "sum_minor": sums,
    }
