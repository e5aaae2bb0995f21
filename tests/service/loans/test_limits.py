"""Borrowers' caps: asked before, kept when a loan is registered, over platforms, by version, and by no race passed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.service.loans.conftest import BORROWER, LENDERS, TERMS

C1, C2 = 20_000_000, 100_000_000


def check(market: Any, amount: int, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = market.done(
        "limits/check", {"customer_no": BORROWER, "currency": "CNY", "amount_minor": amount, **more}
    )
    return found


def loan(number: int, contract: int, platform: str = "P01") -> dict[str, Any]:
    about = {"customer_no": f"{platform}-C000003", "currency": "CNY", "announced_on": "2026-01-05", "platform_id": platform}
    return {**TERMS, **about, "loan_no": f"{platform}-LN-{number}", "contract_minor": contract}


def test_a_borrower_without_loans_has_the_whole_cap_of_one_platform(market: Any) -> None:
    asked = check(market, C1)
    assert (asked["allow"], asked["headroom_minor"]) == (True, C1)
    decided = asked["decided_by"]
    assert (decided["rule_id"], decided["pack_id"], decided["version"], decided["cap_minor"]) == ("C1", "CN_2017", 1, C1)
    assert {rule["rule_id"]: rule["headroom_minor"] for rule in asked["rules"]} == {"C1": C1, "C2": C2}
    assert check(market, C1 + 1)["allow"] is False


def test_announced_loans_count_with_their_contract_and_disbursed_ones_with_what_is_outstanding(market: Any) -> None:
    market.lend("L-1", LENDERS)
    lent = sum(LENDERS.values())
    assert check(market, 1)["headroom_minor"] == C1 - lent
    market.repay("L-1", 40_000)
    outstanding = market.read("loans/L-1")["outstanding_principal_minor"]
    assert outstanding < lent
    assert check(market, 1)["headroom_minor"] == C1 - outstanding
    market.register("L-2", contract_minor=1_000_000)
    assert check(market, 1)["headroom_minor"] == C1 - outstanding - 1_000_000
    assert check(market, 1, loan_no="L-2")["headroom_minor"] == C1 - outstanding
    market.status("L-2", "2", "2026-01-15")
    assert check(market, 1)["headroom_minor"] == C1 - outstanding


def test_a_loan_over_the_cap_is_not_registered_and_leaves_nothing(market: Any) -> None:
    market.register("L-1", contract_minor=C1 - 5)
    market.refused("loans", loan(2, 6), "CAP_EXCEEDED", "contract_minor")
    assert market.send("loans", loan(3, 5)).status_code == 201


def test_terms_are_not_raised_over_the_cap(market: Any) -> None:
    market.register("L-1", contract_minor=C1 - 5)
    terms = {name: value for name, value in TERMS.items() if name != "contract_minor"}
    market.refused("loans/L-1/terms", {**terms, "contract_minor": C1 + 1}, "CAP_EXCEEDED", "contract_minor")
    assert market.send("loans/L-1/terms", {**terms, "contract_minor": C1}).status_code == 201


def test_the_cap_of_all_platforms_counts_the_same_person_everywhere(market: Any) -> None:
    approve_cap(market, "C1", C2 * 9)
    for number, platform in enumerate(("P01", "P02")):
        answer = market.api.post(loan(number, C2 // 2 - 10, platform), path="/v1/loans")
        assert answer.status_code == 201, answer.text
    asked = check(market, 21)
    assert (asked["allow"], asked["headroom_minor"], asked["decided_by"]["rule_id"]) == (False, 20, "C2")
    assert asked["decided_by"]["exposure_minor"] == C2 - 20


def test_a_cap_changes_by_two_people_and_its_versions_stay(market: Any) -> None:
    approve_cap(market, "C1", 50)
    assert check(market, 51)["decided_by"]["version"] == 2
    caps = market.api.client.get("/v1/limits/caps?pack_id=CN_2017", headers=market.api.staff("aud", "auditor")).json()["caps"]
    versions = [(cap["version"], cap["cap_minor"]) for cap in caps if (cap["rule_id"], cap["party_type"]) == ("C1", "N")]
    assert versions == [(1, C1), (2, 50)]


@pytest.mark.parametrize(
    "change", [{"cap_minor": 0}, {"cap_minor": 1.5}, {"cap_minor": "9"}, {"rule_id": "C9"}, {"valid_from": "2026-02-30"}]
)
def test_a_senseless_change_of_a_cap_is_refused_when_it_is_proposed(market: Any, change: dict[str, Any]) -> None:
    payload = {
        "pack_id": "CN_2017",
        "rule_id": "C1",
        "party_type": "N",
        "cap_minor": 5,
        "valid_from": "2026-01-01",
        "source": "law",
    }
    refused = market.api.put_down("CAP_CHANGE", "C1", payload | change, by=market.api.staff("ann", "officer"))
    assert refused.status_code == 422, refused.text


def test_many_loans_at_once_never_pass_the_cap_together(market: Any) -> None:
    part = C1 // 4
    bodies = [loan(number, part) for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda body: market.api.post(body, path="/v1/loans"), bodies))
    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [422] * 6
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"CAP_EXCEEDED"}
    assert check(market, 1)["headroom_minor"] == 0


def test_another_currency_or_pack_has_no_cap_and_an_unknown_customer_is_not_found(market: Any) -> None:
    free = check(market, 10**15, currency="USD")
    assert (free["allow"], free["headroom_minor"], free["decided_by"], free["rules"]) == (True, None, None, [])
    market.refused("limits/check", {"customer_no": "P01-C999999", "currency": "CNY", "amount_minor": 1}, "CUSTOMER_NOT_FOUND")


def approve_cap(market: Any, rule: str, cap: int) -> None:
    """Another version of a natural person's cap."""
    payload = {
        "pack_id": "CN_2017",
        "rule_id": rule,
        "party_type": "N",
        "cap_minor": cap,
        "valid_from": "2026-01-01",
        "source": "law",
    }
    market.api.approved("CAP_CHANGE", f"{rule} N {cap}", payload)
