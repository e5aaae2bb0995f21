"""A customer's statement of one month: opening, in, out, closing, claims and yield (spec 10 row 1.27b)."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request

from domain.received_yield import received_yield
from transactional.accounts import known_by
from transactional.answers import CustomerStatement
from transactional.clock import business_date
from transactional.cursors import decode, encode
from transactional.listings import FIRST_YEAR, LAST_YEAR, Cursor, Limit
from transactional.openapi import answering
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import service_of

router = APIRouter(prefix="/v1", tags=["statements"])
Month = Annotated[str, Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="a month of business dates, such as 2026-08")]
_CUSTOMER = """SELECT c.customer_no, v.name_masked, c.opened_on FROM registry.customer c JOIN registry.party p USING (party_id)
  JOIN registry.current_party_version v USING (party_ref) WHERE c.platform_id = $1 AND c.customer_no = $2"""
# The last entry of before says how the month opened: entries stand in the order of recording, and so do business dates.
_ACCOUNTS = """SELECT a.account_no, a.account_role, a.currency, coalesce(before.balance_after_minor, 0) AS opening_minor,
    coalesce(of_month.in_minor, 0) AS in_minor, coalesce(of_month.out_minor, 0) AS out_minor,
    coalesce(before.balance_after_minor, 0) + coalesce(of_month.in_minor, 0) - coalesce(of_month.out_minor, 0) AS closing_minor,
    coalesce(of_month.types, '[]') AS movements
  FROM registry.account a
  LEFT JOIN LATERAL (SELECT e.account_version, e.balance_after_minor
    FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
    WHERE e.account_id = a.account_id AND m.business_date < $3 ORDER BY e.account_version DESC LIMIT 1) before ON true
  LEFT JOIN LATERAL (SELECT sum(in_minor)::bigint AS in_minor, sum(out_minor)::bigint AS out_minor,
      json_agg(json_build_object('movement_type', movement_type, 'count', count, 'in_minor', in_minor, 'out_minor', out_minor)
               ORDER BY movement_type) AS types
    FROM (SELECT m.movement_type, count(*) AS count, sum(greatest(e.amount_minor, 0))::bigint AS in_minor,
                 sum(greatest(-e.amount_minor, 0))::bigint AS out_minor
          FROM ledger.entry e JOIN ledger.movement m USING (movement_id)
          WHERE e.account_id = a.account_id AND e.account_version > coalesce(before.account_version, 0) AND m.business_date <= $4
          GROUP BY m.movement_type) t) of_month ON true
  WHERE a.platform_id = $1 AND a.customer_no = $2 ORDER BY a.account_no"""
# What is outstanding of each claim is the sum of its events; an event counts for every day from its own to the month's end.
_CLAIMS = """WITH mine AS (
    SELECT c.*, l.currency FROM loans.claim c JOIN loans.loan l USING (platform_id, loan_no)
    WHERE c.platform_id = $1 AND c.customer_no = $2 AND c.opened_on <= $4),
  event AS (
    SELECT claim_no, opened_on AS day, principal_minor AS amount FROM mine
    UNION ALL SELECT m.claim_no, k.opened_on, -k.principal_minor FROM mine m
      JOIN loans.claim k ON k.platform_id = m.platform_id AND k.parent_claim_no = m.claim_no
    UNION ALL SELECT m.claim_no, r.recovered_on, -r.recovered_minor FROM mine m
      JOIN loans.recovery r USING (platform_id, claim_no) WHERE m.origin = 'SUBROGATED'
    UNION ALL SELECT m.claim_no, w.business_date, -w.amount_minor FROM mine m
      JOIN loans.money w USING (platform_id, loan_no, claim_no)
      WHERE m.origin <> 'SUBROGATED'
        AND (w.movement_type = 'PRINCIPAL' OR (w.movement_type = 'COMPENSATORY' AND w.component = 'P')))
  SELECT m.claim_no, m.loan_no, m.origin, m.currency, m.opened_on, m.principal_minor,
    coalesce(sum(v.amount) FILTER (WHERE v.day < $3), 0)::bigint AS opening_minor, sum(v.amount)::bigint AS closing_minor,
    sum(v.amount * ($4 - greatest(v.day, $3) + 1))::bigint AS principal_days_minor
  FROM mine m JOIN event v USING (claim_no) WHERE v.day <= $4
  GROUP BY m.claim_no, m.loan_no, m.origin, m.currency, m.opened_on, m.principal_minor
  HAVING sum(v.amount) <> 0 OR sum(v.amount) FILTER (WHERE v.day < $3) <> 0 OR bool_or(v.day >= $3)"""
_SUMS = f"""SELECT currency, count(*) FILTER (WHERE closing_minor > 0) AS claims, sum(opening_minor)::bigint AS opening_minor,
    sum(closing_minor)::bigint AS closing_minor, sum(principal_days_minor)::bigint AS principal_days_minor
  FROM ({_CLAIMS}) c GROUP BY currency"""
_EARNED = """SELECT m.currency,
    coalesce(sum(e.amount_minor) FILTER (WHERE m.movement_type IN ('INTEREST', 'INTEREST_REPAYMENT')
      OR (m.movement_type = 'COMPENSATORY' AND m.component = 'I')), 0)::bigint AS interest_minor,
    coalesce(-sum(e.amount_minor) FILTER (WHERE m.movement_type = 'COMMISSION'), 0)::bigint AS fees_minor
  FROM ledger.entry e JOIN ledger.movement m USING (movement_id) JOIN registry.account a USING (account_id)
  WHERE a.platform_id = $1 AND a.customer_no = $2 AND a.account_role = 'INVESTOR' AND m.business_date BETWEEN $3 AND $4
  GROUP BY m.currency"""
_FINAL = "SELECT EXISTS (SELECT FROM ledger.day_close WHERE business_date >= $1)"


def month_of(month: str) -> tuple[date, date]:
    """First and last day of a month such as ``2026-08``; Problem PERIOD_INVALID outside the years that are kept."""
    year, number = (int(part) for part in month.split("-"))
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Problem("PERIOD_INVALID", f"years go from {FIRST_YEAR} to {LAST_YEAR}", field="month")
    return date(year, number, 1), date(year, number, monthrange(year, number)[1])


@router.get("/customers/{platform_id}/{customer_no}/statement", openapi_extra=answering(CustomerStatement))
async def get_customer_statement(
    request: Request, platform_id: str, customer_no: str, month: Month, cursor: Cursor = None, limit: Limit = 100
) -> dict[str, Any]:
    """What a customer's accounts and claims did on the business dates of a month, in minor units.

    A month under way ends today. `is_final`: its last day is closed, so that no answer to come can differ. `claims` comes in
    pages, every sum counts all. `earned` holds, a currency, interest received as a lender, fees paid, and the yearly rate of
    both on the outstanding principal.
    """
    reader = await reader_of(request, "see_timeline")
    first, last = month_of(month)
    filters = {"platform_id": platform_id, "customer_no": customer_no, "month": month}
    after = decode(cursor, "customer_statement", filters, (str,)) or [""]
    if not reader.sees(platform_id) or "\x00" in platform_id + customer_no:
        raise Problem("NOT_FOUND", f"there is no customer {customer_no} of {platform_id}")
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        today = date.fromisoformat(business_date(service_of(request).settings, await known_by(connection, None)))
        if first > today:
            raise Problem("PERIOD_INVALID", f"the business date is {today}", field="month")
        span = (platform_id, customer_no, first, min(last, today))
        customer = await connection.fetchrow(_CUSTOMER, platform_id, customer_no)
        if customer is None:
            raise Problem("NOT_FOUND", f"there is no customer {customer_no} of {platform_id}")
        accounts = await connection.fetch(_ACCOUNTS, *span)
        claims = await connection.fetch(
            f"SELECT * FROM ({_CLAIMS}) c WHERE claim_no > $5 ORDER BY claim_no LIMIT $6", *span, after[0], limit + 1
        )
        held = {row["currency"]: dict(row) for row in await connection.fetch(_SUMS, *span)}
        earned = {row["currency"]: dict(row) for row in await connection.fetch(_EARNED, *span)}
        is_final = await connection.fetchval(_FINAL, last)
    await reader.looked(request, "CUSTOMER_SEEN", f"statement {month} of {platform_id} {customer_no}")
    more = len(claims) > limit
    return {
        "platform_id": platform_id,
        **dict(customer),
        "from": first,
        "to": span[3],
        "is_final": is_final,
        "accounts": [{**dict(row), "movements": _decoded(row["movements"])} for row in accounts],
        "claims": [dict(row) for row in claims[:limit]],
        "earned": [
            _earned(currency, held.get(currency), earned.get(currency)) for currency in sorted(held.keys() | earned.keys())
        ],
        "next_cursor": encode("customer_statement", filters, [claims[limit - 1]["claim_no"]]) if more else None,
    }


def _decoded(movements: str) -> Any:
    return msgspec.json.decode(movements)


def _earned(currency: str, held: dict[str, Any] | None, earned: dict[str, Any] | None) -> dict[str, Any]:
    interest, fees = (earned["interest_minor"], earned["fees_minor"]) if earned else (0, 0)
    days = held["principal_days_minor"] if held else 0
    rate = received_yield(interest, fees, days)
    return {
        "currency": currency,
        "claims": held["claims"] if held else 0,
        "principal_opening_minor": held["opening_minor"] if held else 0,
        "principal_closing_minor": held["closing_minor"] if held else 0,
        "interest_minor": interest,
        "fees_minor": fees,
        "yield_received": None if rate is None else str(rate),
    }
