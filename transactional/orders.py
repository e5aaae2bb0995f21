"""`POST /v1/orders` and `/v1/orders/bulk`: raw requests, msgspec, group commit (contracts section 5)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.money import MINOR_DIGITS
from domain.vocabulary import ORDERS_OF_THE_BANK
from transactional.batch import Submission, of_bulk, of_order
from transactional.bodies import MOVEMENTS_MAX, Bulk, Order, check_names, decode
from transactional.idempotent import KEY_AND_DRY_RUN, idempotency_key, is_dry_run
from transactional.keys import EVERY_PLATFORM, covers
from transactional.late_effects import post_by_rule
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1/orders", tags=["orders"])
ORDER_BYTES_MAX = 4 * 1024 * 1024
BULK_BYTES_MAX = 8 * 1024 * 1024
FIRST_TIME, LAST_TIME = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@router.post("", status_code=201, openapi_extra=KEY_AND_DRY_RUN)
async def post_order(request: Request) -> Response:
    """Post one order, whole or not at all; 201 with its ids, business date and time."""
    scope, key = await scope_of(request), idempotency_key(request)
    raw = await read_body(request, ORDER_BYTES_MAX)
    order = decode(Order, raw)
    check_names(raw)
    _check(scope, order, "")
    return await _post(request, of_order(scope, key, order))


@router.post("/bulk", status_code=201, openapi_extra=KEY_AND_DRY_RUN)
async def post_orders(request: Request) -> Response:
    """Post up to 1,000 orders, all of them or none; with `atomic` false each has a verdict of its own. 201 with their numbers."""
    scope, key = await scope_of(request), idempotency_key(request)
    raw = await read_body(request, BULK_BYTES_MAX)
    bulk = decode(Bulk, raw)
    check_names(raw)
    for index, order in enumerate(bulk.orders):
        _check(scope, order, f"orders[{index}].")
    if sum(len(order.movements) for order in bulk.orders) > MOVEMENTS_MAX:
        raise Problem("BODY_TOO_LARGE", f"a call carries at most {MOVEMENTS_MAX} movements")
    if bulk.atomic is True:  # said or not, it is the same call
        bulk = msgspec.structs.replace(bulk, atomic=msgspec.UNSET)
    return await _post(request, of_bulk(scope, key, bulk))


def _check(scope: str, order: Order, where: str) -> None:
    if not covers(scope, order.platform_id):
        raise Problem("OTHER_PLATFORM", f"the key does not cover platform {order.platform_id}", field=f"{where}platform_id")
    if scope != EVERY_PLATFORM and order.order_type in ORDERS_OF_THE_BANK:
        raise Problem("ORDER_OF_THE_BANK", f"{order.order_type} is entered by the bank", field=f"{where}order_type")
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


async def _post(request: Request, submission: Submission) -> Response:
    service = service_of(request)
    rule = service.settings.closed_day_rule
    if request.scope["query_string"] and is_dry_run(request):
        answer = await post_by_rule(service.pool, rule, submission, lambda one: service.poster.rehearse(service.pool, one))
        if not answer.is_replay:
            return Response(answer.body, 200, {"Fundwatch-Dry-Run": "true"}, "application/json")
    else:
        answer = await post_by_rule(service.pool, rule, submission, service.poster.submit)
    headers = {"Idempotency-Replayed": "true"} if answer.is_replay else {}
    return Response(answer.body, 201, headers, "application/json")
