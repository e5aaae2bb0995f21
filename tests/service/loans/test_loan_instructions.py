"""Prepayment, the money of sales and guarantees, entrusted payments, and the claim that no order pays twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest

from tests.service.loans.conftest import BORROWING, GUARANTEEING, LENDERS, movement
from transactional.verify import verify

TOTAL = sum(LENDERS.values())
LENDER, OTHER, INCOME = "P01-L-000001", "P01-L-000002", "P01-F-INCOME"
CLAIM = "L-1-CL-1"


def sound(market: Any) -> None:
    assert market.faults() == []
    market.api.rows("SELECT ledger.seal_pending(10)")
    assert verify(market.api.admin_url).faults == ()


def prepayment(principal: int, interest: int, **more: Any) -> dict[str, Any]:
    terms = {"principal_minor": principal, "interest_minor": interest}
    return {"request_no": "PRE-1", "account": BORROWING, **terms, **more}


def accrued(market: Any, principal: int) -> int:
    """The interest that the bank says has accrued, from its refusal of a wrong one."""
    answer = market.send("loans/L-1/prepayments", prepayment(principal, 10**9)).json()
    assert answer["code"] == "AMOUNT_DIFFERS", answer
    return int(answer["value"])


def test_a_prepayment_pays_principal_and_interest_to_the_day_and_writes_the_next_plan(market: Any) -> None:
    market.lend()
    market.at("2026-01-30")
    interest = accrued(market, 40_000)
    assert 0 < interest < 400  # 12 % a year, half a month
    market.api.recharge(BORROWING, 100_000)
    done = market.done(
        "loans/L-1/prepayments", prepayment(40_000, interest, fees=[{"credit_account": INCOME, "amount_minor": 7}])
    )
    assert sum(part["amount_minor"] for part in done["parts"] if part["component"] == "P") == 40_000
    assert sum(part["amount_minor"] for part in done["parts"] if part["component"] == "I") == interest
    assert (done["loan"]["outstanding_principal_minor"], done["loan"]["plan_version"]) == (TOTAL - 40_000, 2)
    plan = market.read("loans/L-1/plan")
    assert (plan["reason"], sum(row["principal_minor"] for row in plan["rows"])) == ("PREPAYMENT", TOTAL)
    assert market.api.balance(INCOME)["balance_minor"] == 7
    sound(market)


def test_a_whole_prepayment_settles_the_loan(market: Any) -> None:
    market.lend()
    market.at("2026-01-30")
    interest = accrued(market, TOTAL)
    market.api.recharge(BORROWING, TOTAL + interest)
    done = market.done("loans/L-1/prepayments", prepayment(TOTAL, interest))
    assert (done["loan"]["status"], done["loan"]["outstanding_principal_minor"]) == ("3", 0)
    assert market.api.balance(BORROWING)["balance_minor"] == TOTAL  # what was disbursed is untouched
    sound(market)


def test_a_prepayment_that_cannot_be_leaves_everything(market: Any) -> None:
    market.lend()
    market.api.recharge(BORROWING, 2 * TOTAL)
    market.refused("loans/L-1/prepayments", prepayment(TOTAL + 1, 0), "PLAN_DIFFERS", "prepaid_minor")
    market.refused("loans/L-1/prepayments", prepayment(100, 1), "AMOUNT_DIFFERS", "interest_minor")
    market.at("2026-02-16")
    market.refused("loans/L-1/prepayments", prepayment(100, 0), "STATE_CONFLICT", "loan_no")
    market.refused("loans/L-9/prepayments", prepayment(100, 0), "LOAN_NOT_FOUND")


def _sale(market: Any, **deal: Any) -> None:
    market.lend()
    market.done(
        "transfers",
        {
            "listing_no": "S-1",
            "claim_no": CLAIM,
            "principal_minor": 60_000,
            "price_minor": 60_000,
            "listed_on": "2026-01-15",
            "expires_on": "2026-02-28",
        },
    )
    agreed = {"deal_no": "D-1", "buyer_customer_no": "P01-C000002", "principal_minor": 20_000, "price_minor": 19_900}
    market.done("transfers/S-1/deals", {**agreed, "fee_minor": 30, "agreed_on": "2026-01-15", **deal})


def test_the_money_of_a_sale_and_its_title_pass_together(market: Any) -> None:
    _sale(market)
    market.api.recharge(OTHER, 30_000)
    before = market.api.balance(LENDER)["balance_minor"]
    body = {"request_no": "BUY-1", "buyer_account": OTHER, "fee_payer": "SELLER", "fee_account": INCOME}
    done = market.done("deals/D-1/payment", body)
    assert (done["deal"]["state"], done["deal"]["request_no"]) == ("SETTLED", "BUY-1")
    assert market.api.balance(LENDER)["balance_minor"] == before + 19_900 - 30
    assert market.read(f"claims/{CLAIM}-D-1")["outstanding_minor"] == 20_000
    assert market.read(f"claims/{CLAIM}")["outstanding_minor"] == 40_000
    market.refused("deals/D-1/payment", {**body, "request_no": "BUY-2"}, "STATE_CONFLICT", "deal_no")
    sound(market)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"buyer_account": "P01-L-000003"}, "INSUFFICIENT_FUNDS"),
        ({"buyer_account": LENDER, "fee_payer": "SELLER"}, "SAME_ACCOUNT"),
        ({"fee_account": None}, "BODY_INVALID"),
        ({"claim_no": CLAIM}, "NUMBER_TAKEN"),
    ],
)
def test_a_sale_that_is_not_paid_as_agreed_passes_no_title(market: Any, change: dict[str, Any], code: str) -> None:
    _sale(market)
    market.api.recharge(OTHER, 30_000)
    body = {"request_no": "BUY-1", "buyer_account": OTHER, "fee_account": INCOME}
    market.refused("deals/D-1/payment", {**body, **change}, code)
    market.refused("deals/D-9/payment", body, "RECORD_NOT_FOUND")


def test_of_payments_for_one_deal_at_once_one_passes(market: Any) -> None:
    _sale(market)
    market.api.recharge(OTHER, 200_000)
    bodies = [{"request_no": f"BUY-{n}", "buyer_account": OTHER, "fee_account": INCOME} for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda body: market.send("deals/D-1/payment", body), bodies))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    sound(market)


def _called(market: Any, coverage: str = "PRINCIPAL_AND_INTEREST") -> None:
    market.lend()
    policy = {"policy_no": "G-1", "loan_no": "L-1", "customer_no": "P01-C000004", "coverage": coverage, "cover_minor": 50_000}
    market.done(
        "guarantees", {**policy, "waiting_days": 3, "premium_minor": 0, "valid_from": "2026-01-15", "valid_to": "2026-12-31"}
    )
    market.at("2026-02-20")
    asked = {"call_no": "K-1", "issue_no": 1, "called_on": "2026-02-20", "due_on": "2026-02-27"}
    market.done("guarantees/G-1/calls", {**asked, "called_minor": 33_334 if coverage == "PRINCIPAL" else 34_334})


def test_the_guarantor_pays_the_called_instalment_and_is_paid_back_no_more_than_that(market: Any) -> None:
    _called(market)
    market.api.recharge(GUARANTEEING, 40_000)
    payment = {"request_no": "G-PAY", "account": GUARANTEEING, "amount_minor": 34_334, "claim_no": "SUB-1"}
    market.refused("guarantee-calls/K-1/payment", {**payment, "amount_minor": 34_335}, "AMOUNT_EXCEEDS")
    done = market.done("guarantee-calls/K-1/payment", payment)
    assert (done["call"]["state"], done["call"]["claim_no"]) == ("PAID", "SUB-1")
    assert sum(part["amount_minor"] for part in done["parts"]) == 34_334
    market.api.recharge(BORROWING, 40_000)
    back = {"request_no": "BACK-1", "account": BORROWING, "amount_minor": 30_000}
    assert market.done("subrogations/SUB-1/repayments", back)["claim"]["outstanding_minor"] == 4_334
    too_much = {**back, "request_no": "BACK-2", "amount_minor": 4_335}
    market.refused("subrogations/SUB-1/repayments", too_much, "AMOUNT_EXCEEDS")
    done = market.done("subrogations/SUB-1/repayments", {**too_much, "amount_minor": 4_334})
    assert done["claim"]["outstanding_minor"] == 0
    sound(market)


def test_a_guarantee_of_principal_pays_no_interest(market: Any) -> None:
    _called(market, "PRINCIPAL")
    market.api.recharge(GUARANTEEING, 40_000)
    payment = {"request_no": "G-PAY", "account": GUARANTEEING, "amount_minor": 33_334}
    done = market.done("guarantee-calls/K-1/payment", payment)
    assert {part["component"] for part in done["parts"]} == {"P"}
    sound(market)


def _supplier(market: Any) -> str:
    account = {"account_no": "P01-S-1", "platform_id": "P01", "account_role": "SUPPLIER", "currency": "CNY"}
    assert market.api.client.post("/v1/registry", json={"sub_accounts": [account]}).status_code == 200
    return "P01-S-1"


def test_an_entrusted_payment_goes_to_a_listed_payee_and_never_exceeds_the_loan(market: Any) -> None:
    market.lend()
    payee = _supplier(market)
    body = {"request_no": "ENT-1", "account": BORROWING, "payee_account": payee, "amount_minor": 60_000}
    market.refused("loans/L-1/entrusted-payments", body, "PAYEE_NOT_LISTED", "payee_account")
    listed = sha256(payee.encode()).hexdigest()
    entry = {"kind": "ACCOUNT", "value": listed, "holds_from": "2026-01-15", "valid_from": "2026-01-15"}
    market.api.approved("WHITE_LIST", listed, entry, platform_id="P01")
    assert market.done("loans/L-1/entrusted-payments", body)["left_minor"] == TOTAL - 60_000
    market.api.recharge(BORROWING, TOTAL)
    more = {**body, "request_no": "ENT-2", "amount_minor": TOTAL - 60_000 + 1}
    market.refused("loans/L-1/entrusted-payments", more, "AMOUNT_EXCEEDS", "amount_minor")
    assert market.api.balance(payee)["balance_minor"] == 60_000
    sound(market)


def test_no_order_pays_a_claim_more_principal_than_it_has_outstanding(market: Any) -> None:
    market.lend()
    market.api.recharge(BORROWING, 300_000)

    def paid(amount: int, *more: dict[str, Any]) -> Any:
        about = {"loan_no": "L-1", "issue_no": 1, "component": "P", "claim_no": CLAIM}
        order = market.api.order("REPAYMENT") | {"movements": [movement("PRINCIPAL", BORROWING, LENDER, amount, **about), *more]}
        return market.api.post(order)

    answer = paid(60_001)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "CLAIM_EXCEEDED", "claim_no")
    about = {"loan_no": "L-1", "issue_no": 1, "component": "P", "claim_no": CLAIM}
    assert paid(30_000, movement("PRINCIPAL", BORROWING, LENDER, 30_001, **about)).json()["code"] == "CLAIM_EXCEEDED"
    assert paid(60_000).status_code == 201
    assert paid(1).json()["code"] == "CLAIM_EXCEEDED"
    assert market.read(f"claims/{CLAIM}")["outstanding_minor"] == 0
    sound(market)
