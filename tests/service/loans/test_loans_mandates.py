"""Auto-bid mandates: what they cover, their versions, and that no race passes their total."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

LENDER = "P01-L-000001"


def _mandate(version: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "mandate_no": "M-1",
        "version": version,
        "customer_no": "P01-C000001",
        "currency": "CNY",
        "rate_from": "0.08",
        "rate_to": "0.15",
        "term_from_months": 1,
        "term_to_months": 12,
        "loan_max_minor": 500,
        "total_max_minor": 1_000,
        "valid_from": "2026-01-01",
        "expires_on": "2026-06-30",
        **more,
    }


def _hold(market: Any, number: str, amount: int) -> None:
    market.api.recharge(LENDER, amount)
    hold = {"hold_no": number, "account": LENDER, "amount_minor": amount}
    assert market.api.post(market.api.order("TENDER", place_holds=[hold])).status_code == 201


def _check(market: Any, amount: int, loan_no: str = "L-1") -> tuple[bool, list[str], int]:
    verdict = market.done("mandates/M-1/check", {"loan_no": loan_no, "amount_minor": amount})
    return verdict["covered"], verdict["reasons"], verdict["headroom_minor"]


def test_a_mandate_says_what_it_covers_and_why_not(market: Any) -> None:
    market.register("L-1")
    market.register("L-2", annual_rate="0.16", term_months=24, plan_type="BULLET")
    market.done("mandates", _mandate(products=["EQUAL_PRINCIPAL"]))
    assert _check(market, 500) == (True, [], 500)
    assert _check(market, 501) == (False, ["AMOUNT"], 500)
    assert _check(market, 1, "L-2") == (False, ["PRODUCT", "RATE", "TERM"], 500)
    market.status("L-1", "2", "2026-01-15")
    assert _check(market, 1) == (False, ["LOAN_NOT_RAISING"], 500)
    market.at("2026-07-01")
    assert "EXPIRED" in _check(market, 1)[1]
    market.refused("mandates/M-9/check", {"loan_no": "L-1", "amount_minor": 1}, "RECORD_NOT_FOUND", "mandate_no")
    market.refused("mandates/M-1/check", {"loan_no": "L-9", "amount_minor": 1}, "LOAN_NOT_FOUND", "loan_no")


def test_versions_follow_one_another_and_end_with_the_revocation(market: Any) -> None:
    market.register("L-1")
    market.done("mandates", _mandate())
    market.refused("mandates", _mandate(), "VERSION_STALE", "version")
    market.refused("mandates", _mandate(2, customer_no="P01-C000002"), "NUMBER_TAKEN", "mandate_no")
    market.refused("mandates", _mandate(2, rate_to="0.07"), "BODY_INVALID", "rate_to")
    market.refused("mandates", _mandate(2, total_max_minor=499), "BODY_INVALID", "total_max_minor")
    market.done("mandates", _mandate(2, loan_max_minor=900))
    assert _check(market, 900) == (True, [], 900)
    assert market.done("mandates/M-1/revocation", {"reason": "the lender left"})["version"] == 3
    assert _check(market, 1)[1] == ["REVOKED"]
    market.refused("mandates", _mandate(4), "STATE_CONFLICT", "mandate_no")
    market.refused("mandates/M-1/revocation", {"reason": "x"}, "STATE_CONFLICT", "mandate_no")
    assert [row["version"] for row in market.read("mandates", is_revoked=True)["items"]] == [3]


def test_a_use_names_a_hold_of_the_lender_of_that_amount_once(market: Any) -> None:
    market.register("L-1")
    market.done("mandates", _mandate())
    _hold(market, "H-1", 300)
    use = {"loan_no": "L-1", "amount_minor": 300, "hold_no": "H-1"}
    market.refused("mandates/M-1/uses", {**use, "amount_minor": 299}, "UNKNOWN_HOLD", "hold_no")
    market.refused("mandates/M-1/uses", {**use, "hold_no": "H-2"}, "UNKNOWN_HOLD", "hold_no")
    assert market.done("mandates/M-1/uses", use)["headroom_minor"] == 200
    _hold(market, "H-2", 201)
    market.refused("mandates/M-1/uses", {**use, "hold_no": "H-2", "amount_minor": 201}, "MANDATE_DOES_NOT_COVER", "amount_minor")
    market.done("mandates", _mandate(2, loan_max_minor=1_000))
    market.refused("mandates/M-1/uses", use, "NUMBER_TAKEN", "hold_no")


def test_a_hold_that_came_to_nothing_uses_nothing_and_one_that_was_lent_does(market: Any) -> None:
    for number in ("L-1", "L-2"):
        market.register(number)
    market.done("mandates", _mandate())
    for number in ("1", "2"):
        _hold(market, f"H-{number}", 500)
        market.done("mandates/M-1/uses", {"loan_no": f"L-{number}", "amount_minor": 500, "hold_no": f"H-{number}"})
    assert market.read("mandates/M-1")["headroom_minor"] == 0
    market.pay("TENDER", release_holds=["H-1"])
    assert market.read("mandates/M-1")["headroom_minor"] == 500
    tender = {"movement_type": "TENDER", "debit_account": LENDER, "credit_account": "P01-B-000003", "amount_minor": 500}
    market.pay("DISBURSE", {**tender, "loan_no": "L-2"}, release_holds=["H-2"])
    assert market.read("mandates/M-1")["used_minor"] == 500


def test_no_race_passes_the_total_of_a_mandate(market: Any) -> None:
    numbers = range(8)
    market.done("mandates", _mandate())
    for number in numbers:
        market.register(f"L-{number}")
        _hold(market, f"H-{number}", 300)
    with ThreadPoolExecutor(8) as pool:
        bodies = [{"loan_no": f"L-{number}", "amount_minor": 300, "hold_no": f"H-{number}"} for number in numbers]
        answers = list(pool.map(lambda body: market.send("mandates/M-1/uses", body), bodies))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 5
    assert market.read("mandates/M-1")["used_minor"] == 900
    assert market.faults() == []
