"""What becomes of adjustments and legal holds because time passes or money came in: recorded as events, seconds later at most.

Nothing waits for it to be safe: an answer after 72 hours is refused without it, and a freeze that lacks money keeps its account
locked.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import time
from itertools import count
from typing import Any

TURN_S = 2.0
AT_ONCE_MAX = 200
# function → every how many turns: a freeze ends with a day, and looking for one reads every hold in force
TURNS = {"work.expire_consents": 1, "work.top_up_legal_holds": 1, "work.expire_legal_holds": 30}
log = logging.getLogger(__name__)


async def keep_time(pool: Any) -> None:
    """Take turns for ever; a failure is logged and tried again."""
    for turn in count():
        for function, every in TURNS.items():
            if turn % every == 0:
                await _run(pool, function)
        await asyncio.sleep(TURN_S)


async def _run(pool: Any, function: str) -> None:
    try:
        await pool.fetchval(f"SELECT {function}($1)", AT_ONCE_MAX)
    except Exception:
        log.exception("%s failed", function)


async def keep_day_rule(pool: Any, zone: str, cutoff: time) -> None:
    """Tell the database how a business date follows from a moment; a row is added only when that changed."""
    cutoff_s = cutoff.hour * 3600 + cutoff.minute * 60 + cutoff.second
    await pool.execute("SELECT work.keep_day_rule($1, $2)", zone, cutoff_s)
