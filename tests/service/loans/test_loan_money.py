"""A loan's money from the first bid to the last cent, as instructions: the bank works out every movement."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.service.loans.conftest import BORROWING, GUARANTEEING, LENDERS, TERMS
from transactional.verify import verify

TOTAL = sum(LENDERS.values())
INCOME = "P01-F-INCOME"


@pytest.fixture
def raising(market: Any) -> Any:
    """Loan L-1 of 100,001 is raising, and both lenders have twice as much as they bid."""
    market.register("L-1", contract_minor=TOTAL)
    market.status("L-1", "6", "2026-01-05")
    for account, amount in LENDERS.items():
        market.api.recharge(account, 2 * amount)
    return market


def bid(market: Any, number: str, account: str, amount: int, **more: Any) -> Any:
    return market.send("loans/L-1/bids", {"bid_no": f"BID-{number}", "account": account, "amount_minor": amount, **more})


def fill(market: Any) -> None:
    for account, amount in LENDERS.items():
        assert bid(market, account[-1], account, amount).status_code == 201
    market.status("L-1", "1", "2026-01-15")


def disburse(market: Any, **more: Any) -> Any:
    body = {"request_no": "DISB-1", "borrower_account": BORROWING, "amount_minor": TOTAL, **more}
    return market.send("loans/L-1/disbursement", body)


def sound(market: Any) -> None:
    assert market.faults() == []
    market.api.rows("SELECT ledger.seal_pending(10)")
    assert verify(market.api.admin_url).faults == ()


def test_a_bid_holds_the_lenders_money_for_the_loan(raising: Any) -> None:
    kept = bid(raising, "1", "P01-L-000001", 60_000).json()["bid"]
    assert (kept["state"], kept["held_minor"], kept["loan_no"]) == ("LIVE", 60_000, "L-1")
    balance = raising.api.balance("P01-L-000001")
    assert (balance["balance_minor"], balance["available_minor"]) == (120_000, 60_000)
    assert [one["bid_no"] for one in raising.read("loans/L-1/bids")["items"]] == ["BID-1"]
    sound(raising)


def test_bids_never_exceed_the_contract_amount_however_many_come_at_once(raising: Any) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: bid(raising, str(n), "P01-L-000001", 10_000), range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [422] * 2
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"AMOUNT_EXCEEDS"}
    assert raising.api.balance("P01-L-000001")["held_minor"] == 100_000
    raising.refused("loans/L-1/bids", {"bid_no": "BID-X", "account": "P01-L-000002", "amount_minor": 2}, "AMOUNT_EXCEEDS")
    assert bid(raising, "last", "P01-L-000002", 1).status_code == 201
    sound(raising)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"account": "P01-B-000003"}, "ORDER_DIFFERS"),
        ({"account": "P01-L-000003"}, "INSUFFICIENT_FUNDS"),
        ({"account": "P02-L-000001"}, "ACCOUNT_OF_OTHER_PLATFORM"),
        ({"account": "P01-L-999999"}, "UNKNOWN_ACCOUNT"),
        ({"amount_minor": 120_001}, "INSUFFICIENT_FUNDS"),
        ({"amount_minor": 0}, "BODY_INVALID"),
        ({"amount_minor": 1.0}, "BODY_INVALID"),
        ({"platform_id": "P99"}, "LOAN_NOT_FOUND"),
    ],
)
def test_a_bid_that_cannot_be_leaves_nothing(raising: Any, change: dict[str, Any], code: str) -> None:
    raising.api.recharge("P01-B-000003", 10)
    raising.refused("loans/L-1/bids", {"bid_no": "BID-1", "account": "P01-L-000001", "amount_minor": 10, **change}, code)
    assert raising.api.balance("P01-L-000001")["held_minor"] == 0


def test_nobody_bids_outside_the_raise(market: Any) -> None:
    market.register("L-1", contract_minor=TOTAL)
    market.api.recharge("P01-L-000001", 100)
    body = {"bid_no": "BID-1", "account": "P01-L-000001", "amount_minor": 100}
    market.refused("loans/L-1/bids", body, "STATE_CONFLICT")
    market.status("L-1", "6", "2026-01-05")
    market.at("2026-01-21")
    market.refused("loans/L-1/bids", body, "STATE_CONFLICT")


def test_a_disbursement_turns_every_bid_into_a_claim_in_one_order(raising: Any) -> None:
    fill(raising)
    answer = disburse(raising, fees=[{"credit_account": INCOME, "amount_minor": 1_000}])
    assert answer.status_code == 201, answer.text
    loan = answer.json()["loan"]
    assert (loan["status"], loan["disbursed_minor"], loan["outstanding_principal_minor"]) == ("9", TOTAL, TOTAL)
    assert raising.api.balance(BORROWING)["balance_minor"] == TOTAL - 1_000
    assert raising.api.balance(INCOME)["balance_minor"] == 1_000
    claims = raising.api.rows("SELECT claim_no, principal_minor FROM loans.claim ORDER BY 1")
    assert claims == [(f"BID-{account[-1]}", amount) for account, amount in LENDERS.items()]
    assert {one["state"] for one in raising.read("loans/L-1/bids")["items"]} == {"DISBURSED"}
    for account, amount in LENDERS.items():
        balance = raising.api.balance(account)
        assert (balance["balance_minor"], balance["held_minor"]) == (amount, 0)
    raising.refused(
        "loans/L-1/disbursement", {"request_no": "D2", "borrower_account": BORROWING, "amount_minor": TOTAL}, "AMOUNT_DIFFERS"
    )
    sound(raising)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount_minor": TOTAL - 1}, "AMOUNT_DIFFERS"),
        ({"borrower_account": "P01-B-000001"}, "ORDER_DIFFERS"),
        ({"borrower_account": "P01-L-000003"}, "MOVEMENT_NOT_ALLOWED"),
        ({"fees": [{"credit_account": INCOME, "amount_minor": TOTAL + 1}]}, "INSUFFICIENT_FUNDS"),
        ({"fees": [{"credit_account": "P01-L-000001", "amount_minor": 1}]}, "MOVEMENT_NOT_ALLOWED"),
    ],
)
def test_a_disbursement_that_cannot_be_leaves_every_bid_held(raising: Any, change: dict[str, Any], code: str) -> None:
    fill(raising)
    body = {"request_no": "D1", "borrower_account": BORROWING, "amount_minor": TOTAL, **change}
    raising.refused("loans/L-1/disbursement", body, code)
    assert {one["state"] for one in raising.read("loans/L-1/bids")["items"]} == {"LIVE"}
    assert raising.api.balance(BORROWING)["balance_minor"] == 0


def test_a_loan_that_is_not_full_is_not_disbursed(raising: Any) -> None:
    assert bid(raising, "1", "P01-L-000001", 60_000).status_code == 201
    raising.refused(
        "loans/L-1/disbursement",
        {"request_no": "D1", "borrower_account": BORROWING, "amount_minor": 60_000},
        "STATUS_NOT_ALLOWED",
    )


def test_a_failed_raise_gives_back_to_the_cent_and_moves_nothing(raising: Any) -> None:
    for account, amount in LENDERS.items():
        bid(raising, account[-1], account, amount - 7)
    answer = raising.done("loans/L-1/failed-raise", {"request_no": "FAIL-1", "reason": "not filled in time"})
    assert (answer["loan"]["status"], answer["bids"], answer["released_minor"]) == ("2", 2, TOTAL - 14)
    assert answer["order"]["movement_ids"] == []
    for account, amount in LENDERS.items():
        balance = raising.api.balance(account)
        assert (balance["balance_minor"], balance["held_minor"]) == (2 * amount, 0)
    assert {one["state"] for one in raising.read("loans/L-1/bids")["items"]} == {"RELEASED"}
    raising.refused("loans/L-1/bids", {"bid_no": "BID-9", "account": "P01-L-000001", "amount_minor": 1}, "STATE_CONFLICT")
    sound(raising)


@pytest.fixture
def lent(raising: Any) -> Any:
    """The loan is disbursed and has its plan of three instalments."""
    fill(raising)
    assert disburse(raising).status_code == 201
    raising.done("loans/L-1/plan?generate=true", {"reason": "ORIGINAL", "valid_from": "2026-01-15"})
    return raising


def owed(market: Any) -> int:
    loan = market.read("loans/L-1")
    return int(loan["outstanding_principal_minor"] + loan["outstanding_interest_minor"])


def pay(market: Any, number: int, amount: int, kind: str = "repayments", account: str = BORROWING, **more: Any) -> Any:
    market.api.recharge(account, amount + 500)
    return market.send(f"loans/L-1/{kind}", {"request_no": f"PAY-{number}", "account": account, "amount_minor": amount, **more})


def test_repayments_of_odd_amounts_end_with_every_claim_at_zero(lent: Any) -> None:
    numbers, count = random.Random(7), 0
    while (left := owed(lent)) > 0:
        amount = min(left, numbers.randint(1, left) if count < 9 else left)
        answer = pay(lent, count, amount)
        assert answer.status_code == 201, answer.text
        parts = answer.json()["parts"]
        assert sum(part["amount_minor"] for part in parts) == amount
        assert owed(lent) == left - amount
        count += 1
    assert lent.api.rows("SELECT DISTINCT outstanding_minor FROM loans.claim_state") == [(0,)]
    assert lent.status("L-1", "3", "2026-01-15")["status"] == "3"
    sound(lent)


def test_more_than_is_owed_is_not_taken(lent: Any) -> None:
    lent.api.recharge(BORROWING, 10 * TOTAL)
    body = {"request_no": "PAY-1", "account": BORROWING, "amount_minor": owed(lent) + 1}
    lent.refused("loans/L-1/repayments", body, "AMOUNT_EXCEEDS", "amount_minor")


def test_only_a_borrowers_account_repays_and_only_a_guarantors_compensates(lent: Any) -> None:
    lent.at("2026-03-01")
    body = {"request_no": "PAY-1", "amount_minor": 100}
    lent.refused("loans/L-1/repayments", {**body, "account": "P01-L-000003"}, "MOVEMENT_NOT_ALLOWED")
    lent.refused("loans/L-1/compensations", {**body, "account": BORROWING}, "MOVEMENT_NOT_ALLOWED")


def test_a_compensation_pays_lenders_what_is_due_and_the_borrower_stays_late(lent: Any) -> None:
    lent.at("2026-02-20")
    (due,) = lent.api.rows("SELECT principal_minor + interest_minor FROM loans.plan_row WHERE issue_no = 1")
    lent.api.recharge(GUARANTEEING, 10 * TOTAL)
    too_much = {"request_no": "C-1", "account": GUARANTEEING, "amount_minor": due[0] + 1}
    lent.refused("loans/L-1/compensations", too_much, "AMOUNT_EXCEEDS", "amount_minor")
    answer = lent.done("loans/L-1/compensations", {**too_much, "amount_minor": due[0]})
    assert {part["movement_type"] for part in answer["parts"]} == {"COMPENSATORY"}
    loan = lent.read("loans/L-1")
    assert loan["lender_days_past_due"] == 0
    assert loan["borrower_days_past_due"] > 0


def test_many_repayments_at_once_never_pay_more_than_is_owed(lent: Any) -> None:
    total = owed(lent)
    lent.api.recharge(BORROWING, 10 * TOTAL)
    part = total // 5
    bodies = [{"request_no": f"PAY-{n}", "account": BORROWING, "amount_minor": part} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: lent.send("loans/L-1/repayments", body), bodies))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [422] * 3
    assert owed(lent) == total - 5 * part
    sound(lent)


@pytest.mark.parametrize("kind", ["bids", "disbursement", "failed-raise", "repayments"])
def test_a_dry_run_answers_what_the_real_one_would_and_leaves_nothing(raising: Any, kind: str) -> None:
    bodies = {
        "bids": {"bid_no": "BID-1", "account": "P01-L-000001", "amount_minor": 5},
        "disbursement": {"request_no": "D1", "borrower_account": BORROWING, "amount_minor": TOTAL},
        "failed-raise": {"request_no": "F1", "reason": "asked"},
        "repayments": {"request_no": "R1", "account": BORROWING, "amount_minor": 900},
    }
    if kind != "bids":
        fill(raising)
    if kind == "repayments":
        disburse(raising)
        raising.done("loans/L-1/plan?generate=true", {"reason": "ORIGINAL", "valid_from": "2026-01-15"})
    before, ledger = raising.content(), raising.api.content()
    dry = raising.send(f"loans/L-1/{kind}?dry_run=true", bodies[kind])
    assert dry.status_code == 200, dry.text
    assert (raising.content(), raising.api.content()) == (before, ledger)
    real = raising.send(f"loans/L-1/{kind}", bodies[kind])
    assert real.status_code == 201, real.text
    assert real.json().get("parts") == dry.json().get("parts")
    assert [one for one in TERMS if dry.json().get("loan", {}).get(one) != real.json().get("loan", {}).get(one)] == []


def test_a_repeated_instruction_is_one(raising: Any) -> None:
    body = {"bid_no": "BID-1", "account": "P01-L-000001", "amount_minor": 5}
    first, again = (raising.send("loans/L-1/bids", body, key="same") for _ in range(2))
    assert (first.text, again.headers["Idempotency-Replayed"]) == (again.text, "true")
    assert raising.api.rows("SELECT count(*) FROM loans.bid") == [(1,)]
    raising.refused("loans/L-1/bids", body, "REQUEST_NO_TAKEN")
