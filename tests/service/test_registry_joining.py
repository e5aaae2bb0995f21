"""Joining and leaving of platforms to the cent, by two people; and white lists at the door of the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.registry_tables import HASH, content
from transactional.keys import add_key
from transactional.verify import verify

PLATFORM = {
    "platform_id": "P05",
    "name": "Five",
    "legal_name": "Five Ltd",
    "currency": "CNY",
    "pack_id": "CN_2017",
    "onboarded_on": "2026-04-01",
}
PEOPLE = [
    {
        "customer_no": f"P05-C{n}",
        "party_ref": f"PARTY-5{n}",
        "party_type": "PERSON",
        "id_hash": f"five{n}",
        "name_masked": "W*",
        "roles": [],
        "opened_on": "2026-04-01",
    }
    for n in (1, 2)
]
ACCOUNTS = [
    {"account_no": f"P05-L-{n}", "account_role": "INVESTOR", "currency": "CNY", "customer_no": f"P05-C{n}"} for n in (1, 2)
]
OPENING: dict[str, Any] = {
    "old_custodian": "Bank of Before",
    "special_account_minor": 1_234_56,
    "valid_from": "2026-04-01",
    "reason": "contract of March",
    "balances": [{"account_no": "P05-L-1", "amount_minor": 1_234_55}, {"account_no": "P05-L-2", "amount_minor": 1}],
    "loans": [{"loan_no": "L1", "outstanding_minor": 500, "claims_minor": 500}],
}
WHEN = {"valid_from": "2026-12-31", "reason": "goes to another custodian"}


@pytest.fixture
def joining(api: Any) -> Any:
    """A platform in state ONBOARDING with two lenders."""
    ann = {**api.staff("ann", "officer"), "Idempotency-Key": "open"}
    opened = api.client.post("/v1/platforms", json=PLATFORM, headers=ann)
    assert (opened.status_code, opened.json()) == (201, {"platform_id": "P05", "status": "ONBOARDING"})
    done = api.post({"platform_id": "P05", "customers": PEOPLE, "accounts": ACCOUNTS}, path="/v1/registry/upsert").json()
    assert done["new"] == 4, done
    return api


def ask(api: Any, step: str, body: dict[str, Any]) -> Any:
    headers = {**api.staff("ann", "officer"), "Idempotency-Key": f"key-{next(api.numbers)}"}
    return api.client.post(f"/v1/platforms/P05/{step}", json=body, headers=headers)


def approve(api: Any, proposed: Any) -> Any:
    assert proposed.status_code == 201, proposed.text
    decided = api.decide(proposed.json(), by=api.staff("ben", "checker"))
    assert decided.status_code == 201, decided.text
    return decided.json()["result"]


def status(api: Any) -> str:
    found: str = api.client.get("/v1/platforms/P05").json()["status"]
    return found


def test_a_platform_joins_with_balances_to_the_cent_and_trades_from_then_on(joining: Any, database: Any) -> None:
    early = joining.order("WITHDRAW", ("WITHDRAW", "P05-L-1", "P05-X-WITHDRAWAL", 1), platform_id="P05")
    assert joining.post(early).status_code == 422
    proposed = ask(joining, "onboarding", OPENING)
    assert (proposed.status_code, status(joining)) == (201, "ONBOARDING")
    assert joining.rows("SELECT count(*) FROM ledger.movement") == [(0,)]
    assert approve(joining, proposed) == {
        "status": "ACTIVE",
        "special_account_minor": 1_234_56,
        "outstanding_minor": 500,
        "claims_minor": 500,
    }
    assert status(joining) == "ACTIVE"
    assert [joining.balance(f"P05-L-{n}")["balance_minor"] for n in (1, 2)] == [1_234_55, 1]
    assert joining.balance("P05-X-SPECIAL")["balance_minor"] == -1_234_56
    assert joining.rows("SELECT order_type, entered_by FROM ledger.trade_order") == [("OPENING", "ben")]
    assert joining.post(early).status_code == 201
    again = ask(joining, "onboarding", OPENING)
    assert again.json()["code"] == "STATUS_NOT_ALLOWED"
    assert verify(database.url("service")).faults == ()


def test_an_opening_that_is_a_cent_off_is_not_even_proposed(joining: Any) -> None:
    loan, balance = OPENING["loans"][0], OPENING["balances"][0]
    off = [
        ({"special_account_minor": 1_234_57}, "OPENING_DIFFERS"),
        ({"loans": [{**loan, "claims_minor": 499}]}, "OPENING_DIFFERS"),
        (
            {"loans": [{**loan, "claims_minor": 499}, {"loan_no": "L2", "outstanding_minor": 499, "claims_minor": 500}]},
            "OPENING_DIFFERS",
        ),
        ({"balances": [balance, {**balance, "amount_minor": 1}]}, "OPENING_DIFFERS"),
        ({"balances": [{**balance, "account_no": "P01-L-000001", "amount_minor": 1_234_56}]}, "UNKNOWN_ACCOUNT"),
        ({"balances": [{**balance, "account_no": "P05-X-SPECIAL", "amount_minor": 1_234_56}]}, "UNKNOWN_ACCOUNT"),
        ({"balances": [{**balance, "amount_minor": -1}]}, "BODY_INVALID"),
        ({"special_account_minor": 1234.56}, "BODY_INVALID"),
    ]
    joining.staff("ann", "officer")
    before, tables = joining.content(), content(joining)
    for change, code in off:
        answer = ask(joining, "onboarding", {**OPENING, **change})
        assert answer.json().get("code") == code, (change, answer.text)
    assert (joining.content(), content(joining)) == (before, tables)


def test_a_platform_with_orders_is_not_onboarded_again(joining: Any) -> None:
    other = {**joining.staff("ann", "officer"), "Idempotency-Key": "k"}
    joining.recharge("P01-L-000001", 5)
    refused = joining.client.post(
        "/v1/platforms/P01/onboarding", json={**OPENING, "balances": [], "special_account_minor": 0}, headers=other
    )
    assert refused.json()["code"] == "STATUS_NOT_ALLOWED"
    missing = joining.client.post("/v1/platforms/P99/onboarding", json=OPENING, headers={**other, "Idempotency-Key": "k2"})
    assert missing.json()["code"] == "UNKNOWN_PLATFORM"


def test_a_platform_leaves_when_all_is_paid_out_with_a_statement_that_balances(joining: Any) -> None:
    approve(joining, ask(joining, "onboarding", OPENING))
    assert ask(joining, "leaving", WHEN).json()["code"] == "PLATFORM_NOT_EMPTY"
    leaving = {"valid_from": "2026-12-01", "status": "LEAVING", "reason": "contract ends"}
    joining.approved("PLATFORM_STATUS", "P05", leaving, platform_id="P05")
    for account, amount in (("P05-L-1", 1_234_55), ("P05-L-2", 1)):
        order = joining.order("WITHDRAW", ("WITHDRAW", account, "P05-X-WITHDRAWAL", amount), platform_id="P05")
        assert joining.post(order).status_code == 201
        assert ask(joining, "leaving", WHEN).json()["code"] == "PLATFORM_NOT_EMPTY"
    payout = joining.order(
        "WITHDRAW_PAYOUT", ("WITHDRAW_PAYOUT", "P05-X-WITHDRAWAL", "P05-X-SPECIAL", 1_234_56), platform_id="P05"
    )
    assert joining.post(payout).status_code == 201
    assert joining.client.get("/v1/platforms/P05/final-statement").status_code == 404
    result = approve(joining, ask(joining, "leaving", WHEN))
    assert (result["status"], result["accounts"], result["closing_minor"], result["opening_minor"]) == ("LEFT", 6, 0, 0)
    statement = joining.client.get("/v1/platforms/P05/final-statement").json()
    lines = {row["account_no"]: row for row in statement["accounts"]}
    assert lines["P05-L-1"] == {
        "account_no": "P05-L-1",
        "account_role": "INVESTOR",
        "currency": "CNY",
        "opening_minor": 1_234_55,
        "debit_minor": 1_234_55,
        "credit_minor": 0,
        "closing_minor": 0,
    }
    assert lines["P05-X-SPECIAL"]["opening_minor"] == -1_234_56
    for row in [*lines.values(), *statement["totals"]]:
        assert row["opening_minor"] + row["credit_minor"] - row["debit_minor"] == row["closing_minor"] == 0
    before = joining.content()
    late = joining.order("RECHARGE", ("RECHARGE", "P05-X-SPECIAL", "P05-L-1", 1), platform_id="P05")
    assert joining.post(late).status_code == 422
    opening = joining.order("OPENING", ("OPENING_BALANCE", "P05-X-SPECIAL", "P05-L-1", 1), platform_id="P05")
    assert joining.post(opening).json()["code"] == "PLATFORM_NOT_ACTIVE"
    assert joining.content() == before


def white(api: Any, kind: str, value: str, **more: Any) -> None:
    payload = {"valid_from": "2000-01-01", "kind": kind, "value": value, "holds_from": "2000-01-01", **more}
    api.approved("WHITE_LIST", value, payload, platform_id="P01")


def test_values_are_looked_up_on_the_list_that_holds_today(api: Any) -> None:
    def check(kind: str, value: str, platform: str = "P01") -> Any:
        return api.client.get("/v1/white-lists/check", params={"kind": kind, "value": value, "platform_id": platform}).json()

    white(api, "IP", "10.0.0.0/8")
    white(api, "MERCHANT", "M-1", holds_from="1999-01-01", holds_to="1999-12-31")
    white(api, "ACCOUNT", HASH)
    assert check("IP", "10.1.2.3") == {"listed": True, "entry": "10.0.0.0/8"}
    assert check("ACCOUNT", HASH) == {"listed": True, "entry": HASH}
    for kind, value, platform in (
        ("IP", "11.1.2.3", "P01"),
        ("IP", "nowhere", "P01"),
        ("MERCHANT", "M-1", "P01"),
        ("ACCOUNT", HASH, "P02"),
    ):
        assert check(kind, value, platform) == {"listed": False, "entry": None}


def test_a_platform_with_a_list_of_networks_is_let_in_from_them_only(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    white(api, "IP", "10.0.0.0/8", holds_to="2000-06-30")
    keys = {name: {"Authorization": f"Bearer {add_key(api.admin_url, name)}"} for name in ("P01", "P02")}

    def ask_from(host: str, platform: str) -> Any:
        monkeypatch.setattr(api.client._transport, "client", (host, 4711))  # the address the service sees
        return api.client.get("/v1/platforms", headers=keys[platform])

    assert ask_from("10.1.2.3", "P01").status_code == 200
    outside = ask_from("11.1.2.3", "P01")
    assert (outside.status_code, outside.json()["code"]) == (403, "ADDRESS_NOT_LISTED")
    assert ask_from("11.1.2.3", "P02").status_code == 200
    assert api.client.post("/v1/clock", json={"now": "2000-07-02T00:00:00Z"}).status_code == 200
    assert ask_from("10.1.2.3", "P01").json()["code"] == "ADDRESS_NOT_LISTED"
