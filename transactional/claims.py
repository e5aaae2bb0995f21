"""`/v1/claims`: one lender's share of one loan, and the chain of title it stands in (spec 00 section 0.3; spec 10 row 1.19c)."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request

from transactional.listings import CSV_ANSWER
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read
from transactional.service import service_of

router = APIRouter(prefix="/v1/claims", tags=["claims"])
CLAIMS = Records("claim_state", "claim_no", "CLAIM_NOT_FOUND")
_CHAIN = """
WITH RECURSIVE up AS (
  SELECT c.* FROM loans.claim c WHERE c.platform_id = $1 AND c.claim_no = $2
  UNION ALL SELECT p.* FROM loans.claim p JOIN up ON p.platform_id = up.platform_id AND p.claim_no = up.parent_claim_no),
down AS (
  SELECT up.*, 0 AS depth FROM up WHERE up.parent_claim_no IS NULL
  UNION ALL SELECT k.*, down.depth + 1 FROM loans.claim k
    JOIN down ON k.platform_id = down.platform_id AND k.parent_claim_no = down.claim_no)
SELECT d.claim_no, d.parent_claim_no, d.origin, d.customer_no, a.account_no, d.principal_minor, d.opened_on, o.request_no,
       d.movement_id,
       loans.claim_outstanding(ROW(d.platform_id, d.claim_no, d.loan_no, d.origin, d.parent_claim_no, d.customer_no, d.account_id,
         d.principal_minor, d.opened_on, d.order_id, d.movement_id, d.recorded_at, d.actor)::loans.claim, $3) AS outstanding_minor
FROM down d JOIN registry.account a USING (account_id) JOIN ledger.trade_order o USING (order_id)
WHERE d.opened_on <= $3 ORDER BY d.depth, d.opened_on, d.claim_no"""


@router.get("/{claim_no}")
async def get_claim(request: Request, claim_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """A claim with its owner, what it was opened for and what is outstanding of it."""
    return await one(request, CLAIMS, await platform_read(request, platform_id), claim_no)


@router.get("/{claim_no}/chain")
async def get_chain(request: Request, claim_no: str, platform_id: Platform = None, as_of: date | None = None) -> dict[str, Any]:
    """Every claim of the same origin with the order and movement that carried it, and who owned how much at the end of a date."""
    platform = await platform_read(request, platform_id)
    await one(request, CLAIMS, platform, claim_no)
    rows = await service_of(request).pool.fetch(_CHAIN, platform, claim_no, as_of or date.max)
    owners: dict[str, int] = {}
    for row in rows:
        if row["outstanding_minor"]:
            owners[row["customer_no"]] = owners.get(row["customer_no"], 0) + row["outstanding_minor"]
    return {
        "claim_no": claim_no,
        "as_of": as_of,
        "links": [dict(row) for row in rows],
        "owners": [{"customer_no": name, "outstanding_minor": amount} for name, amount in sorted(owners.items())],
    }


@router.get("", responses=CSV_ANSWER)
async def list_claims(
    request: Request,
    platform_id: Platform = None,
    loan_no: Number = None,
    customer_no: Number = None,
    origin: Literal["PRIMARY", "TRANSFER", "SUBROGATED"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Claims of a platform by number."""
    filters = {"loan_no": loan_no, "customer_no": customer_no, "origin": origin}
    return await page(request, CLAIMS, platform_id, filters, cursor, limit)
