"""The night's look at the ledger: since the newest anchor, as `verifier`; a fault stops it, a clean head goes into manifests."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import psycopg
import pytest

from fundwatch import night
from fundwatch.ledger_check import LedgerFaulty, verify_ledger
from lake.manifest import manifest
from lake.steps import Run, StepResult
from spark_jobs import verify as verify_step

LENDER = "P01-L-000001"


def _seal(api: Any) -> None:
    with psycopg.connect(api.admin_url) as owner:
        owner.execute("SELECT ledger.seal_pending(10)")


@pytest.fixture
def sealed(api: Any) -> Any:
    """A ledger with one sealed movement."""
    api.recharge(LENDER, 5, simulated_at="2026-08-01T10:00:00Z")
    _seal(api)
    return api


def test_the_first_night_verifies_all_and_the_next_what_came_after_it(sealed: Any, database: Any) -> None:
    first = verify_ledger(database.settings)
    sealed.recharge(LENDER, 6)
    _seal(sealed)
    second = verify_ledger(database.settings)
    heads = sealed.rows("SELECT block_no, encode(hash, 'hex'), last_ledger_no FROM ledger.seal_block ORDER BY 1")
    assert [(each["block_no"], each["hash"], each["ledger_no"]) for each in (first, second)] == heads
    assert [each["since_block"] for each in (first, second)] == [0, 1]
    assert second["movements"] == 2


def test_an_empty_ledger_has_no_head_and_no_fault(api: Any, database: Any) -> None:
    found = verify_ledger(database.settings)
    assert (found["block_no"], found["hash"], found["ledger_no"]) == (0, None, 0)


def test_a_row_at_fault_fails_the_step_of_the_night_and_leaves_no_anchor(
    sealed: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_step, "run", lambda context: StepResult(0, 0, {}, {}))
    with psycopg.connect(sealed.admin_url) as owner:
        owner.execute("UPDATE ledger.balance SET version = version + 1 WHERE version > 0")
    with pytest.raises(LedgerFaulty, match=r"the ledger has \d+ faults, the first in balance of account \d+"):
        night._execute(database.settings, _run(), night.step_named("verify"), _Session())
    assert not (database.settings.home / "anchors" / f"{database.name}.jsonl").exists()


def test_the_manifest_of_the_night_holds_the_head_that_its_step_verified(
    sealed: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_step, "run", lambda context: StepResult(0, 0, {}, {"residual_rows": 0}))
    monkeypatch.setattr("lake.content.contents", lambda context, names: {})
    told = night._execute(database.settings, _run(), night.step_named("verify"), _Session()).detail
    assert told["residual_rows"] == 0
    written = manifest(_run(), {}, [], {}, None, json.loads(json.dumps(told["ledger"])))
    ((head,),) = sealed.rows("SELECT encode(hash, 'hex') FROM ledger.seal_block")
    assert (written["ledger"]["hash"], written["ledger"]["block_no"]) == (head, 1)


class _Session:
    """Stands where the Spark session stands; the parts that would use it are replaced."""


def _run() -> Run:
    day = date(2026, 8, 1)
    return Run(1, day, day, None, None, 1, {}, "0", "OPEN")
