"""Orders whose effect lies in a business date that is closed: refused, or moved to the next one, by setting `closed_day_rule`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec

from transactional.batch import Submission
from transactional.posting import Answer
from transactional.problems import Problem

REFUSE, NEXT_DAY = "refuse", "next_day"
# a day may close between looking and posting, hardly ever two
TRIES_MAX = 3
Post = Callable[[Submission], Awaitable[Answer]]


async def post_by_rule(pool: Any, rule: str, submission: Submission, post: Post) -> Answer:
    """Post a submission; by rule `next_day` effects in closed days take place with the opening of the first open day.

    The database refuses an effect in a closed day whoever asks (migration 0020), so nothing slips in by looking late. The key
    stands for the body that was sent. Raises what `post` raises, EFFECTIVE_IN_CLOSED_DAY by rule `refuse`.
    """
    for _ in range(TRIES_MAX - 1):
        try:
            return await post(submission)
        except Problem as refused:
            if refused.code != "EFFECTIVE_IN_CLOSED_DAY" or rule != NEXT_DAY:
                raise
        opening = await pool.fetchval("SELECT max(ends_at) FROM ledger.day_close")
        moved = [
            msgspec.structs.replace(order, effective_at=opening)
            if order.effective_at is not None and order.effective_at < opening
            else order
            for order in submission.orders
        ]
        submission = replace(submission, orders=moved)
    return await post(submission)
