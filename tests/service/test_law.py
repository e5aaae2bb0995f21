"""Both laws: which movement runs between which roles, and which order carries it (contracts section 4, decision 0011)."""

from __future__ import annotations

from typing import Any

import pytest

from domain.vocabulary import (
    ALLOWED_MOVEMENTS,
    ALLOWED_ORDERS,
    CONTROL_ROLES,
    ORDERS_OF_THE_BANK,
    AccountRole,
    MovementType,
    OrderType,
)
from transactional.keys import add_key
from transactional.verify import verify

CONTROLS = {
    AccountRole.SPECIAL_ACCOUNT: "P01-X-SPECIAL",
    AccountRole.CHANNEL_RECEIVABLE: "P01-X-CHANNEL-PC01",
    AccountRole.WITHDRAWAL_PAYABLE: "P01-X-WITHDRAWAL",
    AccountRole.OWN_FUNDS: "P01-X-OWNFUNDS",
    AccountRole.SUSPENSE: "P01-X-SUSPENSE",
}
SUB_ROLES = [role for role in AccountRole if role not in CONTROL_ROLES]
# posted by an adjustment or a court's order only
BY_THE_DESK = {MovementType.DEDUCT, MovementType.ADJUST_INCREASE, MovementType.ADJUST_REDUCE}
HOLDS_ONLY = {OrderType.TENDER, OrderType.FREEZE, OrderType.APPEND_FREEZE, OrderType.UNFREEZE, OrderType.CANCEL_PRE_TRANSACTION}


def _account(role: AccountRole, number: int = 1) -> str:
    return CONTROLS.get(role) or f"P01-R{number}-{role}"


@pytest.fixture
def world(api: Any) -> Any:
    """Two accounts of every role, the first with money."""
    accounts = [
        {"account_no": _account(role, number), "platform_id": "P01", "account_role": role, "currency": "CNY"}
        for role in SUB_ROLES
        for number in (1, 2)
    ]
    assert api.client.post("/v1/registry", json={"sub_accounts": accounts}).status_code == 200
    opening = [("OPENING_BALANCE", "P01-X-SPECIAL", _account(role), 100_000) for role in SUB_ROLES]
    assert api.post(api.order("OPENING", *opening)).status_code == 201
    return api


def _order_type(movement: MovementType) -> OrderType:
    return next(order for order, movements in ALLOWED_ORDERS.items() if movement in movements)


def test_the_laws_in_the_database_are_those_of_the_vocabulary(api: Any) -> None:
    movements = set(api.rows("SELECT movement_type, debit_role, credit_role FROM ledger.allowed_movement"))
    lawful = {(kind.value, *pair) for kind, pairs in ALLOWED_MOVEMENTS.items() for pair in pairs}
    assert movements == lawful
    orders = set(api.rows("SELECT order_type, movement_type FROM ledger.allowed_order"))
    assert orders == {(order.value, kind.value) for order, kinds in ALLOWED_ORDERS.items() for kind in kinds}
    roles = dict(api.rows("SELECT account_role, is_control FROM registry.account_role"))
    assert roles == {role.value: role in CONTROL_ROLES for role in AccountRole}


def test_every_movement_belongs_to_an_order_and_every_order_has_a_use() -> None:
    assert set(MovementType) == set(ALLOWED_MOVEMENTS) == {kind for kinds in ALLOWED_ORDERS.values() for kind in kinds}
    assert set(OrderType) - set(ALLOWED_ORDERS) == HOLDS_ONLY


def test_no_platform_can_bring_lenders_money_to_a_borrower_but_directly() -> None:
    """Of the orders that a platform may enter, those that move lenders' money leave it with customers or pay it out."""
    steps = {
        (debit, credit)
        for order, kinds in ALLOWED_ORDERS.items()
        if order not in ORDERS_OF_THE_BANK
        for kind in kinds
        for debit, credit in ALLOWED_MOVEMENTS[kind]
        # fees and what the platform lays out and gets back are its own money from then on
        if kind not in (MovementType.COMMISSION, MovementType.PLATFORM_URGENT_RETURN)
    }
    assert {credit for debit, credit in steps if debit is AccountRole.INVESTOR} == {
        AccountRole.BORROWERS,
        AccountRole.INVESTOR,
        AccountRole.WITHDRAWAL_PAYABLE,
    }
    assert not {credit for debit, credit in steps if debit is AccountRole.SUSPENSE}


