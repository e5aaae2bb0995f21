"""Platforms' own money as instructions: urgent payments come back and no more, gifts and fees are one order each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from transactional.keys import add_key
from transactional.verify import verify

LENDER, OTHER, URGENT, MARKETING, INCOME = "P01-L-000001", "P01-L-000002", "P01-F-URGENT", "P01-F-MARKETING", "P01-F-INCOME"


@pytest.fixture
def bank(api: Any) -> Any:
    """Urgent and marketing accounts of the platform with 1,000 each, from its own funds."""
    account = {"account_no": URGENT, "platform_id": "P01", "account_role": "PLATFORM_URGENT", "currency": "CNY"}
    assert api.client.post("/v1/registry", json={"sub_accounts": [account]}).status_code == 200
    for target in (URGENT, MARKETING):
        movements = (("OWN_FUNDS_IN", "P01-X-SPECIAL", "P01-X-OWNFUNDS", 1_000), ("TOP_UP", "P01-X-OWNFUNDS", target, 1_000))
        answer = api.post(api.order("TOP_UP", *movements))
        assert answer.status_code == 201, answer.text
    return api


def send(bank: Any, path: str, key: str | None = None, **body: Any) -> Any:
    return bank.post({"platform_id": "P01", **body}, key, path=f"/v1/{path}")


def urgent(bank: Any, path: str, number: str, amount: int, account: str = LENDER) -> Any:
    return send(bank, path, request_no=number, urgent_account=URGENT, account=account, amount_minor=amount)


def sound(bank: Any) -> None:
    bank.rows("SELECT ledger.seal_pending(10)")
    assert verify(bank.admin_url).faults == ()


def refused(bank: Any, code: str, path: str, **body: Any) -> None:
    before = bank.content()
    answer = send(bank, path, **body)
    assert answer.json().get("code") == code, answer.text
    assert bank.content() == before


def test_urgent_money_comes_back_and_never_more_than_was_paid(bank: Any) -> None:
    assert urgent(bank, "urgent-payments", "U-1", 300).status_code == 201
    shown = bank.client.get("/v1/urgent-payments", params={"platform_id": "P01"}).json()["items"]
    assert [(row["account_no"], row["open_minor"]) for row in shown] == [(LENDER, 300)]
    assert urgent(bank, "urgent-returns", "R-1", 100).status_code == 201
    too_much = {"request_no": "R-2", "urgent_account": URGENT, "account": LENDER, "amount_minor": 201}
    bank.recharge(LENDER, 500)
    refused(bank, "AMOUNT_EXCEEDS", "urgent-returns", **too_much)
    refused(bank, "AMOUNT_EXCEEDS", "urgent-returns", **{**too_much, "account": OTHER, "amount_minor": 1})
    assert urgent(bank, "urgent-returns", "R-3", 200).status_code == 201
    assert bank.client.get("/v1/urgent-payments", params={"platform_id": "P01"}).json()["items"] == []
    sound(bank)


def test_returns_at_once_give_back_what_was_paid_and_no_more(bank: Any) -> None:
    assert urgent(bank, "urgent-payments", "U-1", 300).status_code == 201
    bank.recharge(LENDER, 5_000)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: urgent(bank, "urgent-returns", f"R-{number}", 100), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 3
    assert bank.balance(URGENT)["balance_minor"] == 1_000
    sound(bank)


def test_gifts_are_paid_to_all_or_to_none_and_only_from_money_that_is_there(bank: Any) -> None:
    gifts = [{"account": LENDER, "amount_minor": 400}, {"account": OTHER, "amount_minor": 600}]
    body = {"request_no": "M-1", "marketing_account": MARKETING, "payments": gifts}
    refused(bank, "INSUFFICIENT_FUNDS", "marketing-payments", **{**body, "payments": [*gifts, {**gifts[0], "amount_minor": 1}]})
    assert send(bank, "marketing-payments", **body).status_code == 201
    assert [bank.balance(account)["balance_minor"] for account in (LENDER, OTHER, MARKETING)] == [400, 600, 0]
    refused(bank, "REQUEST_NO_TAKEN", "marketing-payments", **body)
    sound(bank)


def test_service_fees_reach_the_platforms_income_and_their_key_is_one_answer(bank: Any) -> None:
    bank.recharge(LENDER, 50)
    fees = [{"account": LENDER, "amount_minor": 20}, {"account": LENDER, "amount_minor": 30, "loan_no": "L-1"}]
    body = {"request_no": "F-1", "income_account": INCOME, "fees": fees}
    rehearsed = send(bank, "service-fees?dry_run=true", **body)
    assert (rehearsed.status_code, bank.balance(INCOME)["balance_minor"]) == (200, 0)
    first, again = (send(bank, "service-fees", "same", **body) for _ in range(2))
    assert (first.status_code, again.headers["idempotency-replayed"], again.json()) == (201, "true", first.json())
    assert bank.balance(INCOME)["balance_minor"] == 50
    refused(bank, "MOVEMENT_NOT_ALLOWED", "service-fees", **{**body, "request_no": "F-2", "income_account": OTHER})
    sound(bank)


def test_another_platforms_money_looks_like_none(bank: Any) -> None:
    headers = {"Authorization": f"Bearer {add_key(bank.admin_url, 'P02')}", "Idempotency-Key": "k"}
    body = {"platform_id": "P01", "request_no": "U-9", "urgent_account": URGENT, "account": LENDER, "amount_minor": 1}
    assert bank.client.post("/v1/urgent-payments", json=body, headers=headers).status_code == 404
    own = {**body, "platform_id": "P02"}
    assert bank.client.post("/v1/urgent-payments", json=own, headers=headers).json()["code"] == "UNKNOWN_ACCOUNT"
