"""A database with rows of an older schema: verified clean, migrated, verified clean again, and posted on."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from transactional.app import create_app
from transactional.migrate import migrate, names
from transactional.verify import verify
from transactional.verify_anchors import Anchors

FIRST = "0011"  # the history begins in this schema
LANDED = ["0011", "0024", "0033"]  # schemas that banks may have
LENDER, OTHER, BORROWER, CHANNEL = "P01-L-1", "P01-L-2", "P01-B-1", "P01-X-CHANNEL-PC01"
REGISTRY = """
INSERT INTO registry.platform VALUES ('P01', 'One', 'One Ltd', 'CNY', 'CN_2017', '2026-01-01', '2026-01-01Z');
INSERT INTO registry.payment_company VALUES ('PC01', 'Pay', '2026-01-01Z');
INSERT INTO registry.payment_company_platform VALUES ('PC01', 'P01', '2026-01-01Z');
INSERT INTO registry.party (party_ref, party_type, id_hash, name_masked, recorded_at)
SELECT 'PARTY-' || n, 'PERSON', encode(sha256(n::text::bytea), 'hex'), 'L*', '2026-01-02Z' FROM generate_series(1, 3) n;
INSERT INTO registry.customer
SELECT 'P01', 'P01-C' || party_id, party_id, '{INVESTOR,BORROWERS}', '2026-01-02', '2026-01-02Z' FROM registry.party;
INSERT INTO registry.account (account_no, platform_id, account_role, is_control, currency, customer_no, paycom_id, recorded_at)
VALUES ('P01-X-CHANNEL-PC01', 'P01', 'CHANNEL_RECEIVABLE', true, 'CNY', NULL, 'PC01', '2026-01-01Z'),
  ('P01-X-WITHDRAWAL', 'P01', 'WITHDRAWAL_PAYABLE', true, 'CNY', NULL, NULL, '2026-01-01Z'),
  ('P01-X-SPECIAL', 'P01', 'SPECIAL_ACCOUNT', true, 'CNY', NULL, NULL, '2026-01-01Z'),
  ('P01-F-INCOME', 'P01', 'PLATFORM_INCOME', false, 'CNY', NULL, NULL, '2026-01-01Z'),
  ('P01-L-1', 'P01', 'INVESTOR', false, 'CNY', 'P01-C1', NULL, '2026-01-02Z'),
  ('P01-L-2', 'P01', 'INVESTOR', false, 'CNY', 'P01-C2', NULL, '2026-01-02Z'),
  ('P01-B-1', 'P01', 'BORROWERS', false, 'CNY', 'P01-C3', NULL, '2026-01-02Z')"""


class OldLoader:
    """Posts with the functions of the old schema, called as its service called them."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection, self.numbers = connection, count(1)

    def order(self, order_type: str, *movements: tuple[str, str, str, int], **more: Any) -> dict[str, Any]:
        """Body of an order; a movement is (type, debit, credit, amount)."""
        names = ("movement_type", "debit_account", "credit_account", "amount_minor")
        legs = [dict(zip(names, movement, strict=True)) for movement in movements]
        return {
            "platform_id": "P01",
            "request_no": f"OLD-{next(self.numbers)}",
            "order_type": order_type,
            "currency": "CNY",
            "movements": legs,
            **more,
        }

    def post(self, *bodies: dict[str, Any]) -> list[Any]:
        """One call of `ledger.post_all` with so many single orders; returns their answers."""
        answers, orders, movements, holds = [], [], [], []
        for o, body in enumerate(bodies):
            text = json.dumps(body)
            key = {"scope": "*", "key": f"key-{body['request_no']}", "hash": sha256(text.encode()).hexdigest(), "body": text}
            answers.append({"o": o, **key})
            orders.append({"o": o, **{name: value for name, value in body.items() if name not in ("movements", "holds")}})
            movements += [{"o": o, "seq": seq, **movement} for seq, movement in enumerate(body["movements"], 1)]
            holds += [{"o": o, "position": position, **hold} for position, hold in enumerate(body.get("holds", []))]
        batch = {"endpoint": "POST /v1/orders", "bulk": False, "zone": "Asia/Shanghai", "cutoff": "23:00:00"}
        batch |= {"answers": answers, "orders": orders, "movements": movements, "holds": holds}
        row = self.connection.execute("SELECT ledger.post_all(%s::jsonb)", [json.dumps(batch)]).fetchone()
        assert row is not None
        found: list[Any] = row[0]
        return found

    def history(self) -> None:
        """Recharges, back-dated ones, a hold and its disbursement, an open hold, a reversal; sealed but for the last order."""
        at = {"simulated_at": "2026-08-01T10:00:00Z"}
        for turn in range(150):
            bodies = [self.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10 + turn), **at) for _ in range(10)]
            self.post(*bodies)
        self.post(self.order("RECHARGE", ("RECHARGE", CHANNEL, OTHER, 70), effective_at="2026-07-30T00:00:00Z"))
        self.post(self.order("TENDER", holds=[self.hold("H", 300)]))
        release = {"hold_no": "H", "event_type": "RELEASE"}
        movements = (("TENDER", LENDER, BORROWER, 300), ("COMMISSION", BORROWER, "P01-F-INCOME", 3))
        self.post(self.order("DISBURSE", *movements, holds=[release]))
        self.post(self.order("TENDER", holds=[self.hold("H2", 40)]))
        taken_back = self.order("RECHARGE", ("RECHARGE", CHANNEL, OTHER, 9))
        self.post(taken_back)
        mirror = ("RECHARGE", OTHER, CHANNEL, 9)
        self.post(self.order("RECHARGE", mirror, reverses_request_no=taken_back["request_no"]))
        self.connection.execute("SELECT ledger.seal_pending(100)")
        self.post(self.order("RECHARGE", ("RECHARGE", CHANNEL, OTHER, 1), simulated_at="2026-08-02T10:00:00Z"))
        self.connection.execute("SELECT ledger.set_clock('2026-08-02T11:00:00Z')")

    def two_phase(self) -> None:
        """What came with 0013: holds that expire, one captured in part, one that expired; a locked account."""
        at = {"simulated_at": "2026-08-03T10:00:00Z"}
        until = {"expires_at": "2026-08-04T10:00:00Z"}
        self.post(self.order("TENDER", holds=[self.hold("H3", 50) | until], **at))
        capture = {"hold_no": "H3", "event_type": "CAPTURE", "amount_minor": 20, "final": False}
        self.post(self.order("DISBURSE", ("TENDER", LENDER, BORROWER, 20), holds=[capture]))
        self.post(self.order("TENDER", holds=[self.hold("H4", 5)]))
        self.connection.execute("SELECT ledger.set_clock('2026-08-04T11:00:00Z')")
        expired = self.connection.execute("SELECT ledger.expire_holds(10, 'Asia/Shanghai', '23:00')").fetchone()
        assert expired == (1,)
        self.connection.execute("SELECT ledger.seal_pending(100)")
        release = {"hold_no": "H4", "event_type": "RELEASE"}
        self.post(self.order("CANCEL_PRE_TRANSACTION", holds=[release]))

    def hold(self, hold_no: str, amount: int) -> dict[str, Any]:
        """A hold placed on the lender."""
        return {"hold_no": hold_no, "event_type": "PLACE", "account": LENDER, "amount_minor": amount}


