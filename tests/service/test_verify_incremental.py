"""`ledger verify --since`: only what came after a block, believed up to there because an anchor outside holds that block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import CheckFailed, Failed, WrongUse
from fundwatch.commands.ledger import verify as command
from fundwatch.commands.services import _verifications
from fundwatch.settings import load
from transactional import verify_anchors
from transactional.verify import newest_anchored_block, verify
from transactional.verify_anchors import Anchors

LENDER, OTHER, CHANNEL = "P01-L-000001", "P01-L-000002", "P01-X-CHANNEL-PC01"


@pytest.fixture
def grown(api: Any, tmp_path: Path) -> tuple[Any, Anchors]:
    """A ledger with an anchor behind which more came: money, a hold, a reversal; sealed."""
    for amount in (100, 200):
        _at(api, amount)
        api.recharge(LENDER, amount)
    hold = [{"hold_no": "H", "account": LENDER, "amount_minor": 30}]
    assert api.post(api.order("TENDER", place_holds=hold)).status_code == 201
    last = api.recharge(OTHER, 7)
    _seal(api)
    _at(api, 300)
    anchors = Anchors(tmp_path / "anchors")
    assert verify(api.admin_url, anchors).anchor is None
    anchors.keep(api.admin_url)
    api.recharge(LENDER, 50)
    reversal = api.order("RECHARGE", ("RECHARGE", OTHER, CHANNEL, 7), reverses_request_no=last["request_no"])
    assert api.post(reversal).status_code == 201
    assert api.post(api.order("DISBURSE", release_holds=["H"])).status_code == 201
    _at(api, 400)
    _seal(api)
    return api, anchors


def _at(api: Any, minutes: int) -> None:
    moment = f"2026-08-01T{minutes // 60:02}:{minutes % 60:02}:00Z"
    assert api.client.post("/v1/clock", json={"now": moment}).status_code == 200


def _seal(api: Any) -> None:
    api.rows("SELECT ledger.seal_pending(10)")


def test_what_came_after_the_anchor_is_verified_alone_and_clean(grown: tuple[Any, Anchors]) -> None:
    api, anchors = grown
    since = newest_anchored_block(api.admin_url, anchors)
    verdict = verify(api.admin_url, anchors, since)
    assert (verdict.faults, verdict.since, verdict.anchor) == ((), since, since)
    assert 0 < since < verdict.blocks
    assert verify(api.service_url, None, since).faults == ()  # the service's own role can do so as well, without anchors


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("movement", "SET amount_minor = amount_minor + 1 WHERE movement_id = (SELECT max(movement_id) FROM ledger.movement)"),
        (
            "movement",
            "SET effective_at = now() WHERE movement_id = (SELECT max(movement_id) FROM ledger.movement)",
        ),
        ("entry", "SET balance_after_minor = 1 WHERE movement_id = (SELECT max(movement_id) FROM ledger.movement)"),
        ("entry", "SET account_version = 77 WHERE movement_id = (SELECT max(movement_id) FROM ledger.movement)"),
        (
            "balance",
            "SET held_minor = 1, credit_minor = credit_minor + 1 WHERE account_id IN (SELECT account_id FROM ledger.hold_event)",
        ),
        ("balance", "SET version = version + 1 WHERE account_id IN (SELECT account_id FROM ledger.hold_event)"),
        ("hold_event", "SET amount_minor = 31 WHERE event_type <> 'PLACE'"),
        ("trade_order", "SET reverses_order_id = 1 WHERE reverses_order_id IS NOT NULL"),
        ("seal", "SET movement_id = 999 WHERE ledger_no = (SELECT max(ledger_no) FROM ledger.seal)"),
        ("seal_block", "SET previous_hash = sha256('') WHERE block_no = (SELECT max(block_no) FROM ledger.seal_block)"),
        ("seal_block", "SET hash = sha256('') WHERE block_no = :since"),  # the anchored block itself
    ],
)
def test_a_change_after_the_anchor_is_found_without_looking_before_it(
    grown: tuple[Any, Anchors], table: str, change: str
) -> None:
    api, anchors = grown
    since = newest_anchored_block(api.admin_url, anchors)
    with psycopg.connect(api.admin_url) as owner:
        owner.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER".encode())
        assert owner.execute(f"UPDATE ledger.{table} {change}".replace(":since", str(since)).encode()).rowcount > 0
    assert verify(api.admin_url, anchors, since).faults


def test_every_clean_anchor_covers_the_rows_since_the_one_before(grown: tuple[Any, Anchors]) -> None:
    api, anchors = grown
    assert verify(api.admin_url, anchors).faults == ()
    second = anchors.keep(api.admin_url)
    _at(api, 500)
    third = anchors.keep(api.admin_url)
    by_table = {each.table: each for each in second.ranges}
    assert by_table["ledger.trade_order"].after is not None
    assert by_table["ledger.trade_order"].rows == 3
    assert "ledger.trade_order" not in {each.table for each in third.ranges}, "nothing came, nothing is digested again"
    assert verify(api.admin_url, anchors).faults == ()


def test_a_row_before_the_anchor_is_named_by_its_range(grown: tuple[Any, Anchors]) -> None:
    api, anchors = grown
    with psycopg.connect(api.admin_url) as owner:
        owner.execute("ALTER TABLE ledger.trade_order DISABLE TRIGGER USER")
        owner.execute("UPDATE ledger.trade_order SET request_no = 'OTHER' WHERE order_type = 'TENDER'")
    found = {(fault.check, fault.row) for fault in verify(api.admin_url, anchors).faults}
    assert ("rows are as they were anchored", "ledger.trade_order order_id 1 to 4") in found
    assert {check for check, _ in found} <= {"rows are as they were anchored", "the chain of holds holds"}


def test_an_anchor_from_before_the_first_block_is_compared_too(api: Any, tmp_path: Path) -> None:
    anchors = Anchors(tmp_path / "anchors")
    _at(api, 100)
    anchors.keep(api.admin_url)
    api.recharge(LENDER, 50)
    _seal(api)
    assert verify(api.admin_url, anchors).faults == ()
    with psycopg.connect(api.admin_url) as owner:
        owner.execute("ALTER TABLE registry.platform_status DISABLE TRIGGER USER")
        changed = owner.execute("UPDATE registry.platform_status SET status = 'SUSPENDED' WHERE platform_id = 'P02'").rowcount
    assert changed == 1
    assert [fault.row.split()[0] for fault in verify(api.admin_url, anchors).faults] == ["registry.platform_status"]


def test_an_anchor_waits_for_open_transactions_and_gives_up_in_time(
    grown: tuple[Any, Anchors], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, anchors = grown
    monkeypatch.setattr(verify_anchors, "PATIENCE_S", 0.2)
    with psycopg.connect(api.admin_url) as writer:
        writer.execute("SELECT outbox.append('a.b', NULL, 'x', '{}')")
        with pytest.raises(Failed, match="no anchor was kept"):
            anchors.keep(api.admin_url)
    anchors.keep(api.admin_url)
    assert verify(api.admin_url, anchors).faults == ()


def test_the_command_keeps_anchors_and_goes_on_from_them(api: Any, database: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> Any:
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    path = database.settings.home / "anchors" / f"{database.name}.jsonl"
    api.recharge(LENDER, 5, simulated_at="2026-08-01T10:00:00Z")
    _seal(api)
    command(json=True, anchor=False)
    assert (said()["anchor"], path.exists()) == (None, False)
    command(json=True)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    api.recharge(LENDER, 6)
    _seal(api)
    command(json=True, since="anchor")
    assert said()["since"] == 1
    api.recharge(LENDER, 7)
    with psycopg.connect(api.admin_url) as owner:
        owner.execute("UPDATE ledger.balance SET version = version + 1 WHERE version > 1")
    with pytest.raises(CheckFailed, match="balance of account"):
        command(json=True, since="anchor")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2, "a ledger with faults is not vouched for"
    told = _verifications(load())  # as `fundwatch status` prints them
    assert (told["full"]["faults"], told["full"]["movements"], told["full"]["first_fault"]) == (0, 1, None)
    assert told["since_anchor"]["faults"] >= 1 and told["since_anchor"]["first_fault"].startswith("balance of account")
    for word in ("-1", "x", "77"):
        with pytest.raises(WrongUse):
            command(json=True, since=word)
