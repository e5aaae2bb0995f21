"""The one clock with its cut-off, balances at two times, ledger numbers and the tamper-evident chain (architecture section 6)."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from domain.errors import CheckFailed
from fundwatch.commands.ledger import verify as command
from transactional.app import create_app
from transactional.migrate import migrate
from transactional.verify import verify

LENDER, BORROWER, CHANNEL = "P01-L-000001", "P01-B-000001", "P01-X-CHANNEL-PC01"


def _seal(api: Any) -> None:
    with psycopg.connect(api.service_url) as connection:
        connection.execute("SELECT ledger.seal_pending(1000)")


@pytest.mark.parametrize(
    ("at", "business_date"),
    [
        ("2026-08-31T22:59:59.999999+08:00", "2026-08-31"),
        ("2026-08-31T23:00:00+08:00", "2026-09-01"),
        ("2026-08-31T15:30:00Z", "2026-09-01"),
        ("2026-09-01T00:30:00+08:00", "2026-09-01"),
    ],
)
def test_from_the_cut_off_on_an_order_belongs_to_the_next_date(api: Any, at: str, business_date: str) -> None:
    assert api.recharge(LENDER, 1, simulated_at=at)["business_date"] == business_date
    assert api.client.get("/v1/clock").json()["business_date"] == business_date


def test_the_simulated_clock_never_goes_back(api: Any) -> None:
    assert api.client.post("/v1/clock", json={"now": "2026-08-01T08:00:00+08:00"}).json() == {
        "now": "2026-08-01T00:00:00+00:00",
        "business_date": "2026-08-01",
        "mode": "simulated",
    }
    before = api.content()
    late = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 1), simulated_at="2026-07-31T23:59:59Z")
    for answer in (api.post(late), api.client.post("/v1/clock", json={"now": "2026-07-31T23:59:59Z"})):
        assert (answer.status_code, answer.json()["code"]) == (422, "CLOCK_BACKWARDS")
    assert api.content() == before


def test_orders_of_a_bulk_call_keep_their_own_times(api: Any) -> None:
    times = ["2026-08-01T10:00:00Z", "2026-08-01T10:00:00Z", "2026-08-02T16:00:00Z"]
    orders = [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 1), simulated_at=time) for time in times]
    assert api.post({"orders": orders[::-1]}, path="/v1/orders/bulk").json()["field"] == "orders[1].simulated_at"
    assert api.post({"orders": orders}, path="/v1/orders/bulk").status_code == 201
    found = api.rows("SELECT recorded_at = effective_at, business_date::text FROM ledger.trade_order ORDER BY order_id")
    assert found == [(True, "2026-08-01"), (True, "2026-08-01"), (True, "2026-08-03")]


def test_a_system_clock_cannot_be_told_the_time(empty_database: Any) -> None:
    migrate(empty_database.url("migrator"), "system")
    key = empty_database.settings.secret("api_admin_key")
    with TestClient(create_app(empty_database.settings), headers={"Authorization": f"Bearer {key}"}) as client:
        answer = client.post("/v1/clock", json={"now": "2099-01-01T00:00:00Z"})
        assert (answer.status_code, answer.json()["code"]) == (422, "CLOCK_NOT_SIMULATED")
        body = {"platform_id": "P01", "request_no": "R", "order_type": "TENDER", "currency": "CNY"}
        hold = {"place_holds": [{"hold_no": "H", "account": LENDER, "amount_minor": 1}], "simulated_at": "2099-01-01T00:00:00Z"}
        answer = client.post("/v1/orders", json={**body, **hold}, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (422, "CLOCK_NOT_SIMULATED")


def test_what_was_known_at_a_time_never_changes(api: Any) -> None:
    api.recharge(LENDER, 100, simulated_at="2026-08-01T10:00:00Z")
    api.recharge(LENDER, 20, simulated_at="2026-08-03T10:00:00Z", effective_at="2026-08-01T12:00:00Z")
    balances = [
        api.balance(LENDER, **moments)["balance_minor"]
        for moments in (
            {"effective_as_of": "2026-08-02T00:00:00Z"},
            {"effective_as_of": "2026-08-02T00:00:00Z", "known_as_of": "2026-08-02T00:00:00Z"},
            {"effective_as_of": "2026-08-01T11:00:00Z"},
            {"known_as_of": "2026-07-31T00:00:00Z"},
        )
    ]
    assert balances == [120, 100, 100, 0]
    for moment in ("2026-08-03T10:00:00Z", "2030-01-01T00:00:00Z"):
        answer = api.client.get(f"/v1/accounts/{LENDER}/balance", params={"known_as_of": moment})
        assert (answer.status_code, answer.json()["code"]) == (422, "KNOWN_AS_OF_IN_FUTURE")
    later = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 1), effective_at="2026-09-01T00:00:00Z")
    assert api.post(later).json()["code"] == "EFFECTIVE_IN_FUTURE"


def test_ledger_numbers_have_no_gap_even_where_movement_ids_have(api: Any) -> None:
    api.recharge(LENDER, 100)
    for _ in range(3):
        assert api.post(api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 101))).status_code == 422
    last = api.recharge(LENDER, 100)["movement_ids"][0]
    _seal(api)
    assert last > 2
    assert api.rows("SELECT ledger_no, business_date IS NOT NULL FROM night.movement ORDER BY ledger_no") == [
        (1, True),
        (2, True),
    ]
    assert api.rows("SELECT ledger_no_to, sealed_through = ledger.clock_now(), unsealed FROM ledger.seal_state()") == [
        (2, True, 0)
    ]


def test_blocks_hold_at_most_a_thousand_movements(api: Any) -> None:
    for _ in range(3):
        orders = [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 1)) for _ in range(700)]
        assert api.post({"orders": orders}, path="/v1/orders/bulk").status_code == 201
    _seal(api)
    sizes = api.rows("SELECT max(last_ledger_no - first_ledger_no + 1), max(last_ledger_no) FROM ledger.seal_block")
    assert (sizes[0][0] <= 1000, sizes[0][1]) == (True, 2100)
    verdict = verify(api.service_url)
    assert (verdict.faults, verdict.sealed, verdict.movements) == ((), 2100, 2100)


@pytest.fixture
def written(api: Any) -> Any:
    """A sealed ledger with recharges, a hold and its release, a fee and a reversal; clean before it is touched."""
    first = api.recharge(LENDER, 1000, simulated_at="2026-08-01T10:00:00Z")
    api.recharge("P01-L-000002", 70)
    api.post(api.order("TENDER", place_holds=[{"hold_no": "H", "account": LENDER, "amount_minor": 300}]))
    movements = (("TENDER", LENDER, BORROWER, 300), ("COMMISSION", BORROWER, "P01-F-INCOME", 3))
    assert api.post(api.order("DISBURSE", *movements, release_holds=["H"])).status_code == 201
    api.post(api.order("TENDER", place_holds=[{"hold_no": "H2", "account": LENDER, "amount_minor": 5}]))
    last = api.recharge(LENDER, 1)
    reversal = api.order("RECHARGE", ("RECHARGE", LENDER, CHANNEL, 1), reverses_request_no=last["request_no"])
    assert api.post(reversal).status_code == 201 and first["order_id"] > 0
    _seal(api)
    assert verify(api.service_url).faults == ()
    return api


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE ledger.movement SET amount_minor = amount_minor + 1 WHERE movement_id = 1",
        "UPDATE ledger.movement SET business_date = business_date + 1 WHERE movement_id = 1",
        "UPDATE ledger.movement SET effective_at = effective_at - interval '1 microsecond' WHERE movement_id = 1",
        "UPDATE ledger.movement SET recorded_at = recorded_at + interval '1 microsecond' WHERE movement_id = 1",
        "UPDATE ledger.movement SET loan_no = 'L' WHERE movement_id = 1",
        "UPDATE ledger.movement SET issue_no = 1, component = 'P', claim_no = 'C' WHERE movement_id = 1",
        "UPDATE ledger.movement SET movement_type = 'OPENING_BALANCE' WHERE movement_id = 1",
        "UPDATE ledger.movement SET currency = 'USD' WHERE movement_id = 1",
        "UPDATE ledger.movement SET reversal_of = NULL WHERE reversal_of IS NOT NULL",
        "UPDATE ledger.trade_order SET entered_by = 'key:P09' WHERE order_id = (SELECT min(order_id) FROM ledger.movement)",
        "UPDATE ledger.trade_order SET request_no = 'X' WHERE order_id = (SELECT min(order_id) FROM ledger.movement)",
        "UPDATE ledger.trade_order SET amount_minor = 1",
        "UPDATE ledger.trade_order SET business_date = business_date + 1",
        "UPDATE ledger.entry SET amount_minor = amount_minor + 1 WHERE movement_id = 1",
        "UPDATE ledger.entry SET balance_after_minor = balance_after_minor + 1 WHERE movement_id = 1",
        "DELETE FROM ledger.entry WHERE movement_id = 1",
        "DELETE FROM ledger.movement WHERE movement_id = 1",
        "DELETE FROM ledger.seal WHERE ledger_no = 2",
        "UPDATE ledger.balance SET credit_minor = credit_minor + 1 WHERE version = 1",
        "UPDATE ledger.balance SET version = version + 1 WHERE version > 0",
        "UPDATE ledger.balance SET held_minor = held_minor - 1 WHERE held_minor > 0",
        "UPDATE ledger.hold_event SET amount_minor = amount_minor - 1 WHERE event_type = 'RELEASE'",
        "UPDATE ledger.hold_event SET business_date = business_date + 1",
        "UPDATE ledger.seal_block SET hash = sha256('') WHERE block_no = 1",
        "UPDATE ledger.seal_block SET sealed_through = sealed_through + interval '1 second'",
        "UPDATE registry.account SET account_role = 'BORROWERS' WHERE account_no = 'P01-L-000001'",
        "UPDATE registry.account SET account_no = 'P01-L-XXXXXX' WHERE account_no = 'P01-L-000001'",
    ],
)
def test_a_changed_column_is_found_and_its_row_named(written: Any, tampering: str) -> None:
    with psycopg.connect(written.admin_url) as owner:
        for table in ("movement", "trade_order", "entry", "hold_event", "seal", "seal_block"):
            owner.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER".encode())
        try:
            assert owner.execute(tampering.encode()).rowcount > 0
        except psycopg.errors.IntegrityError:  # a constraint notices it first
            return
    faults = verify(written.service_url).faults
    assert faults and all(any(character.isdigit() for character in fault.row) for fault in faults)


def test_the_command_ends_with_code_ten_and_names_the_row(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"] is True
    with psycopg.connect(written.admin_url) as owner:
        owner.execute("UPDATE ledger.balance SET version = version + 1 WHERE account_id = 1")
    with pytest.raises(CheckFailed, match="balance of account 1:") as caught:
        command(json=True)
    assert caught.value.exit_code == 10
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["faults"][0]["row"] == "balance of account 1"


def test_readiness_says_for_how_long_a_movement_may_wait_for_its_number(api: Any) -> None:
    api.recharge("P01-L-000001", 5)
    deadline = time.monotonic() + 20
    while (seen := api.client.get("/readyz").json())["unsealed"]:
        assert time.monotonic() < deadline, seen
    assert seen["ledger_no_to"] == 1
    assert 0 <= seen["unsealed_window_s"] < 5
