"""`/v1/approvals`: what one person proposes and a second decides, on the very version that was seen (design section 2).

The kinds are rows of `work.kind`; the rules and the effect of each run in the database, in the decision's own transaction.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from transactional import csv_file
from transactional.bodies import Label, TextId, decode
from transactional.idempotent import once
from transactional.listings import CSV_ANSWER, wants_csv
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])
PAGE_MAX = 200
_COLUMNS = """approval_id, kind, platform_id, subject, payload, encode(payload_hash, 'hex') AS payload_hash, reason, maker,
  proposed_at, expires_at, state, checker, note, decided_at, result"""
_FILE = (
    *("approval_id", "kind", "platform_id", "subject", "payload", "payload_hash", "reason", "maker", "proposed_at", "expires_at"),
    *("state", "checker", "note", "decided_at", "result"),
)
_LISTED = f"""SELECT {_COLUMNS} FROM work.approval_state WHERE approval_id < $1 AND ($2::text IS NULL OR state = $2)
  AND ($3::text IS NULL OR kind = $3) ORDER BY approval_id DESC"""


class Proposal(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is asked for: `payload` is what the kind's effect takes."""

    kind: TextId
    subject: Label
    payload: dict[str, Any]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*\Z")]
    platform_id: TextId | None = None


class Decision(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A second person's word on the version whose `payload_hash` was read; a rejection says why."""

    approve: bool
    payload_hash: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    note: Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*\Z")] = ""


@router.post("", status_code=201, openapi_extra=writing(Proposal))
async def propose(request: Request) -> Response:
    """Put down a proposal; it has no effect until a second person approves it. 201 with its id and the hash to decide on."""
    staff = await staff_of(request, "propose_approval")
    body = decode(Proposal, await read_body(request))

    async def act(connection: Any) -> Any:
        payload = msgspec.json.encode(body.payload).decode()
        approval_id = await connection.fetchval(
            "SELECT work.propose($1, $2, $3, $4::jsonb, $5, $6)",
            *(body.kind, body.platform_id, body.subject, payload, body.reason, staff.login_name),
        )
        return await one(connection, approval_id)

    return await once(request, staff.scope, body, act)


@router.post("/{approval_id}/decision", status_code=201, openapi_extra=writing(Decision))
async def decide(request: Request, approval_id: int) -> Response:
    """Approve or reject, once; an approval takes effect in the same transaction, and `result` says what came of it."""
    staff = await staff_of(request, "decide_approval")
    body = decode(Decision, await read_body(request))
    if not (body.approve or body.note.strip()):
        raise Problem("BODY_INVALID", "a rejection says why in its note", field="note")

    async def act(connection: Any) -> Any:
        seen = bytes.fromhex(body.payload_hash)
        await connection.execute(
            "SELECT work.decide($1, $2, $3, $4, $5)", *(_id(approval_id), staff.login_name, body.approve, seen, body.note.strip())
        )
        return await one(connection, approval_id)

    return await once(request, staff.scope, body, act)


@router.get("/{approval_id}")
async def get_approval(request: Request, approval_id: int) -> dict[str, Any]:
    """One proposal with what became of it."""
    await staff_of(request, "see_approvals")
    return await one(service_of(request).pool, _id(approval_id))


@router.get("", responses=CSV_ANSWER)
async def list_approvals(
    request: Request,
    state: Literal["PENDING", "APPROVED", "REJECTED", "EXPIRED"] | None = None,
    kind: str | None = None,
    cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> Any:
    """Proposals, newest first; `next_cursor` leads to older ones and is null at the end.

    With ``Accept: text/csv`` all of them as one file (permission `export`).
    """
    staff = await staff_of(request, "see_approvals")
    pool = service_of(request).pool
    if wants_csv(request, None):
        await staff_of(request, "export")
        asked = {name: value for name, value in (("state", state), ("kind", kind)) if value is not None}
        rows_of_all = csv_file.queried(pool, _LISTED, 2**62, state, kind)
        return await csv_file.send(request, staff, "approvals", _FILE, rows_of_all, asked)
    rows = await pool.fetch(f"{_LISTED} LIMIT $4", *(cursor or 2**62, state, kind, limit + 1))
    more = len(rows) > limit
    return {
        "approvals": [_document(row) for row in rows[:limit]],
        "next_cursor": str(rows[limit - 1]["approval_id"]) if more else None,
    }


async def one(connection: Any, approval_id: int) -> dict[str, Any]:
    """The document of one proposal; Problem APPROVAL_NOT_FOUND."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM work.approval_state WHERE approval_id = $1", approval_id)
    if row is None:
        raise Problem("APPROVAL_NOT_FOUND", f"there is no approval {approval_id}")
    return _document(row)


def _document(row: Any) -> dict[str, Any]:
    parsed = {name: None if row[name] is None else msgspec.json.decode(row[name]) for name in ("payload", "result")}
    return {**dict(row), **parsed}


def _id(approval_id: int) -> int:
    if not 0 < approval_id < 2**62:
        raise Problem("APPROVAL_NOT_FOUND", f"there is no approval {approval_id}")
    return approval_id
