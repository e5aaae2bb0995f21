"""What one call of the posting functions carries: typed lists for the fast path, JSON for the careful one (decision 0011)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
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
    # a bulk call whose orders are judged one by one
    is_each: bool = False

    @property
    def identity(self) -> tuple[str, str, str]:
        """What the idempotency key is unique in."""
        return self.scope, self.endpoint, self.key

    @property
    def is_plain(self) -> bool:
        """Whether the fast path may take it: no reversal, no capture, one verdict for all."""
        return not self.is_each and all(
            order.reverses_request_no is None and order.capture_holds is msgspec.UNSET for order in self.orders
        )


def of_order(scope: str, key: str, order: Order) -> Submission:
    """A submission of a single order."""
    return Submission(ORDERS, scope, key, canonical(order), (order,))


def of_bulk(scope: str, key: str, bulk: Bulk) -> Submission:
    """A submission of many orders, all or nothing unless the call says otherwise."""
    return Submission(BULK, scope, key, canonical(bulk), bulk.orders, bulk.atomic is False)


def lists(settings: Settings, submissions: Sequence[Submission]) -> list[Any]:
    """Arguments of `ledger.post_fast`: either single orders, each with its key, or one bulk submission; all of them plain."""
    orders = [order for submission in submissions for order in submission.orders]
    legs = [(o, seq, leg) for o, order in enumerate(orders, 1) for seq, leg in enumerate(order.movements, 1)]
    places: dict[str, int] = {}  # of account numbers, each sent once
    debits = [places.setdefault(leg.debit_account, len(places) + 1) for _, _, leg in legs]
    credits = [places.setdefault(leg.credit_account, len(places) + 1) for _, _, leg in legs]
    counts = [len(order.movements) for order in orders]
    firsts = [0] * len(orders)
    for place in range(1, len(orders)):
        firsts[place] = firsts[place - 1] + counts[place - 1]
    return [
        settings.zone.key,
        timedelta(hours=settings.cutoff.hour, minutes=settings.cutoff.minute, seconds=settings.cutoff.second),
        submissions[0].endpoint,
        submissions[0].endpoint == BULK,
        [order.platform_id for order in orders],
        [order.request_no for order in orders],
        [order.order_type for order in orders],
        [order.currency for order in orders],
        [f"key:{submission.scope}" for submission in submissions for _ in submission.orders],
        [
            sum(leg.amount_minor for leg in order.movements) + sum(hold.amount_minor for hold in order.place_holds)
            for order in orders
        ],
        firsts,
        counts,
        _given([order.simulated_at for order in orders]),
        _given([order.effective_at for order in orders]),
        list(places),
        [o for o, _, _ in legs],
        [seq for _, seq, _ in legs],
        [leg.movement_type for _, _, leg in legs],
        debits,
        credits,
        [leg.amount_minor for _, _, leg in legs],
        _given([leg.loan_no for _, _, leg in legs]),
        _given([leg.issue_no for _, _, leg in legs]),
        _given([leg.component for _, _, leg in legs]),
        _given([leg.claim_no for _, _, leg in legs]),
        *_holds(orders),
        [submission.scope for submission in submissions],
        [submission.key for submission in submissions],
        [sha256(submission.body).digest() for submission in submissions],
        [submission.body.decode() for submission in submissions],
    ]


def _given(values: list[Any]) -> list[Any] | None:
    """None for a column that nobody fills: it costs nothing on its way to the database."""
    return values if any(value is not None for value in values) else None


def _holds(orders: Sequence[Order]) -> list[list[Any] | None]:
    """Columns of the holds: order, event, number, account, amount, expiry, platform, currency."""
    rows: list[tuple[Any, ...]] = []
    for o, order in enumerate(orders, 1):
        for hold_no in order.release_holds:
            rows.append((o, "RELEASE", hold_no, None, None, None, order.platform_id, order.currency))
        for hold in order.place_holds:
            expires_at = None if hold.expires_at is msgspec.UNSET else hold.expires_at
            row = (o, "PLACE", hold.hold_no, hold.account, hold.amount_minor, expires_at, order.platform_id, order.currency)
            rows.append(row)
    return [list(column) for column in zip(*rows, strict=True)] if rows else [None] * 8


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
            _take_apart(order, len(orders), f"key:{submission.scope}", orders, movements, holds)
    return {
        "endpoint": submissions[0].endpoint,
        "bulk": submissions[0].endpoint == BULK,
        "each": submissions[0].is_each,
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
    order: Order,
    o: int,
    entered_by: str,
    orders: list[dict[str, Any]],
    movements: list[dict[str, Any]],
    holds: list[dict[str, Any]],
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
            "entered_by": entered_by,
        }
    )
    for seq, movement in enumerate(order.movements, 1):
        movements.append({"o": o, "seq": seq, **msgspec.to_builtins(movement)})
    for position, hold_no in enumerate(order.release_holds):
        holds.append({"o": o, "position": position, "hold_no": hold_no, "event_type": "RELEASE"})
    for position, capture in enumerate(order.capture_holds or ()):
        holds.append({"o": o, "position": position, "event_type": "CAPTURE", **msgspec.to_builtins(capture)})
    for position, hold in enumerate(order.place_holds):
        holds.append({"o": o, "position": position, "event_type": "PLACE", **msgspec.to_builtins(hold)})