def test_every_lawful_movement_is_posted_and_every_other_refused(world: Any) -> None:
    lawful, unlawful = [], []
    for kind in MovementType:
        for debit in AccountRole:
            for credit in AccountRole:
                if (
                    AccountRole.OWN_FUNDS in (debit, credit)
                    or (debit is credit and debit in CONTROL_ROLES)
                    or kind in BY_THE_DESK
                ):
                    continue  # OWN_FUNDS must be cleared in the order; test_orders looks at it
                movement = (kind.value, _account(debit), _account(credit, 2), 1)
                target = lawful if (debit, credit) in ALLOWED_MOVEMENTS[kind] else unlawful
                target.append(world.order(_order_type(kind).value, movement))
    assert len(lawful) > 110
    for start in range(0, len(lawful), 1000):
        answer = world.post({"orders": lawful[start : start + 1000]}, path="/v1/orders/bulk")
        assert answer.status_code == 201, answer.text
    sample = unlawful[:: len(unlawful) // 400]
    answer = world.post({"orders": sample, "atomic": False}, path="/v1/orders/bulk")
    assert {result["code"] for result in answer.json()["results"]} == {"MOVEMENT_NOT_ALLOWED"}
    assert verify(world.service_url).faults == ()


def test_an_order_carries_only_its_own_movements(world: Any) -> None:
    orders = []
    for order_type in OrderType:
        for kind in set(MovementType) - ALLOWED_ORDERS.get(order_type, frozenset()):
            debit, credit = min(ALLOWED_MOVEMENTS[kind])
            orders.append(world.order(order_type.value, (kind.value, _account(debit), _account(credit, 2), 1)))
    before = world.content()
    assert world.post(orders[0]).json()["code"] == "MOVEMENT_NOT_OF_ORDER"
    assert world.content() == before
    results = world.post({"orders": orders[::2], "atomic": False}, path="/v1/orders/bulk").json()["results"]
    assert {(result["code"], result["field"]) for result in results} == {("MOVEMENT_NOT_OF_ORDER", "movements[0].movement_type")}


def test_orders_of_the_bank_are_not_entered_by_a_platform(world: Any) -> None:
    key = {"Authorization": f"Bearer {add_key(world.admin_url, 'P01')}"}
    before = world.content()
    for order_type in sorted(ORDERS_OF_THE_BANK):
        kind = min(ALLOWED_ORDERS[order_type])
        debit, credit = min(ALLOWED_MOVEMENTS[kind])
        body = world.order(order_type.value, (kind.value, _account(debit), _account(credit, 2), 1))
        answer = world.client.post("/v1/orders", json=body, headers={"Idempotency-Key": "k", **key})
        assert (answer.status_code, answer.json()["code"]) == (403, "ORDER_OF_THE_BANK")
    assert world.content() == before


def test_suspense_holds_what_the_bank_has_not_passed_on(world: Any) -> None:
    """N of equation B-1: interest and receipts come in, charges go out, until each is passed on, claimed or returned."""
    for order_type, *movements in (
        ("INTEREST_CREDITED", ("BANK_INTEREST", "P01-X-SPECIAL", "P01-X-SUSPENSE", 500)),
        (
            "BANK_CHARGE",
            ("BANK_CHARGE", "P01-X-SUSPENSE", "P01-X-SPECIAL", 20),
            ("BANK_TAX", "P01-X-SUSPENSE", "P01-X-SPECIAL", 5),
        ),
        ("UNIDENTIFIED_RECEIPT", ("UNIDENTIFIED_RECEIPT", "P01-X-SPECIAL", "P01-X-SUSPENSE", 1000)),
        ("UNIDENTIFIED_RECEIPT", ("RECEIPT_CLAIMED", "P01-X-SUSPENSE", _account(AccountRole.INVESTOR), 400)),
        ("UNIDENTIFIED_RECEIPT", ("RECEIPT_RETURNED", "P01-X-SUSPENSE", "P01-X-WITHDRAWAL", 600)),
    ):
        assert world.post(world.order(order_type, *movements)).status_code == 201
    assert world.balance("P01-X-SUSPENSE")["balance_minor"] == 475
    for order_type, movement in (
        ("INTEREST_CREDITED", ("INTEREST_PASSED_ON", "P01-X-SUSPENSE", _account(AccountRole.PLATFORM_INTEREST), 500)),
        ("BANK_CHARGE", ("CHARGE_PASSED_ON", _account(AccountRole.PLATFORM_INCOME), "P01-X-SUSPENSE", 25)),
    ):
        assert world.post(world.order(order_type, movement)).status_code == 201
    assert world.balance("P01-X-SUSPENSE")["balance_minor"] == 0
