"""Claims and their chain of title: opened by tenders, split by sales, one sale a piece of principal, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

SELLER, BORROWER, OTHER = "P01-C000001", "P01-C000003", "P01-C000002"
CLAIM = "L-1-CL-1"


def _listing(number: str = "S-1", principal: int = 60_000, **more: Any) -> dict[str, Any]:
    days = {"listed_on": "2026-01-15", "expires_on": "2026-02-28"}
    return {"listing_no": number, "claim_no": CLAIM, "principal_minor": principal, "price_minor": principal, **days, **more}


def _deal(number: str = "D-1", principal: int = 60_000, **more: Any) -> dict[str, Any]:
    terms = {"price_minor": principal, "fee_minor": 0, "agreed_on": "2026-01-15"}
    return {"deal_no": number, "buyer_customer_no": OTHER, "principal_minor": principal, **terms, **more}


def _paid(market: Any, amount: int, claim_no: str, fee: int = 0, **change: Any) -> str:
    """The buyer's order: price and accrued interest to the seller, the seller's fee to the platform."""
    market.api.recharge("P01-L-000002", amount)
    price = {"movement_type": "CREDIT_ASSIGNMENT", "debit_account": "P01-L-000002", "credit_account": "P01-L-000001"}
    movements = [{**price, "amount_minor": amount, "loan_no": "L-1", "claim_no": claim_no, **change}]
    if fee:
        fee_of = {"movement_type": "COMMISSION", "debit_account": "P01-L-000001", "credit_account": "P01-F-INCOME"}
        movements.append({**fee_of, "amount_minor": fee, "loan_no": "L-1"})
    return str(market.pay("CREDIT_ASSIGNMENT", *movements))


def _open(market: Any) -> dict[str, int]:
    return {row["claim_no"]: row["outstanding_minor"] for row in market.read("claims", loan_no="L-1")["items"]}


def test_tenders_open_claims_and_repayments_lower_them_to_the_cent(market: Any) -> None:
    market.lend()
    assert _open(market) == {"L-1-CL-1": 60_000, "L-1-CL-2": 40_001}
    market.at("2026-02-15")
    market.repay("L-1", 1_000 + 33_334)
    # 33,334 by 60,000 : 40,001 is 20,000.2 and 13,333.8
    assert _open(market) == {"L-1-CL-1": 40_000, "L-1-CL-2": 26_667}
    assert market.read("loans/L-1")["outstanding_principal_minor"] == 66_667
    assert market.faults() == []


def test_a_part_sale_splits_a_claim_and_the_chain_tells_who_owned_what_when(market: Any) -> None:
    market.lend()
    market.at("2026-01-30")
    market.done("transfers", _listing(principal=25_000, price_minor=24_900))
    agreed = market.done("transfers/S-1/deals", _deal(principal=20_000, price_minor=19_950, fee_minor=20, agreed_on="2026-01-30"))
    # 1,000 of interest, 20,000 of 100,001 principal, 15 of 31 days: 96.77
    assert (agreed["accrued_minor"], agreed["premium_minor"], agreed["state"]) == (97, -50, "AGREED")
    order = _paid(market, 19_950 + 97, "L-1-CL-3", fee=20)
    settled = market.done("deals/D-1/settlement", {"request_no": order})
    assert (settled["state"], settled["child_claim_no"], settled["request_no"]) == ("SETTLED", "L-1-CL-3", order)
    assert _open(market) == {"L-1-CL-1": 40_000, "L-1-CL-2": 40_001, "L-1-CL-3": 20_000}
    chain = market.read("claims/L-1-CL-3/chain")
    assert [(link["claim_no"], link["parent_claim_no"], link["outstanding_minor"]) for link in chain["links"]] == [
        ("L-1-CL-1", None, 40_000),
        ("L-1-CL-3", "L-1-CL-1", 20_000),
    ]
    assert chain["links"][1]["request_no"] == order
    assert {row["customer_no"]: row["outstanding_minor"] for row in chain["owners"]} == {SELLER: 40_000, OTHER: 20_000}
    before = market.read("claims/L-1-CL-3/chain", as_of="2026-01-29")
    assert before["owners"] == [{"customer_no": SELLER, "outstanding_minor": 60_000}]
    listing = market.read("transfers/S-1")
    assert (listing["state"], listing["unsold_minor"]) == ("LISTED", 5_000)
    assert [row["deal_no"] for row in market.read("deals", state="SETTLED", buyer_customer_no=OTHER)["items"]] == ["D-1"]
    market.at("2026-02-15")
    market.repay("L-1", 34_334)
    assert sum(_open(market).values()) == 66_667
    assert market.faults() == []


def test_no_more_is_offered_or_agreed_than_there_is(market: Any) -> None:
    market.lend()
    market.refused("transfers", _listing(principal=60_001), "AMOUNT_EXCEEDS", "principal_minor")
    market.done("transfers", _listing(principal=40_000))
    market.refused("transfers", _listing("S-2", principal=20_001), "AMOUNT_EXCEEDS", "principal_minor")
    market.refused("transfers/S-1/deals", _deal(principal=40_001), "AMOUNT_EXCEEDS", "principal_minor")
    market.refused("transfers/S-1/deals", _deal(principal=1, buyer_customer_no=SELLER), "BUYER_NOT_ALLOWED", "buyer_customer_no")
    market.refused(
        "transfers/S-1/deals", _deal(principal=1, buyer_customer_no=BORROWER), "BUYER_NOT_ALLOWED", "buyer_customer_no"
    )
    market.refused("transfers/S-1/deals", _deal(principal=1, agreed_on="2026-03-01"), "BODY_INVALID", "agreed_on")
    market.refused("transfers/S-9/deals", _deal(), "RECORD_NOT_FOUND", "listing_no")
    market.refused("transfers", _listing(claim_no="C-9"), "CLAIM_NOT_FOUND", "claim_no")
    market.done("transfers/S-1/withdrawal", {"reason": "changed his mind"})
    market.refused("transfers/S-1/withdrawal", {"reason": "again"}, "STATE_CONFLICT", "listing_no")
    market.refused("transfers/S-1/deals", _deal(principal=1), "STATE_CONFLICT", "listing_no")
    market.done("transfers", _listing("S-2"))
    market.at("2026-03-01")
    assert market.read("transfers/S-2")["state"] == "EXPIRED"
    market.refused("transfers/S-2/deals", _deal(), "STATE_CONFLICT", "listing_no")


def test_a_deal_settles_by_the_very_payment_that_was_agreed(market: Any) -> None:
    market.lend()
    market.done("transfers", _listing())
    market.done("transfers/S-1/deals", _deal(fee_minor=30, accrued_minor=5))
    for amount, fee, change, field in (
        (60_004, 30, {}, "price_minor"),
        (60_006, 30, {}, "price_minor"),
        (60_005, 29, {}, "fee_minor"),
        (60_005, 0, {}, "fee_minor"),
        (60_005, 30, {"loan_no": "L-2"}, "movements"),
        (60_005, 30, {"credit_account": "P01-L-000003"}, "movements"),
    ):
        order = _paid(market, amount, "N-1", fee, **change)
        market.refused("deals/D-1/settlement", {"request_no": order}, "ORDER_DIFFERS", field)
    market.refused("deals/D-1/settlement", {"request_no": "NONE"}, "UNKNOWN_ORDER", "request_no")
    taken = _paid(market, 60_005, "L-1-CL-2", 30)
    market.refused("deals/D-1/settlement", {"request_no": taken}, "NUMBER_TAKEN", "claim_no")
    right = _paid(market, 60_005, "N-1", 30)
    market.done("deals/D-1/settlement", {"request_no": right})
    market.refused("deals/D-1/settlement", {"request_no": right}, "STATE_CONFLICT", "deal_no")
    assert _open(market)["L-1-CL-1"] == 0


def test_an_order_carries_one_deal_and_a_reversed_one_carries_none(market: Any) -> None:
    market.lend()
    market.done("transfers", _listing())
    for number in ("D-1", "D-2"):
        market.done("transfers/S-1/deals", _deal(number, 30_000))
    order = _paid(market, 30_000, "N-1")
    market.done("deals/D-1/settlement", {"request_no": order})
    market.refused("deals/D-2/settlement", {"request_no": order}, "ORDER_USED", "request_no")
    wrong = _paid(market, 30_000, "N-2")
    back = {"movement_type": "CREDIT_ASSIGNMENT", "debit_account": "P01-L-000001", "credit_account": "P01-L-000002"}
    market.pay(
        "CREDIT_ASSIGNMENT", {**back, "amount_minor": 30_000, "loan_no": "L-1", "claim_no": "N-2"}, reverses_request_no=wrong
    )
    market.refused("deals/D-2/settlement", {"request_no": wrong}, "ORDER_REVERSED", "request_no")
    market.done("deals/D-2/cancellation", {"reason": "the buyer did not pay"})
    assert market.read("transfers/S-1")["unsold_minor"] == 30_000
    assert market.faults() == []


def test_of_many_who_would_buy_the_same_principal_at_once_one_gets_it(market: Any) -> None:
    market.lend()
    market.done("transfers", _listing())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: market.send("transfers/S-1/deals", _deal(f"D-{n}", 40_000)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    assert {answer.json().get("code") for answer in answers} == {None, "AMOUNT_EXCEEDS"}


def test_the_same_claim_offered_twice_at_once_is_offered_once(market: Any) -> None:
    market.lend()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: market.send("transfers", _listing(f"S-{n}", 40_000)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7


def test_one_payment_settles_one_of_two_deals_at_once(market: Any) -> None:
    market.lend()
    market.done("transfers", _listing())
    for number in ("D-1", "D-2"):
        market.done("transfers/S-1/deals", _deal(number, 30_000))
    order = _paid(market, 30_000, "N-1")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda n: market.send(f"deals/{n}/settlement", {"request_no": order}), ("D-1", "D-2")))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert market.faults() == []


def test_an_account_with_an_open_claim_says_so(market: Any) -> None:
    market.lend()
    query = "SELECT account_no FROM registry.account a WHERE registry.has_open_claims(a.account_id) ORDER BY 1"
    assert market.api.rows(query) == [("P01-L-000001",), ("P01-L-000002",)]
    market.at("2026-04-15")
    market.repay("L-1", 102_001)
    assert market.api.rows(query) == []
