"""Verifying book B and remembering what was found: the night looks since the newest anchor, the command at all of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from domain.errors import CheckFailed
from fundwatch.settings import Settings

if TYPE_CHECKING:
    from transactional.verify import Verdict

_KEPT = """
insert into run.ledger_verification (began_at, ended_at, since_block, blocks, movements, head, faults, first_fault)
values (%s, %s, %s, %s, %s, %s, %s, %s)"""
_NEWEST = """
select distinct on (since_block = 0) ended_at, since_block, blocks, movements, faults, first_fault
from run.ledger_verification order by since_block = 0, verification_id desc"""


class LedgerFaulty(CheckFailed):
    """Rows of the ledger are not what its movements, chains and anchors say: nothing may be published from it (exit code 10)."""


def examined(settings: Settings, since: int | None = None, keep_anchor: bool = True) -> Verdict:
    """Verify the ledger behind block `since` (0: all of it; None: behind the newest anchor) and write down what was found.

    Role `verifier` reads, role `jobs` writes `run.ledger_verification`. A clean ledger leaves an anchor outside the database.
    ServiceMissing: PostgreSQL does not answer; WrongUse: there is no such block.
    """
    from transactional.verify import newest_anchored_block, verify
    from transactional.verify_anchors import Anchors

    url, anchors, began_at = settings.database_url("verifier"), Anchors(settings.home / "anchors"), datetime.now(UTC)
    verdict = verify(url, anchors, newest_anchored_block(url, anchors) if since is None else since)
    _remember(settings, began_at, verdict)
    if keep_anchor and not verdict.faults:
        anchors.keep(url)
    return verdict


def verify_ledger(settings: Settings) -> dict[str, Any]:
    """Verify the ledger since the newest anchor outside the database, in full when there is none; a clean one leaves an anchor.

    Answers the head of the chain and what was looked at: ``{block_no, hash, ledger_no, movements, unsealed, since_block}``;
    `hash` is that of block `block_no`, `ledger_no` its last number, both None and 0 when nothing is sealed yet.
    LedgerFaulty names the first row at fault and how many were found; ServiceMissing: PostgreSQL does not answer.
    """
    verdict = examined(settings)
    if verdict.faults:
        first = verdict.faults[0]
        raise LedgerFaulty(f"the ledger has {len(verdict.faults)} faults, the first in {first.row}: {first.what} ({first.check})")
    return {
        "block_no": verdict.blocks,
        "hash": verdict.head,
        "ledger_no": verdict.ledger_no,
        "movements": verdict.movements,
        "unsealed": verdict.unsealed,
        "since_block": verdict.since,
    }


def newest_verifications(settings: Settings) -> dict[str, dict[str, Any]]:
    """The last verification of all (`full`) and the last since a block (`since_anchor`), those there are.

    Each ``{ended_at, since_block, blocks, movements, faults, first_fault}``. ServiceMissing: PostgreSQL does not answer.
    """
    from psycopg.rows import dict_row

    from lake.postgres import connection

    with connection(settings) as database, database.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_NEWEST).fetchall()
    return {
        "since_anchor" if row["since_block"] else "full": row | {"ended_at": row["ended_at"].astimezone(UTC).isoformat()}
        for row in rows
    }


def _remember(settings: Settings, began_at: datetime, verdict: Verdict) -> None:
    from lake.postgres import connection

    first = f"{verdict.faults[0].row}: {verdict.faults[0].what}" if verdict.faults else None
    figures = (verdict.since, verdict.blocks, verdict.movements, verdict.head, len(verdict.faults), first)
    with connection(settings) as database:
        database.execute(_KEPT, (began_at, datetime.now(UTC), *figures))
