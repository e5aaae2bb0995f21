"""Every writing endpoint but the orders' own: one transaction, one answer a key, and a dry run (architecture section 6.3)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import canonical, differing_fields, digest
from transactional.keys import EVERY_PLATFORM
from transactional.posting import LOST, refusal
from transactional.problems import Problem
from transactional.service import service_of

KEY_LENGTH_MAX = 255
# for the OpenAPI of a route that calls `once`
KEY_AND_DRY_RUN: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
        },
        {"name": "dry_run", "in": "query", "required": False, "schema": {"type": "boolean", "default": False}},
    ],
    "responses": {
        "200": {"description": "What a dry run would have been answered", "content": {"application/json": {"schema": {}}}},
    },
}
Act = Callable[[Any], Awaitable[Any]]


def idempotency_key(request: Request) -> str:
    """The request's key; Problem IDEMPOTENCY_KEY_MISSING when there is none that can be one."""
    return checked_key(request.headers.get("idempotency-key"))


def checked_key(header: str | None) -> str:
    """The key in a header's text; Problem IDEMPOTENCY_KEY_MISSING when there is none that can be one."""
    key = (header or "").strip()
    if not 0 < len(key) <= KEY_LENGTH_MAX or not key.isprintable():
        raise Problem("IDEMPOTENCY_KEY_MISSING", f"send Idempotency-Key with 1 to {KEY_LENGTH_MAX} printable characters")
    return key


def is_dry_run(request: Request) -> bool:
    """Whether the caller only asks what would happen (`?dry_run=true`); Problem PARAMETER_INVALID for another word."""
    word = request.query_params.get("dry_run", "false")
    if word not in ("true", "false"):
        raise Problem("PARAMETER_INVALID", "dry_run is true or false", field="dry_run")
    return word == "true"


async def once(request: Request, scope: str, body: msgspec.Struct, act: Act, status: int = 201) -> Response:
    """Do `act(connection)` in one transaction and answer what it returns; a repeated request hears the first answer again.

    `scope` is who asks (an API key's scope, or ``person:NAME``). The key is unique per scope and endpoint; what it stands for is
    the path and the canonical body. A refusal (Problem, or what the database raises as FW422) leaves nothing, the key neither.
    With `dry_run=true` all is done and taken back; the answer has status 200 and the header `Fundwatch-Dry-Run: true`.
    Problems: IDEMPOTENCY_KEY_MISSING IDEMPOTENCY_KEY_REUSED IN_FLIGHT OUTCOME_UNKNOWN, and those of `act`.
    """
    key, rehearsal = idempotency_key(request), is_dry_run(request)
    endpoint = f"{request.method} {request.scope['route'].path}"
    content = json.dumps([request.url.path, json.loads(canonical(body))], separators=(",", ":"), ensure_ascii=False)
    try:
        async with service_of(request).pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                known = await _known(connection, scope, endpoint, key, content)
                if known is not None:
                    return known
                answer = msgspec.json.encode(await act(connection)).decode()
                if rehearsal:
                    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                    return Response(answer, 200, {"Fundwatch-Dry-Run": "true"}, "application/json")
                await connection.execute(
                    """INSERT INTO api.answer (scope, endpoint, idempotency_key, body_hash, body, answer, status)
                       VALUES ($1, $2, $3, decode($4, 'hex'), $5, $6, $7)""",
                    *(scope, endpoint, key, digest(content.encode()), content, answer, status),
                )
                finished, transaction = transaction, None
                await finished.commit()
            finally:
                if transaction is not None:
                    await transaction.rollback()
    except asyncpg.PostgresError as error:
        if isinstance(error, LOST):
            raise Problem("OUTCOME_UNKNOWN", "the database did not answer") from None
        raise refused(error, scope) from None
    except LOST:
        raise Problem("OUTCOME_UNKNOWN", "the database did not answer") from None
    return Response(answer, status, {}, "application/json")


def refused(error: Exception, scope: str = EVERY_PLATFORM) -> Exception:
    """The Problem of a refusal raised in SQL (`ledger.refuse`, `work.refuse`) to who asks; any other error as it is."""
    if isinstance(error, (asyncpg.UntranslatableCharacterError, asyncpg.CharacterNotInRepertoireError)):
        return Problem("BODY_INVALID", "texts cannot have the character U+0000")
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate != "FW422":
        return error
    return refusal(str(error.args[0]), error.detail, scope=EVERY_PLATFORM if scope.startswith("person:") else scope)


async def _known(connection: Any, scope: str, endpoint: str, key: str, content: str) -> Response | None:
    name = json.dumps([scope, endpoint, key])
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 7430))", name):
        raise Problem("IN_FLIGHT", f"Idempotency-Key {key} is being worked on")
    row = await connection.fetchrow(
        "SELECT body, answer, status FROM api.answer WHERE scope = $1 AND endpoint = $2 AND idempotency_key = $3",
        *(scope, endpoint, key),
    )
    if row is None:
        return None
    if row["body"] != content:
        (first_path, first), (path, second) = json.loads(row["body"]), json.loads(content)
        fields = differing_fields(first, second) + ([] if first_path == path else ["path"])
        raise Problem("IDEMPOTENCY_KEY_REUSED", f"these fields differ from the first body: {', '.join(fields)}", fields=fields)
    return Response(row["answer"], row["status"], {"Idempotency-Replayed": "true"}, "application/json")
