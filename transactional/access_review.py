"""`/v1/access-review`: persons with role, permissions, last use and changes since a moment; two people sign it off.

The sign-off is an approval of kind ACCESS_REVIEW: it names the hash of what was read, and is refused once a person has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from transactional import csv_file
from transactional.approvals import one
from transactional.bodies import Moment, decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.people import matrix
from transactional.service import read_body, service_of
from transactional.staff import note, staff_of

router = APIRouter(prefix="/v1/access-review", tags=["access review"])
Since = Annotated[AwareDatetime, Query()]
COLUMNS = (
    *("login_name", "display_name", "role", "permissions", "is_disabled", "has_second_factor", "created_by", "created_at"),
    *("last_login_at", "last_use_at", "changes"),
)


class SignOff(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The review that was read: its moment and hash, and what was found."""

    since: Moment
    review_hash: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    note: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*\Z")]


@router.get("")
async def read_review(request: Request, since: Since) -> dict[str, Any]:
    """The review with the hash to sign, and the sign-offs before it, newest first."""
    staff = await staff_of(request, "see_access_review")
    await note(request, staff, "USERS_SEEN", "access review")
    pool = service_of(request).pool
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        persons = await _persons(connection, since)
        review_hash = await connection.fetchval("SELECT auth.access_review_hash($1)", since)
        signed = await connection.fetch(
            """SELECT approval_id, since, review_hash, maker, checker, signed_at FROM auth.access_review_signed
               ORDER BY approval_id DESC LIMIT 12"""
        )
    return {"since": since, "review_hash": review_hash, "persons": persons, "signed": [dict(row) for row in signed]}


@router.get(".csv")
async def export_review(request: Request, since: Since) -> Response:
    """The review as a file."""
    staff = await staff_of(request, "see_access_review")

    async def rows() -> AsyncIterator[dict[str, Any]]:
        async with service_of(request).pool.acquire() as connection:
            persons = await _persons(connection, since)
        for person in persons:
            yield person

    return await csv_file.send(request, staff, "access_review", COLUMNS, rows(), {"since": since.isoformat()})


@router.post("/sign-off", status_code=201, openapi_extra=writing(SignOff))
async def sign_off(request: Request) -> Response:
    """Propose the review as read and right; a second person signs by deciding on the approval that this answers with."""
    staff = await staff_of(request, "propose_approval")
    body = decode(SignOff, await read_body(request))

    async def act(connection: Any) -> Any:
        payload = msgspec.json.encode({"since": body.since.isoformat(), "review_hash": body.review_hash}).decode()
        approval_id = await connection.fetchval(
            "SELECT work.propose('ACCESS_REVIEW', NULL, $1, $2::jsonb, $3, $4)",
            *(f"since {body.since.isoformat()}", payload, body.note, staff.login_name),
        )
        return await one(connection, approval_id)

    return await once(request, staff.scope, body, act)


async def _persons(connection: Any, since: datetime) -> list[dict[str, Any]]:
    kinds = await connection.fetch("SELECT kind, maker_roles, checker_roles FROM work.kind ORDER BY kind")
    permissions = matrix(kinds)
    found = await connection.fetch("SELECT * FROM auth.access_review($1)", since)
    return [
        {
            **dict(row),
            "permissions": [name for name, roles in permissions.items() if row["role"] in roles],
            "changes": msgspec.json.decode(row["changes"]),
        }
        for row in found
    ]
