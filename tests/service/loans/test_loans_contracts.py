"""Contracts: hashes of what was signed, disputes, and the clock that says until when each is kept."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

CONTENT = sha256(b"we agree").hexdigest()
SIGNED = {
    "contract_no": "A-1",
    "kind": "LOAN",
    "subject_no": "L-1",
    "content_sha256": CONTENT,
    "template_code": "LOAN-CN",
    "template_version": "3",
    "parties": ["P01-C000003", "P01-C000001", "P01-C000002"],
    "signed_on": "2026-01-14",
    "ends_on": "2026-04-15",
}


def test_content_is_compared_with_what_was_signed_and_each_question_is_kept(market: Any) -> None:
    market.lend()
    market.done("contracts", SIGNED)
    assert market.done("contracts/A-1/verify", {"content_sha256": CONTENT})["is_same"] is True
    assert market.done("contracts/A-1/verify", {"content_sha256": "0" * 64})["is_same"] is False
    market.done("contracts/A-1/events", {"event": "DELIVERED", "happened_on": "2026-01-15", "evidence_sha256": "1" * 64})
    events = market.read("contracts/A-1")["events"]
    assert [(row["event"], row["evidence_sha256"][0]) for row in events] == [
        ("VERIFIED", CONTENT[0]),
        ("VERIFY_FAILED", "0"),
        ("DELIVERED", "1"),
    ]
    market.refused("contracts/A-9/verify", {"content_sha256": CONTENT}, "RECORD_NOT_FOUND", "contract_no")
    market.refused("contracts/A-1/verify", {"content_sha256": CONTENT.upper()}, "BODY_INVALID", "content_sha256")


def test_a_contract_names_what_it_is_about_and_all_its_parties(market: Any) -> None:
    market.lend()
    for change, code, field in (
        ({"subject_no": "L-2"}, "UNKNOWN_REFERENCE", "subject_no"),
        ({"kind": "GUARANTEE"}, "UNKNOWN_REFERENCE", "subject_no"),
        ({"parties": ["P01-C000001"]}, "PARTY_MISSING", "parties"),
        ({"parties": ["P01-C000003", "P02-C000001"]}, "UNKNOWN_CUSTOMER", "parties"),
        ({"parties": []}, "BODY_INVALID", "parties"),
        ({"ends_on": "2026-01-13"}, "BODY_INVALID", "ends_on"),
        ({"signed_on": "2026-03-01"}, "DATE_IN_FUTURE", "signed_on"),
    ):
        market.refused("contracts", SIGNED | change, code, field)
    market.done("contracts", SIGNED)
    market.refused("contracts", SIGNED, "NUMBER_TAKEN", "contract_no")
    assert [row["contract_no"] for row in market.read("contracts", loan_no="L-1", kind="LOAN")["items"]] == ["A-1"]


def test_a_contract_of_a_sale_is_signed_by_seller_and_buyer(market: Any) -> None:
    market.lend()
    days = {"listed_on": "2026-01-15", "expires_on": "2026-02-28"}
    market.done("transfers", {"listing_no": "S-1", "claim_no": "L-1-CL-1", "principal_minor": 10, "price_minor": 10, **days})
    terms = {"principal_minor": 10, "price_minor": 10, "fee_minor": 0, "agreed_on": "2026-01-15"}
    market.done("transfers/S-1/deals", {"deal_no": "D-1", "buyer_customer_no": "P01-C000002", **terms})
    sale = SIGNED | {"kind": "TRANSFER", "subject_no": "D-1"}
    market.refused("contracts", sale | {"parties": ["P01-C000002", "P01-C000003"]}, "PARTY_MISSING", "parties")
    assert market.done("contracts", sale)["loan_no"] == "L-1"


def test_the_retention_clock_starts_with_the_last_of_end_repayment_write_off_and_dispute(market: Any) -> None:
    market.lend()
    market.done("contracts", SIGNED)
    assert market.read("contracts/A-1")["retain_until"] == "2031-04-15"
    market.at("2026-05-20")
    market.repay("L-1", 1_000)
    assert market.read("contracts/A-1")["retain_until"] == "2031-05-20"
    market.status("L-1", "4", "2026-05-20")
    market.at("2026-06-30")
    payload = {"principal_minor": 100_001, "written_off_on": "2026-06-30"}
    market.api.approved("LOAN_WRITE_OFF", "L-1", payload, platform_id="P01")
    assert market.read("contracts/A-1")["retain_until"] == "2031-06-30"
    dispute = {"event": "DISPUTE_OPENED", "happened_on": "2026-06-30"}
    assert market.done("contracts/A-1/events", dispute)["retain_until"] is None
    market.refused("contracts/A-1/events", dispute, "STATE_CONFLICT", "event")
    market.at("2026-09-10")
    ended = market.done("contracts/A-1/events", {"event": "DISPUTE_ENDED", "happened_on": "2026-09-10"})
    assert (ended["retain_until"], ended["is_in_dispute"]) == ("2031-09-10", False)
