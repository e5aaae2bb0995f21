"""Collateral: valuations and LTV, rights, and a disposal that two of the bank decide."""

from __future__ import annotations

from typing import Any

GIVEN = {
    "collateral_no": "V-1",
    "loan_no": "L-1",
    "customer_no": "P01-C000003",
    "kind": "VEHICLE",
    "haircut": "0.2",
    "ltv_max": "0.8",
}
WORTH = {
    "valued_on": "2026-01-15",
    "method": "APPRAISAL",
    "value_minor": 200_000,
    "valuer": "Appraisers",
    "valid_until": "2026-02-15",
}
LIEN = {"event": "REGISTERED", "registration_no": "R-77", "happened_on": "2026-01-15"}
SHARES = {
    "gross_minor": 120_000,
    "costs_minor": 5_000,
    "to_lenders_minor": 102_001,
    "to_guarantor_minor": 0,
    "to_owner_minor": 12_999,
}


def _given(market: Any) -> None:
    market.lend()
    market.done("collateral", GIVEN)


def test_a_valuation_gives_the_ltv_and_goes_stale(market: Any) -> None:
    _given(market)
    assert (market.read("collateral/V-1")["ltv"], market.read("collateral/V-1")["is_valuation_stale"]) == (None, True)
    # 100,001 / (200,000 · 0.8)
    assert market.done("collateral/V-1/valuations", WORTH)["ltv"] == "0.625006"
    lower = market.done("collateral/V-1/valuations", {**WORTH, "value_minor": 150_000})
    assert (lower["ltv"], lower["is_ltv_exceeded"]) == ("0.833342", True)
    assert [row["collateral_no"] for row in market.read("collateral", is_ltv_exceeded=True)["items"]] == ["V-1"]
    assert market.read("collateral", is_valuation_stale=True)["items"] == []
    market.at("2026-02-16")
    assert len(market.read("collateral", is_valuation_stale=True)["items"]) == 1
    market.refused("collateral/V-1/valuations", {**WORTH, "valued_on": "2026-02-18"}, "DATE_IN_FUTURE", "valued_on")
    market.refused("collateral/V-1/valuations", {**WORTH, "valid_until": "2026-01-14"}, "BODY_INVALID", "valid_until")
    market.refused("collateral/V-9/valuations", WORTH, "RECORD_NOT_FOUND", "collateral_no")
    market.refused("collateral", GIVEN, "NUMBER_TAKEN", "collateral_no")
    market.refused("collateral", {**GIVEN, "customer_no": "P02-C000001"}, "UNKNOWN_CUSTOMER", "customer_no")


def test_rights_are_registered_transferred_and_released_in_turn(market: Any) -> None:
    _given(market)
    market.refused("collateral/V-1/liens", {**LIEN, "event": "RELEASED"}, "STATE_CONFLICT", "event")
    assert market.done("collateral/V-1/liens", LIEN)["state"] == "REGISTERED"
    market.refused("collateral/V-1/liens", LIEN, "STATE_CONFLICT", "event")
    over = {**LIEN, "event": "TRANSFERRED", "holder_customer_no": "P01-C000001"}
    market.refused("collateral/V-1/liens", {**over, "holder_customer_no": "P01-C9"}, "UNKNOWN_CUSTOMER", "holder_customer_no")
    assert market.done("collateral/V-1/liens", over)["state"] == "TRANSFERRED"
    market.done("collateral/V-1/liens", {**LIEN, "event": "RELEASED"})
    assert [row["event"] for row in market.read("collateral/V-1")["liens"]] == ["REGISTERED", "TRANSFERRED", "RELEASED"]


def test_a_disposal_shares_out_what_is_left_after_costs_and_no_more_than_is_owed(market: Any) -> None:
    _given(market)
    market.done("collateral/V-1/liens", LIEN)
    payload = {"disposed_on": "2026-03-01", **SHARES}
    ann = market.api.staff("ann", "officer")

    def refused(change: dict[str, Any]) -> str:
        answer = market.api.put_down("COLLATERAL_DISPOSAL", "V-1", payload | change, by=ann, platform_id="P01")
        return str(answer.json()["code"])

    market.at("2026-03-01")
    assert refused({}) == "STATE_CONFLICT"  # the loan is not overdue
    market.status("L-1", "4", "2026-03-01")
    assert refused({"costs_minor": 4_999}) == "AMOUNT_DIFFERS"
    assert refused({"to_lenders_minor": 102_002, "to_owner_minor": 12_998}) == "AMOUNT_EXCEEDS"
    assert refused({"to_guarantor_minor": 1, "to_owner_minor": 12_998}) == "AMOUNT_EXCEEDS"
    assert refused({"gross_minor": "120000"}) == refused({"disposed_on": "2026-02-30"}) == "BODY_INVALID"
    assert refused({"disposed_on": "2026-03-03"}) == "DATE_IN_FUTURE"
    assert market.api.rows("SELECT count(*) FROM loans.disposal") == [(0,)]
    market.api.approved("COLLATERAL_DISPOSAL", "V-1", payload, platform_id="P01")
    found = market.read("collateral/V-1")
    assert (found["state"], found["disposals"][0]["to_owner_minor"]) == ("DISPOSED", 12_999)
    market.refused("collateral/V-1/valuations", WORTH, "STATE_CONFLICT", "collateral_no")
    assert market.faults() == []
