"""Holds whose time is over are let go by the service, each as a recorded order of its own: never a silent change."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import asyncpg

from fundwatch.settings import Settings

HOLDS_A_CALL_MAX = 100
PAUSE_S = 0.5
log = logging.getLogger(__name__)


async def expire_now(settings: Settings, pool: Any) -> int:
    """End every hold whose `expires_at` has come by the service's clock; returns how many."""
    cutoff = timedelta(hours=settings.cutoff.hour, minutes=settings.cutoff.minute, seconds=settings.cutoff.second)
    total = 0
    while expired := await pool.fetchval("SELECT ledger.expire_holds($1, $2, $3)", HOLDS_A_CALL_MAX, settings.zone.key, cutoff):
        total += expired
    return total


async def expire_forever(settings: Settings, pool: Any) -> None:
    """Do so again and again; until an expiry is recorded its money stays held, so a lost database is only waited for."""
    while True:
        try:
            await expire_now(settings, pool)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            log.warning("expiry of holds waits for the database: %s", error)
        await asyncio.sleep(PAUSE_S)
