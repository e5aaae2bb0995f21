"""Posting an order inside a service's own transaction: the money and what the service records of it are one commit."""

from __future__ import annotations

from typing import Any

import msgspec

from fundwatch.settings import Settings
from transactional.batch import ORDERS, Submission, batch, encode
from transactional.bodies import Order


async def post_within(connection: Any, settings: Settings, order: Order, entered_by: str) -> dict[str, Any]:
    """Post an order through `ledger.post_all` in the transaction that `connection` is in; answers its ids and dates.

    It takes the posting lock until that transaction ends, so it comes late in it. What the engine refuses is raised as FW422 and
    undoes the whole transaction. `entered_by` is ``key:SCOPE`` or the login name of a person.
    """
    argument = batch(settings, [Submission(ORDERS, "", "", b"{}", (order,))])
    argument["answers"] = []
    for one in argument["orders"]:
        one["entered_by"] = entered_by
    (answer,) = await connection.fetchval("SELECT ledger.post_all($1::jsonb)", encode([argument])[1:-1])
    posted: dict[str, Any] = msgspec.json.decode(answer)
    return posted
