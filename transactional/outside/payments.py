"""`POST /v1/outside/core-banking/status`: what became of a payment instruction, signed by core banking (spec 10 row 1.4)."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import ServiceMissing
from transactional.bodies import TextId, decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.outside import signing
from transactional.problems import Problem
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1/outside", tags=["outside"])
BODY_BYTES_MAX = 16 * 1024


class PaymentStatus(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One answer (schema ``payment_status.v1``)."""

    instruction_no: TextId
    state: Literal["ACCEPTED", "PAID", "FAILED"]
    reason: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*\Z")] | None = None
    bank_reference: TextId | None = None


@router.post("/core-banking/status", status_code=201, openapi_extra=writing(PaymentStatus))
async def answer(request: Request) -> Response:
    """Move an instruction on; the same answer again changes nothing, one that contradicts the end of a payment is 409.

    Authenticated by the three webhook headers with a key of an enabled core-banking target, not by an API key.
    """
    raw = await read_body(request, BODY_BYTES_MAX)
    target = await _sender(request, raw)
    body = decode(PaymentStatus, raw)

    async def act(connection: Any) -> Any:
        state = await connection.fetchval(
            "SELECT outside.payment_answer($1, $2, $3, $4, $5)",
            *(body.instruction_no, body.state, body.reason, body.bank_reference, target),
        )
        return msgspec.json.decode(state)

    return await once(request, f"outside:{target}", body, act)


async def _sender(request: Request, raw: bytes) -> str:
    """The core-banking target whose key signed the body; Problem NOT_AUTHENTICATED."""
    service = service_of(request)
    rows = await service.pool.fetch(
        "SELECT target, secret_names FROM outside.target_current WHERE adapter = 'core-banking' AND is_enabled ORDER BY target"
    )
    for row in rows:
        try:
            secrets = [service.settings.secret(name) for name in row["secret_names"]]
        except ServiceMissing:
            continue
        if signing.verify(secrets, request.headers, raw, time.time()) is not None:
            return str(row["target"])
    raise Problem("NOT_AUTHENTICATED", "the body is not signed by core banking, or not at this time")