@pytest.fixture(params=LANDED)
def old(request: pytest.FixtureRequest, empty_database: Any) -> Any:
    """A database of a schema that landed before, and its number, with a history in it."""
    url = empty_database.url("migrator")
    migrate(url, "simulated", FIRST)
    with psycopg.connect(url) as connection:
        connection.execute(REGISTRY.encode())
        OldLoader(connection).history()
    if request.param > FIRST:
        migrate(url, "simulated", request.param)
        with psycopg.connect(url) as connection:
            loader = OldLoader(connection)
            loader.numbers = count(5_001)
            loader.two_phase()
    return empty_database, request.param


def _content(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            """SELECT movement_id, order_id, entry.amount_minor, effective_at, recorded_at, business_date, balance_after_minor
               FROM ledger.movement JOIN ledger.entry USING (movement_id) ORDER BY account_id, account_version"""
        ).fetchall()


def test_a_loaded_database_of_the_old_schema_is_upgraded_clean_and_posts_on(old: Any, tmp_path: Path) -> None:
    database, landed = old
    url, anchors = database.url("migrator"), Anchors(tmp_path)
    before, content = verify(url, anchors), _content(url)
    assert (before.faults, before.movements, before.unsealed) == ((), *((1506, 1) if landed == FIRST else (1507, 0)))
    applied = migrate(url, "simulated")
    assert applied == [name for name in names() if name[:4] > landed]
    after = verify(url, anchors)
    assert (after.faults, after.movements, after.head) == ((), before.movements, before.head)
    assert _content(url) == content
    anchors.keep(url)

    with TestClient(
        create_app(database.settings), headers={"Authorization": f"Bearer {database.settings.secret('api_admin_key')}"}
    ) as client:

        def post(number: int, order_type: str, **more: Any) -> Any:
            body = {"platform_id": "P01", "request_no": f"NEW-{number}", "order_type": order_type, "currency": "CNY", **more}
            return client.post("/v1/orders", json=body, headers={"Idempotency-Key": f"new-{number}"})

        movement = {"movement_type": "TENDER", "debit_account": LENDER, "credit_account": BORROWER, "amount_minor": 40}
        assert post(1, "DISBURSE", movements=[movement], release_holds=["H2"]).status_code == 201  # a hold of the old schema
        assert post(2, "DISBURSE", release_holds=["H2"]).json()["code"] == "HOLD_RELEASED"
        mirror = {"movement_type": "RECHARGE", "debit_account": OTHER, "credit_account": CHANNEL, "amount_minor": 1}
        assert post(3, "RECHARGE", movements=[mirror], reverses_request_no="OLD-1507").status_code == 201
        taken = 0 if landed == FIRST else 20  # captured by the newer history
        balance = client.get(f"/v1/accounts/{LENDER}/balance").json()
        assert (balance["balance_minor"], balance["held_minor"]) == (
            sum(10 * (10 + turn) for turn in range(150)) - 340 - taken,
            0,
        )
    with psycopg.connect(url) as connection:
        connection.execute("SELECT ledger.seal_pending(100)")
    last = verify(url, anchors)
    assert (last.faults, last.movements, last.unsealed) == ((), before.movements + 2, 0)
