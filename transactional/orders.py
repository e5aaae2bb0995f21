"""`POST /v1/orders` and `/v1/orders/bulk`: raw requests, msgspec, group commit (contracts section 5)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.batch import Submission, of_bulk, of_order
from transactional.bodies import MOVEMENTS_MAX, Bulk, Order, decode
from transactional.idempotent import KEY_LENGTH_MAX, idempotency_key
from transactional.keys import covers
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1/orders", tags=["orders"])
_KEY = {
    "parameters": [
        {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string", "maxLength": KEY_LENGTH_MAX}}
    ]
}


@router.post("", status_code=201, openapi_extra=_KEY)
async def post_order(request: Request) -> Response:
    """Post one order, whole or not at all; 201 with its ids, business date and time."""
    scope, key = await scope_of(request), idempotency_key(request)
    order = decode(Order, await read_body(request))
    _check(scope, order, "")
    return await _post(request, of_order(scope, key, order))


@router.post("/bulk", status_code=201, openapi_extra=_KEY)
async def post_orders(request: Request) -> Response:
    """Post up to 1,000 orders, all of them or none; 201 with their numbers."""
    scope, key = await scope_of(request), idempotency_key(request)
    bulk = decode(Bulk, await read_body(request))
    for index, order in enumerate(bulk.orders):
        _check(scope, order, f"orders[{index}].")
    if sum(len(order.movements) for order in bulk.orders) > MOVEMENTS_MAX:
        raise Problem("BODY_TOO_LARGE", f"a call carries at most {MOVEMENTS_MAX} movements")
    return await _post(request, of_bulk(scope, key, bulk))


def _check(scope: str, order: Order, where: str) -> None:
    if not covers(scope, order.platform_id):
        raise Problem("OTHER_PLATFORM", f"the key does not cover platform {order.platform_id}", field=f"{where}platform_id")
    if not (order.movements or order.place_holds or order.release_holds):
        raise Problem("BODY_INVALID", "an order moves money, places or releases holds", field=f"{where}movements")


async def _post(request: Request, submission: Submission) -> Response:
    answer = await service_of(request).poster.submit(submission)
    headers = {"Idempotency-Replayed": "true"} if answer.is_replay else {}
    return Response(answer.body, 201, headers, "application/json")
