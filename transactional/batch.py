"""What one call of the posting functions carries: orders taken apart into flat lists, numbered from 0 by `o`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fundwatch.settings import Settings
from transactional.bodies import Bulk, Order, canonical, digest

ORDERS = "POST /v1/orders"
BULK = "POST /v1/orders/bulk"


@dataclass(frozen=True, slots=True)
class Submission:
    """One request on its way to the database: orders under one idempotency key of one scope."""

    endpoint: str
    scope: str
    key: str
    body: bytes
    orders: Sequence[Order]

    @property
    def identity(self) -> tuple[str, str, str]:
        """What the idempotency key is unique in."""
        return self.scope, self.endpoint, self.key


def of_order(scope: str, key: str, order: Order) -> Submission:
    """A submission of a single order."""
    return Submission(ORDERS, scope, key, canonical(order), (order,))


def of_bulk(scope: str, key: str, bulk: Bulk) -> Submission:
    """A submission of many orders, all or nothing."""
    return Submission(BULK, scope, key, canonical(bulk), bulk.orders)


def batch(settings: Settings, submissions: Sequence[Submission]) -> dict[str, Any]:
    """Argument of `ledger.post_all`: either single orders, each with its key, or one bulk submission."""
    answers: list[dict[str, Any]] = []
    orders: list[dict[str, Any]] = []
    movements: list[dict[str, Any]] = []
    holds: list[dict[str, Any]] = []
    for index, submission in enumerate(submissions):
        body = submission.body
        answers.append(
            {"o": index, "scope": submission.scope, "key": submission.key, "hash": digest(body), "body": body.decode()}
        )
        for order in submission.orders:
            _take_apart(order, len(orders), orders, movements, holds)
    return {
        "endpoint": submissions[0].endpoint,
        "bulk": submissions[0].endpoint == BULK,
        "zone": str(settings.zone),
        "cutoff": settings.cutoff.isoformat(),
        "answers": answers,
        "orders": orders,
        "movements": movements,
        "holds": holds,
    }


def encode(batches: Any) -> str:
    """JSON text of one batch or a list of them."""
    return msgspec.json.encode(batches).decode()


def _take_apart(
    order: Order, o: int, orders: list[dict[str, Any]], movements: list[dict[str, Any]], holds: list[dict[str, Any]]
) -> None:
    orders.append(
        {
            "o": o,
            "platform_id": order.platform_id,
            "request_no": order.request_no,
            "order_type": order.order_type,
            "currency": order.currency,
            "reverses_request_no": order.reverses_request_no,
            "simulated_at": order.simulated_at,
            "effective_at": order.effective_at,
        }
    )
    for seq, movement in enumerate(order.movements, 1):
        movements.append(
            {
                "o": o,
                "seq": seq,
                "movement_type": movement.movement_type,
                "debit_account": movement.debit_account,
                "credit_account": movement.credit_account,
                "amount_minor": movement.amount_minor,
                "loan_no": movement.loan_no,
                "issue_no": movement.issue_no,
                "component": movement.component,
                "claim_no": movement.claim_no,
            }
        )
    for position, hold_no in enumerate(order.release_holds):
        holds.append({"o": o, "position": position, "hold_no": hold_no, "event_type": "RELEASE"})
    for position, hold in enumerate(order.place_holds):
        placed = {"hold_no": hold.hold_no, "account": hold.account, "amount_minor": hold.amount_minor}
        holds.append({"o": o, "position": position, "event_type": "PLACE", **placed})
