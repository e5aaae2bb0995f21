"""`/v1/reconciliations`: the daily report of a platform and date, and whether it is signed (spec 07 section 7.9).

Signing is an approval of kind RECON_SIGN_OFF: subject = the date, payload `{run_id, report_sha256}` as read here. It is refused
while a balance, a total or a file of the date is open, and when the document is another than the one that was read.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path
from starlette.requests import Request

from transactional.listings import Day
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import service_of

router = APIRouter(prefix="/v1/reconciliations", tags=["breaks"])
PlatformId = Annotated[str, Path(pattern="^[A-Za-z0-9._:#-]{1,64}$")]
_REPORT = """SELECT r.report::text AS report, work.recon_report_hash(r.report) AS report_sha256
  FROM (SELECT work.recon_report($1, $2) AS report) r"""
_IS_PUBLISHED = "SELECT EXISTS (SELECT FROM run.newest n WHERE n.platform_id = $1 AND n.business_date = $2)"
_SIGNED = """SELECT maker, checker, approval_id, signed_at, encode(report_sha256, 'hex') AS report_sha256 FROM work.recon_sign_off
  WHERE platform_id = $1 AND business_date = $2 AND run_id = $3"""


@router.get("/{platform_id}/{business_date}")
async def get_report(request: Request, platform_id: PlatformId, business_date: Day) -> dict[str, Any]:
    """`{report, report_sha256, sign_off}`; the hash is of the report's text as PostgreSQL writes it (`report_text`)."""
    reader = await reader_of(request, "see_adjustments")
    if not reader.sees(platform_id):
        raise Problem("DATE_NOT_PUBLISHED", f"business_date: {business_date}", field="business_date")
    pool = service_of(request).pool
    if not await pool.fetchval(_IS_PUBLISHED, platform_id, business_date):
        raise Problem("DATE_NOT_PUBLISHED", f"business_date: {business_date}", field="business_date")
    row = await pool.fetchrow(_REPORT, platform_id, business_date)
    report = msgspec.json.decode(row["report"])
    signed = await pool.fetchrow(_SIGNED, platform_id, business_date, report["run_id"])
    return {
        "report": report,
        "report_text": row["report"],
        "report_sha256": row["report_sha256"],
        "sign_off": None if signed is None else dict(signed),
    }
