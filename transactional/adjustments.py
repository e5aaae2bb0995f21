"""`/v1/adjustments`: the bank corrects a customer's account under four eyes (spec 07 section 7.8).

The rules and states live in the database (migration 0019, schema `work`); these handlers say who asks and what. States: DRAFT →
(debit: PENDING_CONSENT → CONSENTED, REFUSED, EXPIRED) → PENDING_APPROVAL → APPROVED, REJECTED → SENT_TO_BANK → POSTED,
BANK_FAILED → VERIFIED, REOPENED. Money moves only in `posting`, by one order numbered ``ADJ-ID``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import psycopg
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from fundwatch.settings import Settings
from transactional.adjustment_bodies import Adjustment, Assignment, Decision, Nothing, Withdrawal
from transactional.bodies import decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, service_of
from transactional.staff import note, staff_of

router = APIRouter(tags=["adjustments"])
PAGE_MAX = 200
State = Literal[
    "DRAFT",
    "PENDING_CONSENT",
    "CONSENTED",
    "REFUSED",
    "EXPIRED",
    "PENDING_APPROVAL",
    "APPROVED",
    "REJECTED",
    "SENT_TO_BANK",
    "POSTED",
    "BANK_FAILED",
    "VERIFIED",
    "REOPENED",
]
COLUMNS = """adjustment_id, item_id, platform_id, account_no, direction, amount_minor, currency, reason_code, evidence_uri,
  encode(evidence_hash, 'hex') AS evidence_sha256, residual_minor, residual_on, maker, created_at, state, state_at, state_actor,
  state_detail, posted_on, order_id"""


@router.post("/v1/adjustments", status_code=201, openapi_extra=writing(Adjustment))
async def create(request: Request) -> Response:
    """Put down an adjustment of an open break; 201 with it in state DRAFT. It may not exceed the break or widen it."""
    staff = await staff_of(request, "make_adjustment")
    body = decode(Adjustment, await read_body(request))

    async def act(connection: Any) -> Any:
        made = await connection.fetchval(
            "SELECT work.create_adjustment($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            *(body.item_id, body.platform_id, body.account_no, body.direction, body.amount_minor, body.currency),
            *(body.reason_code, body.evidence_uri, bytes.fromhex(body.evidence_sha256), staff.login_name),
        )
        return await document(connection, made)

    return await once(request, staff.scope, body, act)


@router.get("/v1/adjustments")
async def list_adjustments(
    request: Request,
    state: State | None = None,
    platform_id: Annotated[str | None, Query(max_length=64)] = None,
    item_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
    account_no: Annotated[str | None, Query(max_length=64)] = None,
    maker: Annotated[str | None, Query(max_length=32)] = None,
    cursor: Annotated[str | None, Query(pattern="^[0-9]{1,18}$")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
) -> dict[str, Any]:
    """Adjustments, newest first; `next_cursor` leads to older ones and is null at the end."""
    staff = await staff_of(request, "see_adjustments")
    for name, value in (("platform_id", platform_id), ("account_no", account_no), ("maker", maker)):
        if value is not None and "\x00" in value:
            raise Problem("PARAMETER_INVALID", f"{name} has a NUL character", field=name)
    if account_no is not None:
        await note(request, staff, "ACCOUNT_SEEN", f"adjustments of {account_no}")
    rows = await service_of(request).pool.fetch(
        f"""SELECT {COLUMNS} FROM work.adjustment_state WHERE adjustment_id < $1 AND ($2::text IS NULL OR state = $2)
            AND ($3::text IS NULL OR platform_id = $3) AND ($4::text IS NULL OR item_id = $4)
            AND ($5::text IS NULL OR account_no = $5) AND ($6::text IS NULL OR maker = $6)
            ORDER BY adjustment_id DESC LIMIT $7""",
        *(int(cursor) if cursor else 2**62, state, platform_id, item_id, account_no, maker, limit + 1),
    )
    more = len(rows) > limit
    return {
        "adjustments": [_shown(row) for row in rows[:limit]],
        "next_cursor": str(rows[limit - 1]["adjustment_id"]) if more else None,
    }


@router.get("/v1/adjustments/{adjustment_id}")
async def get_adjustment(request: Request, adjustment_id: int) -> dict[str, Any]:
    """One adjustment with its events, its consent and what is left of its break."""
    staff = await staff_of(request, "see_adjustments")
    found = await document(service_of(request).pool, known_id(adjustment_id))
    await note(request, staff, "ACCOUNT_SEEN", f"adjustment {adjustment_id} of {found['account_no']}")
    return found


@router.post("/v1/adjustments/{adjustment_id}/submission", status_code=201, openapi_extra=writing(Nothing))
async def submit(request: Request, adjustment_id: int) -> Response:
    """Hand a credit, or a debit that the customer consented to, to a checker; large ones to two."""
    above = service_of(request).settings.adjustment_second_checker_minor
    return await _step(request, adjustment_id, "make_adjustment", Nothing, "work.submit_adjustment", lambda _: (above,))


@router.post("/v1/adjustments/{adjustment_id}/decision", status_code=201, openapi_extra=writing(Decision))
async def decide(request: Request, adjustment_id: int) -> Response:
    """A checker's word: neither the maker nor the break's investigator, and of two checkers not the same."""

    def words(body: Any) -> tuple[Any, ...]:
        if not (body.approve or body.note.strip()):
            raise Problem("BODY_INVALID", "a rejection says why in its note", field="note")
        return body.approve, body.note.strip()

    return await _step(request, adjustment_id, "decide_adjustment", Decision, "work.decide_adjustment", words)


@router.post("/v1/adjustments/{adjustment_id}/withdrawal", status_code=201, openapi_extra=writing(Withdrawal))
async def withdraw(request: Request, adjustment_id: int) -> Response:
    """Take an adjustment back before money moved; it ends REJECTED."""
    return await _step(
        request, adjustment_id, "make_adjustment", Withdrawal, "work.withdraw_adjustment", lambda body: (body.note.strip(),)
    )


@router.post("/v1/adjustments/{adjustment_id}/posting", status_code=201, openapi_extra=writing(Nothing))
async def post(request: Request, adjustment_id: int) -> Response:
    """Post the compensating order, once. 201 also when the engine refuses it: then the state is BANK_FAILED with the code."""
    return await _step(request, adjustment_id, "make_adjustment", Nothing, "work.post_adjustment", lambda _: ())


@router.post("/v1/break-assignments", status_code=201, openapi_extra=writing(Assignment))
async def assign(request: Request) -> Response:
    """Say who looks into a break; that person is no checker of its adjustments."""
    staff = await staff_of(request, "assign_break")
    body = decode(Assignment, await read_body(request))

    async def act(connection: Any) -> Any:
        made = await connection.fetchval("SELECT work.assign_break($1, $2, $3)", body.item_id, body.person, staff.login_name)
        return {"assignment_id": made, "item_id": body.item_id, "person": body.person}

    return await once(request, staff.scope, body, act)


def verify_published(settings: Settings, run_id: int) -> dict[str, int]:
    """Judge every posted adjustment of the run's platforms by what it published: `{"verified": n, "reopened": n}`.

    Called after a publish; again is harmless. An adjustment is VERIFIED when its break is gone or netted out on the account,
    REOPENED when it is as wide as before (spec 07 section 7.8).
    """
    with psycopg.connect(settings.database_url("jobs")) as connection:
        rows = connection.execute(
            """SELECT coalesce(sum(v.verified), 0)::int, coalesce(sum(v.reopened), 0)::int
               FROM (SELECT DISTINCT platform_id FROM run.published WHERE run_id = %s) p
               CROSS JOIN LATERAL work.verify_adjustments(p.platform_id, %s) v""",
            [run_id, run_id],
        ).fetchall()
    return {"verified": rows[0][0], "reopened": rows[0][1]}


async def document(connection: Any, adjustment_id: int) -> dict[str, Any]:
    """An adjustment in full; Problem ADJUSTMENT_NOT_FOUND."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM work.adjustment_state WHERE adjustment_id = $1", adjustment_id)
    if row is None:
        raise Problem("ADJUSTMENT_NOT_FOUND", f"there is no adjustment {adjustment_id}")
    events = await connection.fetch(
        "SELECT seq, state, actor, at, detail FROM work.adjustment_event WHERE adjustment_id = $1 ORDER BY seq", adjustment_id
    )
    consent = await connection.fetchrow(
        """SELECT c.amount_minor, c.text_version, c.requested_by, c.recorded_at AS requested_at, c.expires_at, a.is_given,
                  a.channel, a.signed_at, a.recorded_at
           FROM work.consent_request c LEFT JOIN work.consent_answer a USING (adjustment_id)
           WHERE c.adjustment_id = $1""",
        adjustment_id,
    )
    return {
        **_shown(row),
        "events": [{**dict(event), "detail": msgspec.json.decode(event["detail"])} for event in events],
        "consent": None if consent is None else dict(consent),
    }


