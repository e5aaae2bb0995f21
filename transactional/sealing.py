"""The sealer: gapless ledger numbers, the hash chains of movements and changes, outside the hot path (architecture 6.5)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg

BLOCKS_A_CALL_MAX = 5
CHANGES_A_BLOCK_MAX = 1_000
PAUSE_S = 0.25
log = logging.getLogger(__name__)


async def seal_now(pool: Any) -> int:
    """Seal every movement committed so far; returns how many were sealed."""
    total = 0
    while sealed := await pool.fetchval("SELECT ledger.seal_pending($1)", BLOCKS_A_CALL_MAX):
        total += sealed
    return total


async def seal_changes(pool: Any) -> int:
    """Seal every audited change committed so far; returns how many were sealed."""
    total = 0
    while sealed := await pool.fetchval("SELECT audit.seal_pending($1)", CHANGES_A_BLOCK_MAX):
        total += sealed
    return total


async def seal_forever(pool: Any) -> None:
    """Seal what comes, again and again; a lost database is waited for, since sealing may lag but never skip."""
    while True:
        try:
            await seal_now(pool)
            await seal_changes(pool)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            log.warning("sealing waits for the database: %s", error)
        await asyncio.sleep(PAUSE_S)
