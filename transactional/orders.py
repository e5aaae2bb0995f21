"""`POST /v1/orders` and `/v1/orders/bulk`: raw requests, msgspec, group commit (contracts section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.money import MINOR_DIGITS
from domain.vocabulary import CONFIRMED_ORDERS, ORDERS_OF_THE_BANK
from transactional.answers import PostedBulk, PostedOrder
from transactional.batch import Submission, of_bulk, of_order
from transactional.bodies import MOVEMENTS_MAX, Bulk, Order, check_names, check_texts, differing_fields, parse
from transactional.idempotent import checked_key, is_dry_run
from transactional.keys import EVERY_PLATFORM, covers
from transactional.late_effects import post_by_rule
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import Service, read_body, scope_for, service_of

router = APIRouter(prefix="/v1/orders", tags=["orders"])
ORDER_BYTES_MAX = 4 * 1024 * 1024
BULK_BYTES_MAX = 8 * 1024 * 1024
# refusals by rules that came after orders they refuse: a replay is answered as it was
RULES_OF_ENTRY = frozenset({"ORDER_OF_THE_BANK", "CONFIRMATION_NEEDED"})
FIRST_TIME, LAST_TIME = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a posting request says beside its body: two headers, the sender's address, and whether it only asks."""

    authorization: str | None
    idempotency_key: str | None
    address: str | None
    is_dry_run: bool = False


@router.post("", status_code=201, openapi_extra=writing(Order, PostedOrder))
async def post_order(request: Request) -> Response:
    """Post one order, whole or not at all; 201 with its ids, business date and time."""
    return _response(*await answer_order(service_of(request), _asked(request), await read_body(request, ORDER_BYTES_MAX)))


@router.post("/bulk", status_code=201, openapi_extra=writing(Bulk, PostedBulk))
async def post_orders(request: Request) -> Response:
    """Post up to 1,000 orders, all of them or none; with `atomic` false each has a verdict of its own. 201 with their numbers."""
    return _response(*await answer_bulk(service_of(request), _asked(request), await read_body(request, BULK_BYTES_MAX)))


async def answer_order(service: Service, asked: Asked, raw: bytes) -> tuple[int, str, dict[str, str]]:
    """Status, JSON text and headers of the answer to one order; any refusal is a Problem."""
    scope, key = await scope_for(service, asked.authorization, asked.address), checked_key(asked.idempotency_key)
    order = parse(Order, raw)
    check_texts((order,), is_bulk=False)
    submission = of_order(scope, key, order)
    check_names(raw, submission.body)
    try:
        _check(scope, order, "")
    except Problem as refused:
        return await _first_answer(service, submission, refused)
    return await _post(service, asked.is_dry_run, submission)


async def answer_bulk(service: Service, asked: Asked, raw: bytes) -> tuple[int, str, dict[str, str]]:
    """Status, JSON text and headers of the answer to a bulk call; any refusal is a Problem."""
    scope, key = await scope_for(service, asked.authorization, asked.address), checked_key(asked.idempotency_key)
    bulk = parse(Bulk, raw)
    check_texts(bulk.orders, is_bulk=True)
    if bulk.atomic is True:  # said or not, it is the same call
        bulk = msgspec.structs.replace(bulk, atomic=msgspec.UNSET)
    submission = of_bulk(scope, key, bulk)
    check_names(raw, submission.body)
    try:
        for index, order in enumerate(bulk.orders):
            _check(scope, order, f"orders[{index}].")
    except Problem as refused:
        return await _first_answer(service, submission, refused)
    if sum(len(order.movements) for order in bulk.orders) > MOVEMENTS_MAX:
        raise Problem("BODY_TOO_LARGE", f"a call carries at most {MOVEMENTS_MAX} movements")
    return await _post(service, asked.is_dry_run, submission)


def _asked(request: Request) -> Asked:
    headers, client = request.headers, request.client
    address = client.host if client else None
    return Asked(headers.get("authorization"), headers.get("idempotency-key"), address, is_dry_run(request))


def _response(status: int, body: str, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, "application/json")


def _check(scope: str, order: Order, where: str) -> None:
    if not covers(scope, order.platform_id):
        raise Problem("NOT_FOUND", f"there is no platform {order.platform_id}", field=f"{where}platform_id")
    if scope != EVERY_PLATFORM and order.order_type in ORDERS_OF_THE_BANK:
        raise Problem("ORDER_OF_THE_BANK", f"{order.order_type} is entered by the bank", field=f"{where}order_type")
    if scope != EVERY_PLATFORM and order.order_type in CONFIRMED_ORDERS and order.reverses_request_no is None:
        raise Problem("CONFIRMATION_NEEDED", "customers' withdrawals go by /v1/withdrawals", field=f"{where}order_type")
    if not (order.movements or order.place_holds or order.release_holds or order.capture_holds):
        raise Problem("BODY_INVALID", "an order moves money, places or releases holds", field=f"{where}movements")
    if order.currency not in MINOR_DIGITS:
        raise Problem("BODY_INVALID", f"unknown currency {order.currency}", field=f"{where}currency")
    for name, time in (("simulated_at", order.simulated_at), ("effective_at", order.effective_at)):
        if time is not None and not FIRST_TIME <= time < LAST_TIME:
            raise Problem("BODY_INVALID", f"{name} is out of range", field=f"{where}{name}")
    for index, hold in enumerate(order.place_holds):
        if hold.expires_at is not msgspec.UNSET and not FIRST_TIME <= hold.expires_at < LAST_TIME:
            raise Problem("BODY_INVALID", "expires_at is out of range", field=f"{where}place_holds[{index}].expires_at")


async def _first_answer(service: Service, submission: Submission, refused: Problem) -> tuple[int, str, dict[str, str]]:
    """What was answered under this key before a rule of who may enter what refused it; else that refusal."""
    if refused.code not in RULES_OF_ENTRY:
        raise refused
    stored = await service.pool.fetchrow(
        "SELECT body, answer, status FROM api.answer WHERE scope = $1 AND endpoint = $2 AND idempotency_key = $3",
        *(submission.scope, submission.endpoint, submission.key),
    )
    if stored is None:
        raise refused
    if stored["body"] != submission.body.decode():
        fields = differing_fields(msgspec.json.decode(stored["body"]), msgspec.json.decode(submission.body))
        raise Problem("IDEMPOTENCY_KEY_REUSED", f"these fields differ from the first body: {', '.join(fields)}", fields=fields)
    return stored["status"], stored["answer"], {"Idempotency-Replayed": "true"}


async def _post(service: Service, rehearses: bool, submission: Submission) -> tuple[int, str, dict[str, str]]:
    rule = service.settings.closed_day_rule
    if rehearses:
        answer = await post_by_rule(service.pool, rule, submission, lambda one: service.poster.rehearse(service.pool, one))
        if not answer.is_replay:
            return 200, answer.body, {"Fundwatch-Dry-Run": "true"}
    else:
        answer = await post_by_rule(service.pool, rule, submission, service.poster.submit)
    return 201, answer.body, {"Idempotency-Replayed": "true"} if answer.is_replay else {}
