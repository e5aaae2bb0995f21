"""`/v1/reconciliation/live`: what each line of a platform's ledger is thought to be now, and how the work stands.

States: MATCHED, WAITING (the other side may still come), BREAK, LEFT (of an order whose lines have the break). A live break is no
open item of the books: the night decides, under the same `item_id`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.requests import Request

from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Text, answer
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import service_of

router = APIRouter(prefix="/v1/reconciliation/live", tags=["live reconciliation"])
Identifier = Annotated[str, Path(pattern="^[A-Za-z0-9._:#-]{1,64}$")]
State = Literal["MATCHED", "WAITING", "BREAK", "LEFT"]
_COLUMNS = (
    *("verdict_id", "recon_id", "platform_id", "currency", "request_no", "match_key", "verdict_no", "state", "code", "failing"),
    *("item_id", "opened_on", "effect_minor", "effects", "due_at", "recorded_at"),
)
_VERDICTS = Listing(
    "live",
    _COLUMNS,
    "SELECT * FROM live.current_verdict",
    (("verdict_id", int),),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "state": "state = {}",
        "code": "code = {}",
        "request_no": "request_no = {}",
        "item_id": "item_id = {}",
    },
)
_HISTORY = f"""SELECT {", ".join(_COLUMNS)} FROM live.verdict WHERE platform_id = $1 AND request_no = $2
  ORDER BY recon_id DESC, currency, match_key, verdict_no"""
_TOLD = """SELECT seq, movement_type, debit_account_no, credit_account_no, amount_minor, currency, txn_at, loan_no, issue_no,
  component, business_date, recorded_at FROM live.posting WHERE platform_id = $1 AND request_no = $2 ORDER BY seq, posting_id"""
_BOOKED = """SELECT m.movement_id, m.seq, m.movement_type, d.account_no AS debit_account_no, c.account_no AS credit_account_no,
  m.amount_minor, m.currency, m.business_date, m.recorded_at
  FROM ledger.trade_order o JOIN ledger.movement m USING (order_id) JOIN registry.account d ON d.account_id = m.debit_account_id
  JOIN registry.account c ON c.account_id = m.credit_account_id
  WHERE o.platform_id = $1 AND o.request_no = $2 ORDER BY m.seq"""
_ORDERED = """SELECT order_type, account_no, counter_account_no, amount_minor, currency, order_status, created_at, loan_no,
  business_date, recorded_at FROM live.platform_order WHERE platform_id = $1 AND request_no = $2 ORDER BY platform_order_id"""
_OF_THE_NIGHT = """SELECT item_id, business_date, run_id, recon_id, code, state, amount_minor, age_working_days
  FROM work.current_break WHERE item_id = ANY($1) ORDER BY item_id"""


@router.get("", responses=CSV_ANSWER)
async def list_verdicts(
    request: Request,
    platform_id: Text = None,
    state: State | None = None,
    code: Annotated[str | None, Query(pattern="^B[0-9]{2}$")] = None,
    request_no: Text = None,
    item_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """The newest verdict of every line, the newest first; as pages or whole as CSV."""
    filters = {"platform_id": platform_id, "state": state, "code": code, "request_no": request_no, "item_id": item_id}
    found = await answer(request, _VERDICTS, "see_adjustments", filters, (cursor, limit, format))
    if isinstance(found, dict):
        found["rows"] = [_decoded(row) for row in found["rows"]]
    return found


@router.get("/{platform_id}/{request_no}")
async def get_request(request: Request, platform_id: Identifier, request_no: Identifier) -> dict[str, Any]:
    """A request on every side: verdicts in order, the platform's lines and orders, custody's movements, the night's items."""
    reader = await reader_of(request, "see_adjustments")
    if not reader.sees(platform_id):
        raise Problem("NOT_FOUND", f"there is no platform {platform_id}", field="platform_id")
    pool = service_of(request).pool
    history = [_decoded(dict(row)) for row in await pool.fetch(_HISTORY, platform_id, request_no)]
    told = [dict(row) for row in await pool.fetch(_TOLD, platform_id, request_no)]
    ordered = [dict(row) for row in await pool.fetch(_ORDERED, platform_id, request_no)]
    if not (history or told or ordered):
        raise Problem("RECORD_NOT_FOUND", f"nothing is said of request {request_no}", field="request_no")
    await reader.looked(request, "ACCOUNT_SEEN", f"live {platform_id} {request_no}")
    items = sorted({row["item_id"] for row in history if row["item_id"]})
    return {
        "platform_id": platform_id,
        "request_no": request_no,
        "verdicts": history,
        "postings": told,
        "orders": ordered,
        "movements": [dict(row) for row in await pool.fetch(_BOOKED, platform_id, request_no)],
        "night": [dict(row) for row in await pool.fetch(_OF_THE_NIGHT, items)],
    }


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "effects": msgspec.json.decode(row["effects"])}
