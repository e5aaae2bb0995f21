"""`/v1/breaks`: open items with what people say of them, and their history over runs (spec 07 section 7.4).

States: OPEN → INVESTIGATING → RESOLVED (a person says so, the next night judges it) | ACCEPTED | WRITTEN_OFF (kinds
BREAK_ACCEPTANCE and BREAK_WRITE_OFF of `/v1/approvals`) → REOPENED. The rules live in the database (migration 0036); a re-run
keeps all of it, for an item's number holds neither run nor rule version.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import psycopg
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from fundwatch.settings import Settings
from transactional.answers import BreakAppearance, BreakCure, BreakEffect, BreakEvent, BreakMoved
from transactional.bodies import decode
from transactional.idempotent import once
from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Text, answer, detailed, paged
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import read_body, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/breaks", tags=["breaks"])
ItemId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
State = Literal["OPEN", "INVESTIGATING", "RESOLVED", "ACCEPTED", "WRITTEN_OFF", "REOPENED"]
_COLUMNS = (
    *("item_id", "platform_id", "business_date", "run_id", "recon_id", "code", "opened_code", "severity", "escalated_severity"),
    *("match_key", "account_no", "currency", "amount_minor", "opened_on", "age_working_days", "sla_working_days", "is_overdue"),
    *("state", "state_actor", "state_at", "state_note", "investigator", "explanation", "nearest_candidate", "suggested_action"),
    *("rule_version", "evidence", "explanation_zh", "suggested_action_zh"),
)
_CURRENT = """SELECT b.*, i.explanation_zh, i.suggested_action_zh FROM work.current_break b
  JOIN mart.open_item i ON i.run_id = b.run_id AND i.business_date = b.business_date AND i.platform_id = b.platform_id
    AND i.item_id = b.item_id"""
_BREAKS = Listing(
    "breaks",
    _COLUMNS,
    _CURRENT,
    (("platform_id", str), ("item_id", str)),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "state": "state = {}",
        "code": "code = {}",
        "severity": "escalated_severity = {}",
        "account_no": "account_no = {}",
        "investigator": "investigator = {}",
        "min_age": "age_working_days >= {}",
        "is_overdue": "is_overdue = {}",
    },
    is_newest_first=False,
)
_HISTORY = """SELECT i.business_date, i.run_id, p.version, p.state AS published, i.code, i.severity, i.amount_minor,
  i.age_working_days, i.rule_version, i.explanation FROM mart.open_item i
  JOIN run.published p ON p.run_id = i.run_id AND p.business_date = i.business_date AND p.platform_id = i.platform_id
  WHERE i.item_id = $1 ORDER BY i.business_date, p.version"""
# the newest appearance of an item that is open no more, with the columns of those that are
_LAST = """SELECT i.item_id, i.platform_id, i.business_date, i.run_id, i.recon_id, i.code, i.opened_code, own.severity,
    work.risen(i) AS escalated_severity, i.match_key, i.account_no, i.currency, i.amount_minor, i.opened_on, i.age_working_days,
    work.sla_working_days(own.severity) AS sla_working_days,
    coalesce(i.age_working_days > work.sla_working_days(own.severity), false) AS is_overdue, coalesce(s.state, 'OPEN') AS state,
    s.actor AS state_actor, s.at AS state_at, s.note AS state_note, a.person AS investigator, i.explanation, i.nearest_candidate,
    i.suggested_action, i.rule_version, i.evidence, i.explanation_zh, i.suggested_action_zh
  FROM mart.open_item i
  CROSS JOIN LATERAL (SELECT coalesce(i.default_severity, i.severity) AS severity) own
  LEFT JOIN work.break_state s USING (item_id)
  LEFT JOIN LATERAL (
    SELECT b.person FROM work.break_assignment b WHERE b.item_id = i.item_id ORDER BY b.assignment_id DESC LIMIT 1) a ON true
  WHERE i.item_id = $1 ORDER BY i.business_date DESC, i.run_id DESC LIMIT 1"""
_EVENTS = """SELECT break_event_id, state, actor, at, note, code, amount_minor, currency, run_id, approval_id
  FROM work.break_event WHERE item_id = $1 ORDER BY break_event_id"""
_EFFECTS = """SELECT book, account_no, currency, effect_minor FROM mart.open_item_effect
  WHERE item_id = $1 AND run_id = $2 AND business_date = $3 ORDER BY book, account_no"""
# what came on the first complete date without the item: movements of its request in book B, and the files accepted that day
_GONE = """SELECT n.business_date, n.run_id FROM run.newest n
  WHERE n.platform_id = $1 AND n.state = 'COMPLETE' AND n.business_date > $2 ORDER BY n.business_date LIMIT 1"""
_MOVEMENTS = """SELECT m.movement_id, m.order_id, m.business_date, m.recorded_at FROM ledger.trade_order o
  JOIN ledger.movement m USING (order_id)
  WHERE o.platform_id = $1 AND o.request_no = split_part($2, '#', 1) AND o.business_date = $3 ORDER BY m.movement_id LIMIT 100"""
_FILES = """SELECT sender_id, file_kind, file_name, sha256, received_at FROM mart.file_control
  WHERE platform_id = $1 AND business_date = $2 AND run_id = $3 AND state = 'ACCEPTED' ORDER BY sender_id, file_kind"""


class Move(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a person says of an open item, and why."""

    state: Literal["INVESTIGATING", "RESOLVED", "REOPENED"]
    note: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*\S[^\x00]*\Z")]


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(_BREAKS))
async def list_breaks(
    request: Request,
    platform_id: Text = None,
    state: State | None = None,
    code: Annotated[str | None, Query(pattern="^B[0-9]{2}$")] = None,
    severity: Literal["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"] | None = None,
    account_no: Text = None,
    investigator: Text = None,
    min_age: Annotated[int | None, Query(ge=0, le=100_000)] = None,
    is_overdue: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Items open on each platform's newest complete date, and files missing on its newest; severity is the escalated one."""
    filters = {
        "platform_id": platform_id,
        "state": state,
        "code": code,
        "severity": severity,
        "account_no": account_no,
        "investigator": investigator,
        "min_age": min_age,
        "is_overdue": is_overdue,
    }
    return await answer(request, _BREAKS, "see_adjustments", filters, (cursor, limit, format))


_TOLD: tuple[tuple[str, Any], ...] = (
    ("is_open", bool),
    ("effects", list[BreakEffect]),
    ("history", list[BreakAppearance]),
    ("events", list[BreakEvent]),
    ("cure", BreakCure | None),
)


@router.get("/{item_id}", openapi_extra=detailed(_BREAKS, _TOLD))
async def get_break(request: Request, item_id: ItemId) -> dict[str, Any]:
    """One item: as it stands or stood last, effects, every run that showed it, what people said, and what cured it."""
    reader = await reader_of(request, "see_adjustments")
    pool = service_of(request).pool
    now = await pool.fetchrow(f"SELECT {', '.join(_COLUMNS)} FROM ({_CURRENT}) listed WHERE item_id = $1", item_id)
    history = [dict(row) for row in await pool.fetch(_HISTORY, item_id)]
    last = now or await pool.fetchrow(_LAST, item_id)
    if last is None or not reader.sees(last["platform_id"]):
        raise Problem("BREAK_NOT_FOUND", f"there is no open item {item_id}", field="item_id")
    await reader.looked(request, "ACCOUNT_SEEN", f"break {item_id} of {last['account_no'] or last['match_key']}")
    return {
        **dict(last),
        "is_open": now is not None,
        "effects": [dict(row) for row in await pool.fetch(_EFFECTS, item_id, last["run_id"], last["business_date"])],
        "history": history,
        "events": [dict(row) for row in await pool.fetch(_EVENTS, item_id)],
        "cure": None if now is not None else await _cure(pool, dict(last)),
    }


@router.post("/{item_id}/state", status_code=201, openapi_extra=writing(Move, BreakMoved))
async def move(request: Request, item_id: ItemId) -> Response:
    """Say that somebody looks into an item, that it is put right (the next night judges that), or that it is open again."""
    staff = await staff_of(request, "work_breaks")
    body = decode(Move, await read_body(request))

    async def act(connection: Any) -> Any:
        made = await connection.fetchval(
            "SELECT work.move_break($1, $2, $3, $4)", item_id, body.state, staff.login_name, body.note.strip()
        )
        return {"item_id": item_id, "state": body.state, "break_event_id": made}

    return await once(request, staff.scope, body, act)


async def _cure(pool: Any, last: dict[str, Any]) -> dict[str, Any] | None:
    """The date without the item, the movements of its request that day and the files that came; None before such a date."""
    gone = await pool.fetchrow(_GONE, last["platform_id"], last["business_date"])
    if gone is None:
        return None
    day, run_id = gone["business_date"], gone["run_id"]
    return {
        "gone_on": day,
        "run_id": run_id,
        "movements": [dict(row) for row in await pool.fetch(_MOVEMENTS, last["platform_id"], last["match_key"], day)],
        "files": [dict(row) for row in await pool.fetch(_FILES, last["platform_id"], day, run_id)],
    }


def review_published(settings: Settings, run_id: int) -> dict[str, int]:
    """Judge what people said of items by what a run published: `{"reopened": n, "resolved": n}`; again is harmless."""
    with psycopg.connect(settings.database_url("jobs")) as connection:
        row = connection.execute("SELECT * FROM work.review_breaks(%s)", [run_id]).fetchone()
    assert row is not None
    return {"reopened": row[0], "resolved": row[1]}
