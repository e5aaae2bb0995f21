"""The loop of the live reconciliation: turn by turn what the outbox and the platforms brought, and what is due by time.

Each turn is one transaction of `live.turn`; any number of loops may run, one works at a time. Killed anywhere and run again, the
verdicts are the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import asyncpg

EVENTS_A_TURN_MAX = 100
POSTINGS_A_TURN_MAX = 20_000
PAUSE_S = 1.0
_HEALTH = "SELECT platforms, waiting, breaks, round(lag_s::numeric, 2)::double precision AS lag_s FROM live.health()"
log = logging.getLogger(__name__)


async def turn(pool: Any, wait_s: int) -> dict[str, int] | None:
    """One turn: `{"taken": events, postings and due keys, "verdicts": new ones}`; None when another loop is at it."""
    done = await pool.fetchval("SELECT live.turn($1, $2, $3)", EVENTS_A_TURN_MAX, POSTINGS_A_TURN_MAX, wait_s)
    return None if done is None else dict(json.loads(done))


async def reconcile_forever(pool: Any, wait_s: int) -> None:
    """Take turns without end, at once again while there is something; a lost database is waited for."""
    while True:
        try:
            while (done := await turn(pool, wait_s)) is not None and done["taken"]:
                pass
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            log.warning("the live reconciliation waits for the database: %s", error)
        await asyncio.sleep(PAUSE_S)


async def health(pool: Any) -> dict[str, Any]:
    """`{platforms, waiting, breaks, lag_s}`: who takes part, keys that wait and are open, age of the oldest unread word."""
    return dict(await pool.fetchrow(_HEALTH))


async def run_alone(url: str, wait_s: int) -> None:
    """The loop in a process of its own, until it is cancelled."""
    async with asyncpg.create_pool(url, min_size=1, max_size=1, timeout=10, command_timeout=60) as pool:
        await reconcile_forever(pool, wait_s)
