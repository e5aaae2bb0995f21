"""The customer's consent to a debit (spec 07 section 7.8): asked by the bank, answered through the platform's channel.

The bank's desk asks; the platform, which shows its customer the text, fetches a one-time token of 256 bits and sends it back with
the customer's word. Only the token's sha256 is stored, also in the stored answers and bodies of idempotent requests.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.adjustment_bodies import ConsentAnswer, ConsentRequest, Nothing
from transactional.adjustments import document, known_id, read_step
from transactional.bodies import decode
from transactional.idempotent import once
from transactional.keys import covers
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of
from transactional.staff import staff_of

router = APIRouter(prefix="/v1/adjustments", tags=["adjustments"])
TOKEN_BYTES = 32


@router.post("/{adjustment_id}/consent-request", status_code=201, openapi_extra=writing(ConsentRequest))
async def request_consent(request: Request, adjustment_id: int) -> Response:
    """Ask the customer about a debit: for 72 hours, by the text named. The platform hears `adjustment.consent_requested`."""
    staff = await staff_of(request, "make_adjustment")
    body = decode(ConsentRequest, await read_body(request))

    async def act(connection: Any) -> Any:
        await connection.execute(
            "SELECT work.request_consent($1, $2, $3)", known_id(adjustment_id), body.text_version, staff.login_name
        )
        return await document(connection, adjustment_id)

    return await once(request, staff.scope, body, act)


@router.post("/{adjustment_id}/consent-token", status_code=201, openapi_extra=writing(Nothing))
async def issue_token(request: Request, adjustment_id: int) -> Response:
    """A one-time token for the platform's customer; shown in this answer only (a repeated one hears null); the newest counts."""
    scope = await _platform_scope(request, adjustment_id)
    body = await read_step(request, Nothing)
    token = secrets.token_urlsafe(TOKEN_BYTES)

    async def act(connection: Any) -> Any:
        expires_at = await connection.fetchval(
            "SELECT work.issue_consent_token($1, $2, $3)", adjustment_id, sha256(token.encode()).digest(), f"key:{scope}"
        )
        asked = await connection.fetchrow(
            "SELECT amount_minor, text_version FROM work.consent_request WHERE adjustment_id = $1", adjustment_id
        )
        return {"adjustment_id": adjustment_id, **dict(asked), "expires_at": expires_at, "token": None}

    answer = await once(request, scope, body, act)
    if "idempotency-replayed" in answer.headers or answer.status_code != 201:
        return answer
    shown = {**msgspec.json.decode(answer.body), "token": token}
    return Response(msgspec.json.encode(shown), 201, {"Cache-Control": "no-store"}, "application/json")


@router.post("/{adjustment_id}/consent", status_code=201, openapi_extra=writing(ConsentAnswer))
async def answer_consent(request: Request, adjustment_id: int) -> Response:
    """The customer's word by token, on this adjustment, amount and text: CONSENTED or REFUSED, once."""
    scope = await _platform_scope(request, adjustment_id)
    given = decode(ConsentAnswer, await read_body(request))
    # what is stored of the request names the token by its hash
    body = msgspec.structs.replace(given, token=sha256(given.token.encode()).hexdigest())

    async def act(connection: Any) -> Any:
        await connection.execute(
            "SELECT work.answer_consent($1, $2, $3, $4, $5, $6, $7, $8)",
            *(adjustment_id, bytes.fromhex(body.token), body.amount_minor, body.text_version, body.is_given, body.channel),
            *(body.signed_at, f"key:{scope}"),
        )
        return {"adjustment_id": adjustment_id, "state": "CONSENTED" if body.is_given else "REFUSED"}

    return await once(request, scope, body, act)


async def _platform_scope(request: Request, adjustment_id: int) -> str:
    """Scope of the API key, which covers the adjustment's platform; another's adjustment looks like none."""
    scope = await scope_of(request)
    platform_id = await service_of(request).pool.fetchval(
        "SELECT platform_id FROM work.adjustment WHERE adjustment_id = $1", known_id(adjustment_id)
    )
    if platform_id is None or not covers(scope, platform_id):
        raise Problem("ADJUSTMENT_NOT_FOUND", f"there is no adjustment {adjustment_id}")
    return scope
