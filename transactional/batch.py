"""What one call of the posting functions carries: typed lists for the fast path, JSON for the careful one (decision 0011)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import accumulate
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


# where an argument of `ledger.post_fast` is the text of an array
ARRAYS = {9: "int[]", 10: "text[]", 11: "bigint[]", 12: "int[]", 13: "int[]", 16: "text[]"} | {
    place: "bigint[]" if place == 23 else "int[]" for place in range(18, 24)
}
ARGUMENTS = 39


def lists(settings: Settings, submissions: Sequence[Submission]) -> list[Any]:
    """Arguments of `ledger.post_fast`: either single orders, each with its key, or one bulk submission; all of them plain."""
    orders = [order for submission in submissions for order in submission.orders]
    is_one_each = all(len(order.movements) == 1 and not order.place_holds for order in orders)
    kinds: dict[tuple[str, str, str, str], int] = {}  # of orders: what many of them share is sent once
    p_kind: list[int] = []
    for submission in submissions:
        by = f"key:{submission.scope}"
        p_kind += [
            kinds.setdefault((order.platform_id, order.order_type, order.currency, by), len(kinds) + 1)
            for order in submission.orders
        ]
    return [
        settings.zone.key,
        timedelta(hours=settings.cutoff.hour, minutes=settings.cutoff.minute, seconds=settings.cutoff.second),
        submissions[0].endpoint,
        submissions[0].endpoint == BULK,
        *map(list, zip(*kinds, strict=True)),
        _ints(p_kind),
        _texts([order.request_no for order in orders]),
        *_sums(orders, is_one_each),
        _given([order.simulated_at for order in orders]),
        _given([order.effective_at for order in orders]),
        *_legs(orders, is_one_each),
        *_holds(orders),
        [submission.scope for submission in submissions],
        [submission.key for submission in submissions],
        [sha256(submission.body).digest() for submission in submissions],
        [submission.body.decode() for submission in submissions],
    ]


def _sums(orders: Sequence[Order], is_one_each: bool) -> list[str | None]:
    """Columns of the orders: amount, place of the first movement, how many there are; null when each order is one movement."""
    if is_one_each:
        return [None, None, None]
    counts = [len(order.movements) for order in orders]
    amounts = [
        sum(leg.amount_minor for leg in order.movements) + sum(hold.amount_minor for hold in order.place_holds)
        for order in orders
    ]
    return [_ints(amounts), _ints([0, *accumulate(counts)][:-1]), _ints(counts)]


def _legs(orders: Sequence[Order], is_one_each: bool) -> list[Any]:
    """Account numbers and movement types, each once, and the columns of the movements, which name both by their places."""
    legs = [leg for order in orders for leg in order.movements]
    accounts: dict[str, int] = {}
    types: dict[str, int] = {}
    debits = [accounts.setdefault(leg.debit_account, len(accounts) + 1) for leg in legs]
    credits = [accounts.setdefault(leg.credit_account, len(accounts) + 1) for leg in legs]
    kinds = [types.setdefault(leg.movement_type, len(types) + 1) for leg in legs]
    return [
        _texts(accounts),
        list(types),
        None if is_one_each else _ints([o for o, order in enumerate(orders, 1) for _ in order.movements]),
        None if is_one_each else _ints([seq for order in orders for seq in range(1, len(order.movements) + 1)]),
        _ints(kinds),
        _ints(debits),
        _ints(credits),
        _ints([leg.amount_minor for leg in legs]),
        _given([leg.loan_no for leg in legs]),
        _given([leg.issue_no for leg in legs]),
        _given([leg.component for leg in legs]),
        _given([leg.claim_no for leg in legs]),
    ]


# Long lists go as the text of an array: the driver looks at each element of a list three times.
def _ints(numbers: Sequence[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def _texts(texts: Iterable[str]) -> str:
    """Of identifiers that were checked: none holds a quote or an escape."""
    joined = '","'.join(texts)
    return f'{{"{joined}"}}' if joined else "{}"


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
