"""Two-phase orders: hold, capture in parts, void, expiry as an event; and what states of accounts forbid (decision 0011)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from transactional.verify import verify

LENDER, BORROWER, PAYABLE = "P01-L-000001", "P01-B-000001", "P01-X-WITHDRAWAL"
START, EXPIRY, LATER = "2026-08-01T10:00:00Z", "2026-08-02T10:00:00Z", "2026-08-02T10:00:01Z"


@pytest.fixture
def held(api: Any) -> Any:
    """A lender with 1,000 of which 800 are held until EXPIRY as H-1."""
    api.recharge(LENDER, 1000, simulated_at=START)
    hold = {"hold_no": "H-1", "account": LENDER, "amount_minor": 800, "expires_at": EXPIRY}
    assert api.post(api.order("TENDER", place_holds=[hold])).status_code == 201
    return api


def _capture(api: Any, spent: int, **capture: Any) -> dict[str, Any]:
    body: dict[str, Any] = api.order(
        "DISBURSE", ("TENDER", LENDER, BORROWER, spent), capture_holds=[{"hold_no": "H-1", **capture}]
    )
    return body


def _figures(api: Any) -> tuple[int, int]:
    balance = api.balance(LENDER)
    return balance["balance_minor"], balance["held_minor"]


def _refused(api: Any, body: dict[str, Any], status: int, code: str) -> None:
    before = api.content()
    answer = api.post(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert api.content() == before


def _expire(api: Any, holds_max: int = 100) -> int:
    with psycopg.connect(api.service_url) as connection:
        row = connection.execute("SELECT ledger.expire_holds(%s, 'Asia/Shanghai', '23:00')", [holds_max]).fetchone()
    assert row is not None
    return int(row[0])


def _events(api: Any) -> list[tuple[str, int]]:
    rows: list[tuple[str, int]] = api.rows("SELECT event_type, amount_minor FROM ledger.hold_event ORDER BY hold_event_id")
    return rows


def test_a_hold_is_captured_in_parts_and_the_rest_stays_held(held: Any) -> None:
    assert held.post(_capture(held, 300, amount_minor=300)).status_code == 201
    assert _figures(held) == (700, 500)
    assert held.post(_capture(held, 500)).status_code == 201
    assert _figures(held) == (200, 0)
    assert _events(held) == [("PLACE", 800), ("CAPTURE", 300), ("CAPTURE", 500)]
    _refused(held, _capture(held, 1), 409, "HOLD_RELEASED")
    assert held.rows("SELECT count(*) FROM ledger.hold_to_expire") == [(0,)]
    assert verify(held.service_url).faults == ()


def test_a_final_capture_lets_go_of_the_rest(held: Any) -> None:
    assert held.post(_capture(held, 300, amount_minor=300, final=True)).status_code == 201
    assert _figures(held) == (700, 0)
    assert _events(held) == [("PLACE", 800), ("CAPTURE", 300), ("RELEASE", 500)]
    night = held.rows("SELECT event_type, amount_minor FROM night.hold_event ORDER BY hold_event_id")
    assert night == [("PLACE", 800), ("RELEASE", 300), ("RELEASE", 500)]
    assert verify(held.service_url).faults == ()


def test_what_is_captured_is_spent_from_the_same_account(held: Any) -> None:
    _refused(held, _capture(held, 299, amount_minor=300), 422, "CAPTURE_NOT_SPENT")
    _refused(held, held.order("DISBURSE", capture_holds=[{"hold_no": "H-1"}]), 422, "CAPTURE_NOT_SPENT")
    _refused(held, _capture(held, 900, amount_minor=801), 422, "HOLD_EXCEEDED")
    _refused(held, {**_capture(held, 5), "capture_holds": [{"hold_no": "NONE"}]}, 422, "UNKNOWN_HOLD")


def test_a_void_releases_what_remains_after_a_part_was_captured(held: Any) -> None:
    assert held.post(_capture(held, 100, amount_minor=100)).status_code == 201
    assert held.post(held.order("CANCEL_PRE_TRANSACTION", release_holds=["H-1"])).status_code == 201
    assert _figures(held) == (900, 0)
    assert _events(held)[-1] == ("RELEASE", 700)
    _refused(held, held.order("CANCEL_PRE_TRANSACTION", release_holds=["H-1"]), 409, "HOLD_RELEASED")


def test_of_many_captures_at_once_only_what_is_held_is_taken(held: Any) -> None:
    bodies = [_capture(held, 100, amount_minor=100) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(held.post, bodies))
    assert statuses == [201] * 8 + [409] * 4
    assert _figures(held) == (200, 0)


def test_an_expired_hold_stays_held_until_its_expiry_is_recorded(held: Any) -> None:
    late = _capture(held, 10, amount_minor=10)
    _refused(held, {**late, "simulated_at": EXPIRY}, 409, "HOLD_EXPIRED")
    assert (_figures(held), _expire(held)) == ((1000, 800), 0)
    # the service's own loop may come first; whoever does, it happens once
    held.client.post("/v1/clock", json={"now": LATER})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _expire(held), range(4)))
    assert _figures(held) == (1000, 0)
    assert _events(held) == [("PLACE", 800), ("EXPIRE", 800)]
    orders = held.rows(
        """SELECT order_type, amount_minor, entered_by, recorded_at >= timestamptz '2026-08-02T10:00:00Z'
           FROM ledger.trade_order ORDER BY order_id DESC LIMIT 1"""
    )
    assert orders == [("HOLD_EXPIRY", 0, "clock", True)]
    assert held.rows("SELECT payload FROM outbox.event WHERE topic = 'hold.expired'") == [
        ({"hold_no": "H-1", "amount_minor": 800},)
    ]
    _refused(held, held.order("CANCEL_PRE_TRANSACTION", release_holds=["H-1"]), 409, "HOLD_RELEASED")
    assert verify(held.service_url).faults == ()


def test_only_what_remains_of_a_hold_expires(held: Any) -> None:
    assert held.post(_capture(held, 300, amount_minor=300)).status_code == 201
    held.client.post("/v1/clock", json={"now": LATER})
    _expire(held)
    assert _figures(held) == (700, 0)
    assert _events(held)[-1] == ("EXPIRE", 500)


def test_a_hold_cannot_be_placed_with_its_time_over(held: Any) -> None:
    hold = {"hold_no": "H-2", "account": LENDER, "amount_minor": 1, "expires_at": START}
    _refused(held, held.order("TENDER", place_holds=[hold]), 409, "HOLD_EXPIRED")


def test_nobody_can_ask_for_an_expiry(held: Any) -> None:
    _refused(held, held.order("HOLD_EXPIRY", release_holds=["H-1"]), 422, "BODY_INVALID")


def test_the_service_cannot_set_a_state_past_four_eyes(held: Any) -> None:
    with psycopg.connect(held.service_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT ledger.set_account_state(1, 'CLOSED')")


def _set_state(api: Any, account: str, state: str) -> None:
    with psycopg.connect(api.admin_url) as connection:
        connection.execute(
            "SELECT ledger.set_account_state(account_id, %s) FROM registry.account WHERE account_no = %s", [state, account]
        )


def test_from_a_locked_account_nothing_is_taken_but_credits_come_in(held: Any) -> None:
    _set_state(held, LENDER, "LOCKED")
    _refused(held, held.order("WITHDRAW", ("WITHDRAW", LENDER, PAYABLE, 1)), 409, "ACCOUNT_LOCKED")
    hold = {"hold_no": "H-2", "account": LENDER, "amount_minor": 1}
    _refused(held, held.order("TENDER", place_holds=[hold]), 409, "ACCOUNT_LOCKED")
    _refused(held, _capture(held, 1, amount_minor=1), 409, "ACCOUNT_LOCKED")
    held.recharge(LENDER, 5)
    assert held.post(held.order("CANCEL_PRE_TRANSACTION", release_holds=["H-1"])).status_code == 201
    _set_state(held, LENDER, "OPEN")
    assert held.post(held.order("WITHDRAW", ("WITHDRAW", LENDER, PAYABLE, 1005))).status_code == 201


def test_only_an_empty_account_is_closed_and_then_nothing_moves_on_it(held: Any) -> None:
    for full in (LENDER, BORROWER):
        if full == BORROWER:
            assert held.post(_capture(held, 800)).status_code == 201
        with pytest.raises(psycopg.Error, match="ACCOUNT_NOT_EMPTY"):
            _set_state(held, full, "CLOSED")
    assert held.post(held.order("WITHDRAW", ("WITHDRAW", LENDER, PAYABLE, 200))).status_code == 201
    _set_state(held, LENDER, "CLOSED")
    recharge = held.order("RECHARGE", ("RECHARGE", "P01-X-CHANNEL-PC01", LENDER, 1))
    _refused(held, recharge, 409, "ACCOUNT_CLOSED")
    with pytest.raises(psycopg.Error, match="ACCOUNT_CLOSED"):
        _set_state(held, LENDER, "OPEN")
    assert held.rows("SELECT version, state, actor FROM ledger.account_state") == [(1, "CLOSED", "bank")]
    change = held.rows("SELECT subject, before, after FROM audit.change WHERE action = 'ACCOUNT_STATE'")
    assert change == [(LENDER, {"state": "OPEN"}, {"state": "CLOSED"})]
    assert verify(held.service_url).faults == ()


def test_a_state_said_twice_is_recorded_once_and_an_unknown_one_refused(held: Any) -> None:
    for _ in range(2):
        _set_state(held, LENDER, "LOCKED")
    assert held.rows("SELECT version, state FROM ledger.account_state") == [(1, "LOCKED")]
    with pytest.raises(psycopg.Error, match="BODY_INVALID"):
        _set_state(held, LENDER, "SLEEPING")
