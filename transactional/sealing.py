"""The sealer: gapless ledger numbers, hash chains of movements, holds and changes, outside the hot path (architecture 6.5)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import asyncpg

BLOCKS_A_CALL_MAX = 5
CHANGES_A_BLOCK_MAX = 1_000
MOVEMENTS_A_BLOCK = 1_000  # as ledger.seal_pending takes
PAUSE_S = 0.25
log = logging.getLogger(__name__)


async def seal_changes(pool: Any) -> int:
    """Seal every audited change committed so far; returns how many were sealed."""
    total = 0
    while sealed := await pool.fetchval("SELECT audit.seal_pending($1)", CHANGES_A_BLOCK_MAX):
        total += sealed
    return total


async def seal_holds(pool: Any) -> int:
    """Seal every hold event committed so far; returns how many were sealed."""
    total = 0
    while sealed := await pool.fetchval("SELECT ledger.seal_holds($1)", BLOCKS_A_CALL_MAX):
        total += sealed
    return total


class Sealer:
    """Seals what comes, again and again; `window_s` is for how long a movement or hold may be in no block at most."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._caught_up_at = time.monotonic()

    @property
    def window_s(self) -> float:
        """Seconds since everything committed by then was sealed: no movement or hold older than that waits."""
        return time.monotonic() - self._caught_up_at

    async def seal_forever(self) -> None:
        """Seal without end; a lost database is waited for, since sealing may lag but never skip."""
        while True:
            try:
                await self._turn()
                await seal_changes(self._pool)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("sealing waits for the database: %s", error)
            await asyncio.sleep(PAUSE_S)

    async def _turn(self) -> None:
        """Seal until a call found less than it may take: then all that was committed before that call is sealed."""
        holds_from = time.monotonic()
        await seal_holds(self._pool)
        sealed = BLOCKS_A_CALL_MAX * MOVEMENTS_A_BLOCK
        while sealed >= BLOCKS_A_CALL_MAX * MOVEMENTS_A_BLOCK:
            began = time.monotonic()
            sealed = await self._pool.fetchval("SELECT ledger.seal_pending($1)", BLOCKS_A_CALL_MAX)
        self._caught_up_at = min(began, holds_from)
