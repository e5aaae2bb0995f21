"""`/v1/deliveries`: what went out, what waits, what is dead; sending again and passing over, by the bank's people."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import Label, TextId, decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.outside.messages import without_identity
from transactional.problems import Problem
from transactional.service import read_body, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1", tags=["outside"])
PAGE_MAX = 200
_COLUMNS = """delivery_id, target, event_id, part, topic, platform_id, subject, recorded_at, made_at, state, tries,
  next_at, reason, settled_at"""
EventId = Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class Replay(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which deliveries of a target to send again: a range of events, or of it those of one subject."""

    target: TextId
    first_event_id: EventId
    last_event_id: EventId
    subject: Label | None = None


class Skip(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Why a dead delivery is passed over."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\S[^\x00]*\Z")]


@router.get("/deliveries")
async def list_deliveries(
    request: Request,
    state: Literal["PENDING", "DELIVERED", "DEAD", "SKIPPED"] | None = None,
    target: Annotated[str | None, Query(pattern=r"^[a-z0-9-]{1,40}$")] = None,
    subject: Annotated[str | None, Query(pattern=r"^[^\x00]{1,200}$")] = None,
    cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> dict[str, Any]:
    """Deliveries, newest first; `next_cursor` leads to older ones and is null at the end."""
    await staff_of(request, "see_deliveries")
    rows = await service_of(request).pool.fetch(
        f"""SELECT {_COLUMNS} FROM outside.delivery WHERE delivery_id < $1 AND ($2::text IS NULL OR state = $2)
            AND ($3::text IS NULL OR target = $3) AND ($4::text IS NULL OR subject = $4) ORDER BY delivery_id DESC LIMIT $5""",
        *(cursor or 2**62, state, target, subject, limit + 1),
    )
    more = len(rows) > limit
    return {
        "deliveries": [dict(row) for row in rows[:limit]],
        "next_cursor": str(rows[limit - 1]["delivery_id"]) if more else None,
    }


@router.get("/deliveries/{delivery_id}")
async def get_delivery(request: Request, delivery_id: int) -> dict[str, Any]:
    """One delivery with what it says and its newest tries (at most 200)."""
    await staff_of(request, "see_deliveries")
    pool, number = service_of(request).pool, _id(delivery_id)
    row = await pool.fetchrow(f"SELECT {_COLUMNS}, payload FROM outside.delivery WHERE delivery_id = $1", number)
    if row is None:
        raise Problem("DELIVERY_NOT_FOUND", f"there is no delivery {delivery_id}")
    tries = await pool.fetch(
        """SELECT outcome, reason, worker, at FROM outside.delivery_attempt WHERE delivery_id = $1
           ORDER BY attempt_id DESC LIMIT 200""",
        number,
    )
    payload = without_identity(msgspec.json.decode(row["payload"]))
    return {**dict(row), "payload": payload, "attempts": [dict(one) for one in tries]}


@router.post("/deliveries/replay", status_code=201, openapi_extra=writing(Replay))
async def replay(request: Request) -> Response:
    """Send again, in order, what is settled of a range; receivers know repeats by their ids. 201 with how many."""
    staff = await staff_of(request, "replay_deliveries")
    body = decode(Replay, await read_body(request))
    if body.last_event_id < body.first_event_id:
        raise Problem("BODY_INVALID", "the last event comes before the first", field="last_event_id")

    async def act(connection: Any) -> Any:
        replayed = await connection.fetchval(
            "SELECT outside.replay($1, $2, $3, $4, $5)",
            *(body.target, body.first_event_id, body.last_event_id, body.subject, staff.login_name),
        )
        if not replayed:
            raise Problem("DELIVERY_NOT_FOUND", "nothing of this is settled")
        return {"deliveries": replayed}

    return await once(request, staff.scope, body, act)


@router.post("/deliveries/{delivery_id}/skip", status_code=201, openapi_extra=writing(Skip))
async def skip(request: Request, delivery_id: int) -> Response:
    """Pass over a dead delivery, so that its subject goes on."""
    staff = await staff_of(request, "replay_deliveries")
    body = decode(Skip, await read_body(request))
    number = _id(delivery_id)

    async def act(connection: Any) -> Any:
        await connection.execute("SELECT outside.skip($1, $2, $3)", number, body.reason.strip(), staff.login_name)
        return {"delivery_id": number, "state": "SKIPPED"}

    return await once(request, staff.scope, body, act)


@router.get("/outside/targets")
async def list_targets(request: Request) -> dict[str, Any]:
    """Each target as it is configured now (names of secrets, never secrets), with what waits and what is dead."""
    await staff_of(request, "see_deliveries")
    rows = await service_of(request).pool.fetch(
        """SELECT c.target, c.version, c.adapter, c.platform_id, c.endpoint, c.secret_names, c.topics, c.is_enabled, c.settings,
                  c.valid_from, c.recorded_at, c.actor, h.pending, h.dead, h.oldest_age_s
           FROM outside.target_current c JOIN outside.health h USING (target) ORDER BY c.target LIMIT 1000"""
    )
    return {"targets": [{**dict(row), "settings": msgspec.json.decode(row["settings"])} for row in rows]}


def _id(delivery_id: int) -> int:
    if not 0 < delivery_id < 2**62:
        raise Problem("DELIVERY_NOT_FOUND", f"there is no delivery {delivery_id}")
    return delivery_id