def known_id(adjustment_id: int) -> int:
    """An id that can be one; Problem ADJUSTMENT_NOT_FOUND."""
    if not 0 < adjustment_id < 2**62:
        raise Problem("ADJUSTMENT_NOT_FOUND", f"there is no adjustment {adjustment_id}")
    return adjustment_id


async def read_step(request: Request, kind: type[msgspec.Struct]) -> Any:
    """The body of a step; an empty one is ``{}``."""
    return decode(kind, await read_body(request) or b"{}")


async def _step(
    request: Request, adjustment_id: int, permission: str, kind: type[msgspec.Struct], function: str, words: Any
) -> Response:
    """One step of the state machine: `function(id, *words(body), login name)`, answered with the adjustment after it."""
    staff = await staff_of(request, permission)
    body = await read_step(request, kind)
    arguments = (known_id(adjustment_id), *words(body), staff.login_name)
    places = ", ".join(f"${place}" for place in range(1, len(arguments) + 1))

    async def act(connection: Any) -> Any:
        await connection.fetchval(f"SELECT {function}({places})", *arguments)
        return await document(connection, adjustment_id)

    return await once(request, staff.scope, body, act)


def _shown(row: Any) -> dict[str, Any]:
    return {**dict(row), "state_detail": msgspec.json.decode(row["state_detail"])}
