"""The bank's last order of every withdrawal follows from what core banking answered, by itself and once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg

from fundwatch.settings import Settings
from transactional.withdrawal_orders import settle

WITHDRAWALS_A_TURN_MAX = 100
PAUSE_S = 1.0
log = logging.getLogger(__name__)


async def settle_now(settings: Settings, pool: Any) -> int:
    """Settle every withdrawal that was paid or failed, each in a transaction of its own; returns how many were settled.

    One that the engine refuses (a fee that the platform has spent, a closed account) is left for people and logged.
    """
    settled = 0
    for due in await pool.fetch("SELECT * FROM payments.to_settle LIMIT $1", WITHDRAWALS_A_TURN_MAX):
        try:
            async with pool.acquire() as connection, connection.transaction():
                await settle(settings, connection, due)
            settled += 1
        except asyncpg.PostgresError as error:
            if error.sqlstate != "FW422":
                raise
            log.error("withdrawal %s of %s cannot be settled: %s", due["withdrawal_no"], due["platform_id"], error)
    return settled


async def settle_returns(pool: Any) -> int:
    """Post the last order of every return of a receipt that core banking paid or could not pay; returns how many."""
    settled = 0
    due = "SELECT DISTINCT platform_id, receipt_no FROM payments.receipts_to_settle LIMIT $1"
    for row in await pool.fetch(due, WITHDRAWALS_A_TURN_MAX):
        settled += await pool.fetchval("SELECT payments.settle_receipt($1, $2)", row["platform_id"], row["receipt_no"])
    return settled


async def settle_forever(settings: Settings, pool: Any) -> None:
    """Do so again and again; a lost database is waited for, since nothing is settled twice."""
    while True:
        try:
            await settle_now(settings, pool)
            await settle_returns(pool)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            log.warning("settling waits for the database: %s", error)
        await asyncio.sleep(PAUSE_S)
