"""Reading identities with what counts of them: platforms, payment companies, customers (rows 0.1–0.3, 1.30a); all masked."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request

from transactional.problems import Problem
from transactional.registry_asker import asker_of
from transactional.registry_versions import CURSOR_LENGTH_MAX, PAGE_MAX, decode_cursor, encode_cursor, known_by
from transactional.service import service_of

router = APIRouter(prefix="/v1", tags=["registry"])
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Text = Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")]
_COUNTS = "($1::date IS NULL OR valid_from <= $1) AND recorded_at <= $2 ORDER BY version DESC LIMIT 1"
_PLATFORMS = f"""SELECT p.platform_id, p.name, coalesce(t.legal_name, p.legal_name) AS legal_name, p.currency,
    p.onboarded_on, s.status,
    coalesce(k.pack_id, p.pack_id) AS pack_id, k.pack_version, t.unified_credit_code, t.lei, t.custody_model, t.contract_no,
    t.contract_from, t.contract_to, t.custody_bank_ref, p.recorded_at
  FROM registry.platform p
  JOIN LATERAL (SELECT status FROM registry.platform_status v WHERE v.platform_id = p.platform_id AND {_COUNTS}) s ON true
  LEFT JOIN LATERAL (SELECT * FROM registry.platform_terms v WHERE v.platform_id = p.platform_id AND {_COUNTS}) t ON true
  LEFT JOIN LATERAL (SELECT pack_id, pack_version FROM registry.pack_activation v
                     WHERE v.platform_id = p.platform_id AND {_COUNTS}) k ON true
  WHERE p.recorded_at <= $2 AND ($3::text IS NULL OR p.platform_id = $3) AND p.platform_id > $4
    AND ($5::text IS NULL OR s.status = $5) ORDER BY p.platform_id LIMIT $6"""
_COMPANIES = """SELECT c.paycom_id, c.name, c.recorded_at,
    array(SELECT platform_id FROM registry.payment_company_platform m WHERE m.paycom_id = c.paycom_id
          AND ($1::text IS NULL OR platform_id = $1) ORDER BY 1) AS platform_ids
  FROM registry.payment_company c WHERE c.paycom_id > $2 AND ($1::text IS NULL OR EXISTS (
    SELECT FROM registry.payment_company_platform m WHERE m.paycom_id = c.paycom_id AND m.platform_id = $1))
  ORDER BY c.paycom_id LIMIT $3"""
_CUSTOMERS = f"""SELECT c.platform_id, c.customer_no, p.party_ref, p.party_type, w.name_masked, w.phone_masked, w.country,
    w.birth_year, w.registered_on, v.roles, v.kyc_level, s.status, c.opened_on, c.recorded_at
  FROM registry.customer c JOIN registry.party p USING (party_id)
  JOIN LATERAL (SELECT roles, kyc_level FROM registry.customer_version x
                WHERE x.platform_id = c.platform_id AND x.customer_no = c.customer_no AND {_COUNTS}) v ON true
  JOIN LATERAL (SELECT status FROM registry.customer_status x
                WHERE x.platform_id = c.platform_id AND x.customer_no = c.customer_no AND {_COUNTS}) s ON true
  JOIN LATERAL (SELECT * FROM registry.party_version x WHERE x.party_ref = p.party_ref
                AND recorded_at <= $2 AND (version = 1 OR $1::date IS NULL OR valid_from <= $1)
                ORDER BY version DESC LIMIT 1) w ON true
  WHERE c.recorded_at <= $2 AND ($3::text IS NULL OR c.platform_id = $3) AND ($4::text IS NULL OR c.customer_no = $4)
    AND ($5::text IS NULL OR s.status = $5) AND ($6::text IS NULL OR $6 = ANY(v.roles))"""
_ACCOUNTS = """SELECT a.account_no, a.account_role, a.currency, s.status, s.reason
  FROM registry.account a JOIN registry.current_account_status s USING (platform_id, account_no)
  WHERE a.platform_id = $1 AND a.customer_no = $2 ORDER BY a.account_no LIMIT 1000"""


@router.get("/platforms")
async def list_platforms(
    request: Request,
    status: Literal["ONBOARDING", "ACTIVE", "SUSPENDED", "LEAVING", "LEFT"] | None = None,
    valid_on: date | None = None,
    known_as_of: AwareDatetime | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Platforms with status, terms and rule pack."""
    asker = await asker_of(request, "see_rows")
    after = decode_cursor(cursor, ("platform_id",)) or [""]
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        known = await known_by(connection, known_as_of)
        rows = await connection.fetch(_PLATFORMS, valid_on, known, asker.platform, after[0], status, limit + 1)
    return _page(rows, limit, ("platform_id",))


