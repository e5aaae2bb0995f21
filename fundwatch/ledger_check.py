"""The night looks at book B itself: what came after the newest anchor, all of it when there is none."""

from __future__ import annotations

from typing import Any

from domain.errors import CheckFailed
from fundwatch.settings import Settings


class LedgerFaulty(CheckFailed):
    """Rows of the ledger are not what its movements, chains and anchors say: nothing may be published from it (exit code 10)."""


def verify_ledger(settings: Settings) -> dict[str, Any]:
    """Verify the ledger since the newest anchor outside the database, in full when there is none; a clean one leaves an anchor.

    Answers the head of the chain and what was looked at: ``{block_no, hash, ledger_no, movements, unsealed, since_block}``;
    `hash` is that of block `block_no`, `ledger_no` its last number, both None and 0 when nothing is sealed yet.
    LedgerFaulty names the first row at fault and how many were found; ServiceMissing: PostgreSQL does not answer.
    """
    from transactional.verify import newest_anchored_block, verify
    from transactional.verify_anchors import Anchors

    url, anchors = settings.database_url("jobs"), Anchors(settings.home / "anchors")
    verdict = verify(url, anchors, newest_anchored_block(url, anchors))
    if verdict.faults:
        first = verdict.faults[0]
        raise LedgerFaulty(f"the ledger has {len(verdict.faults)} faults, the first in {first.row}: {first.what} ({first.check})")
    anchors.keep(url)
    return {
        "block_no": verdict.blocks,
        "hash": verdict.head,
        "ledger_no": verdict.ledger_no,
        "movements": verdict.movements,
        "unsealed": verdict.unsealed,
        "since_block": verdict.since,
    }
