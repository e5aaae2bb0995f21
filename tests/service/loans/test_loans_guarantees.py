"""Guarantees: policy, call, payout from the guarantor, his own claim, and what the borrower pays back to him."""

from __future__ import annotations

from typing import Any

GUARANTOR, GUARANTEEING, BORROWING = "P01-C000004", "P01-G-000004", "P01-B-000003"


def _policy(market: Any, **more: Any) -> dict[str, Any]:
    body = {
        "policy_no": "G-1",
        "loan_no": "L-1",
        "customer_no": GUARANTOR,
        "coverage": "PRINCIPAL_AND_INTEREST",
        "cover_minor": 50_000,
        "waiting_days": 3,
        "premium_minor": 100,
        "valid_from": "2026-01-15",
        "valid_to": "2026-12-31",
        **more,
    }
    found: dict[str, Any] = market.done("guarantees", body)
    return found


def _call(amount: int = 34_334, **more: Any) -> dict[str, Any]:
    return {
        "call_no": "K-1",
        "issue_no": 1,
        "called_minor": amount,
        "called_on": "2026-02-20",
        "due_on": "2026-02-27",
        **more,
    }


def _compensate(market: Any, amount: int, **change: Any) -> str:
    """An order of the guarantor: interest first, then principal, to the two lenders as the service splits it."""
    parts = market.read("loans/L-1/split", amount_minor=amount)["parts"]
    market.api.recharge(GUARANTEEING, amount)
    about = {"movement_type": "COMPENSATORY", "debit_account": GUARANTEEING, "loan_no": "L-1"}
    return str(market.pay("COMPENSATORY", *({**about, **part, **change} for part in parts)))


def _pay_back(market: Any, amount: int, **change: Any) -> str:
    market.api.recharge(BORROWING, amount)
    about = {
        "movement_type": "COMPENSATORY_REPAYMENT",
        "debit_account": BORROWING,
        "credit_account": GUARANTEEING,
        "loan_no": "L-1",
    }
    return str(market.pay("COMPENSATORY_REPAYMENT", {**about, "amount_minor": amount, "issue_no": 1, "component": "P", **change}))


def test_a_guarantor_who_pays_stands_where_the_lenders_stood_until_he_is_paid_back(market: Any) -> None:
    market.lend()
    assert _policy(market)["state"] == "IN_FORCE"
    market.at("2026-02-20")
    assert market.done("guarantees/G-1/calls", _call())["state"] == "CALLED"
    order = _compensate(market, 34_334)
    paid = market.done("guarantee-calls/K-1/payouts", {"request_no": order, "claim_no": "SUB-1"})
    assert (paid["state"], paid["paid_minor"], paid["claim_no"]) == ("PAID", 34_334, "SUB-1")
    loan = market.read("loans/L-1")
    assert (loan["outstanding_principal_minor"], loan["guarantor_principal_minor"]) == (66_667, 33_334)
    assert (loan["lender_days_past_due"], loan["borrower_days_past_due"]) == (0, 5)
    claim = market.read("claims/SUB-1")
    assert (claim["origin"], claim["customer_no"], claim["outstanding_minor"]) == ("SUBROGATED", GUARANTOR, 34_334)
    back = market.done("subrogations/SUB-1/recoveries", {"request_no": _pay_back(market, 30_000)})
    assert back["outstanding_minor"] == 4_334
    too_much = _pay_back(market, 4_335)
    market.refused("subrogations/SUB-1/recoveries", {"request_no": too_much}, "AMOUNT_EXCEEDS", "request_no")
    market.done("subrogations/SUB-1/recoveries", {"request_no": _pay_back(market, 4_334)})
    policy = market.read("guarantees/G-1")
    assert (policy["state"], policy["paid_minor"], policy["recovered_minor"]) == ("RECOVERED", 34_334, 34_334)
    assert market.faults() == []


def test_a_call_waits_stays_within_the_cover_and_asks_for_what_is_missing_only(market: Any) -> None:
    market.lend()
    _policy(market, cover_minor=30_000)
    _policy(market, policy_no="G-2", coverage="PRINCIPAL", cover_minor=90_000)
    market.at("2026-02-20")
    market.refused("guarantees/G-1/calls", _call(1, called_on="2026-02-17"), "CALL_TOO_EARLY", "called_on")
    market.refused("guarantees/G-1/calls", _call(1, issue_no=2), "CALL_TOO_EARLY", "called_on")
    market.refused("guarantees/G-1/calls", _call(30_001), "AMOUNT_EXCEEDS", "called_minor")
    market.refused("guarantees/G-2/calls", _call(33_335), "AMOUNT_EXCEEDS", "called_minor")
    market.refused("guarantees/G-1/calls", _call(1, due_on="2026-02-19"), "BODY_INVALID", "due_on")
    market.refused("guarantees/G-9/calls", _call(1), "RECORD_NOT_FOUND", "policy_no")
    market.done("guarantees/G-2/calls", _call(33_334))
    market.refused("guarantees/G-2/calls", _call(1, call_no="K-2"), "AMOUNT_EXCEEDS", "called_minor")
    market.refused("guarantees/G-1/calls", _call(1), "NUMBER_TAKEN", "call_no")
    market.refused("guarantees/G-2/release", {"released_on": "2026-02-20", "reason": "x"}, "STATE_CONFLICT", "policy_no")
    market.done("guarantees/G-1/release", {"released_on": "2026-02-20", "reason": "replaced"})
    market.refused("guarantees/G-1/calls", _call(1, call_no="K-3"), "STATE_CONFLICT", "policy_no")


def test_a_payout_is_the_guarantors_own_order_for_that_instalment(market: Any) -> None:
    market.lend()
    _policy(market)
    market.at("2026-02-20")
    market.done("guarantees/G-1/calls", _call(20_000))
    path = "guarantee-calls/K-1/payouts"
    market.refused(path, {"request_no": "NONE"}, "UNKNOWN_ORDER", "request_no")
    market.refused("guarantee-calls/K-9/payouts", {"request_no": "NONE"}, "RECORD_NOT_FOUND", "call_no")
    market.refused(path, {"request_no": _compensate(market, 2_000, issue_no=2)}, "ORDER_DIFFERS", "issue_no")
    market.refused(path, {"request_no": _compensate(market, 2_000, loan_no="L-2")}, "ORDER_DIFFERS", "movements")
    market.refused(path, {"request_no": market.repay("L-1", 500)}, "ORDER_DIFFERS", "movements")
    market.refused(path, {"request_no": _compensate(market, 20_001)}, "AMOUNT_EXCEEDS", "request_no")
    first = _compensate(market, 5_000)
    assert market.done(path, {"request_no": first})["state"] == "PARTLY_PAID"
    market.refused(path, {"request_no": first}, "ORDER_USED", "request_no")
    market.refused("subrogations/L-1-CL-1/recoveries", {"request_no": _pay_back(market, 10)}, "STATE_CONFLICT", "claim_no")


def test_exposure_of_a_guarantor_is_listed(market: Any) -> None:
    market.register("L-1")
    market.register("L-2")
    _policy(market)
    _policy(market, policy_no="G-2", loan_no="L-2")
    listed = market.read("guarantees", customer_no=GUARANTOR, state="IN_FORCE")["items"]
    assert [(row["policy_no"], row["loan_no"], row["cover_minor"]) for row in listed] == [
        ("G-1", "L-1", 50_000),
        ("G-2", "L-2", 50_000),
    ]