@router.get("/platforms/{platform_id}")
async def get_platform(
    request: Request, platform_id: str, valid_on: date | None = None, known_as_of: AwareDatetime | None = None
) -> dict[str, Any]:
    """One platform with status, terms and rule pack."""
    asker = await asker_of(request, "see_rows")
    asker.require(platform_id)
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        known = await known_by(connection, known_as_of)
        rows = await connection.fetch(_PLATFORMS, valid_on, known, platform_id.replace("\x00", " "), "", None, 1)
    if not rows:
        raise Problem("NOT_FOUND", f"there is no platform {platform_id}")
    return dict(rows[0])


@router.get("/payment-companies")
async def list_payment_companies(request: Request, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """Payment companies and the platforms they serve; a platform sees its own."""
    asker = await asker_of(request, "see_rows")
    after = decode_cursor(cursor, ("paycom_id",)) or [""]
    rows = await service_of(request).pool.fetch(_COMPANIES, asker.platform, after[0], limit + 1)
    return _page(rows, limit, ("paycom_id",))


@router.get("/customers")
async def list_customers(
    request: Request,
    platform_id: Text = None,
    status: Literal["ACTIVE", "LOCKED", "CLOSED"] | None = None,
    role: Text = None,
    valid_on: date | None = None,
    known_as_of: AwareDatetime | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Customers with roles, status and the masked person behind each."""
    asker = await asker_of(request, "see_rows")
    if platform_id is not None:
        asker.require(platform_id)
    after = decode_cursor(cursor, ("platform_id", "customer_no")) or ["", ""]
    query = f"{_CUSTOMERS} AND (c.platform_id, c.customer_no) > ($7, $8) ORDER BY c.platform_id, c.customer_no LIMIT $9"
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        known = await known_by(connection, known_as_of)
        home = platform_id or asker.platform
        rows = await connection.fetch(query, valid_on, known, home, None, status, role, *after, limit + 1)
    return _page(rows, limit, ("platform_id", "customer_no"))


@router.get("/customers/{platform_id}/{customer_no}")
async def get_customer(
    request: Request, platform_id: str, customer_no: str, valid_on: date | None = None, known_as_of: AwareDatetime | None = None
) -> dict[str, Any]:
    """One customer, with the sub-accounts of now."""
    asker = await asker_of(request, "see_rows")
    asker.require(platform_id)
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        row = await _customer(connection, platform_id, customer_no, valid_on, known_as_of)
        accounts = await connection.fetch(_ACCOUNTS, platform_id, customer_no)
    return {**dict(row), "accounts": [dict(account) for account in accounts]}


async def _customer(connection: Any, platform_id: str, customer_no: str, valid_on: date | None, known: datetime | None) -> Any:
    rows = []
    if "\x00" not in platform_id + customer_no:
        moment = await known_by(connection, known)
        rows = await connection.fetch(_CUSTOMERS, valid_on, moment, platform_id, customer_no, None, None)
    if not rows:
        raise Problem("NOT_FOUND", f"there is no customer {customer_no} of {platform_id}")
    return rows[0]


def _page(rows: list[Any], limit: int, key: tuple[str, ...]) -> dict[str, Any]:
    shown = [dict(row) for row in rows[:limit]]
    return {"rows": shown, "next_cursor": encode_cursor([shown[-1][name] for name in key]) if len(rows) > limit else None}
