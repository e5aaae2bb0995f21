"""What two people decide of the registry: terms, status, packs, accounts; and one party an identity, masked."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from fundwatch.monthly import _PLATFORMS as PLATFORMS
from lake.runs import _PACKS as PACKS
from tests.service.registry_tables import HASH, content, listed, put, refused
from transactional.migrate import migrate, names, rollback

TERMS = {
    "valid_from": "2026-01-01",
    "legal_name": "P01 Ltd",
    "unified_credit_code": "91310000MA1FL0AB1X",
    "custody_model": "BANK_DEPOSITORY",
    "contract_no": "C-1",
    "contract_from": "2026-01-01",
    "custody_bank_ref": "REF-1",
}


def test_what_needs_two_people_is_not_put_by_one(api: Any) -> None:
    before = content(api)
    with psycopg.connect(api.service_url) as connection, pytest.raises(psycopg.Error, match="NEEDS_APPROVAL"):
        connection.execute("SELECT registry.put('white_list', '{}', '2026-01-01', 'me')")
    for statement in (
        "INSERT INTO registry.bound_card DEFAULT VALUES",
        "SELECT registry.append_version('bound_card', '{}', '2026-01-01', 'me')",
        "UPDATE registry.account_status SET status = 'OPEN'",
    ):
        with psycopg.connect(api.service_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    with psycopg.connect(api.admin_url) as connection, pytest.raises(psycopg.Error, match="never changed or deleted"):
        connection.execute("DELETE FROM registry.account_status")
    assert content(api) == before


def test_terms_status_and_packs_of_a_platform_change_by_two_people(api: Any) -> None:
    assert api.client.post("/v1/clock", json={"now": "2026-01-20T02:00:00Z"}).status_code == 200
    assert api.approved("PLATFORM_TERMS", "P01", TERMS, platform_id="P01")["outcome"] == "NEW"
    pack = {"valid_from": "2026-02-01", "pack_id": "CN_2017", "pack_version": "2", "pack_hash": HASH}
    api.approved("PACK_ACTIVATION", "P01", pack, platform_id="P01")
    found = api.client.get("/v1/platforms/P01").json()
    assert (found["status"], found["custody_model"], found["pack_version"]) == ("ACTIVE", "BANK_DEPOSITORY", "2")
    assert api.client.get("/v1/platforms/P01", params={"valid_on": "2026-01-31"}).json()["pack_version"] is None
    assert [(row["maker"], row["checker"]) for row in listed(api, "pack-activations")] == [("ann", "ben")]
    eu = {"valid_from": "2026-03-01", "pack_id": "EU_ECSPR", "pack_version": "1", "pack_hash": HASH}
    api.approved("PACK_ACTIVATION", "P01", eu, platform_id="P01")
    with psycopg.connect(api.admin_url) as connection:
        for first, to, packs in (
            ("2026-01-10", "2026-02-10", {"CN_2017"}),
            ("2026-02-28", "2026-03-01", {"CN_2017", "EU_ECSPR"}),
            ("2026-03-01", "2026-03-02", {"CN_2017", "EU_ECSPR"}),  # P02 keeps what it was registered with
        ):
            rows = connection.execute(PACKS, {"first": first, "to": to, "known": None}).fetchall()
            assert {pack for (pack,) in rows} == packs
        asked = {"first": "2026-03-01", "to": "2026-03-02", "known": "2026-01-01T00:00:00Z"}
        assert {pack for (pack,) in connection.execute(PACKS, asked)} <= {"CN_2017"}
        for day, pack in (("2026-02-28", "CN_2017"), ("2026-03-31", "EU_ECSPR")):
            assert ("P01", pack) in connection.execute(PLATFORMS, [day]).fetchall()
    borrower = {"platform_id": "P01", "customer_no": "P01-C000001", "currency": "CNY", "amount_minor": 1}
    for now, rules in (("2026-02-27T02:00:00Z", {"C1", "C2"}), ("2026-03-02T02:00:00Z", set())):
        assert api.client.post("/v1/clock", json={"now": now}).status_code == 200
        asked = api.post(borrower, path="/v1/limits/check").json()
        assert {rule["rule_id"] for rule in asked["rules"]} == rules
    company = {
        "valid_from": "2026-01-01",
        "licence_no": "Z1",
        "channels": ["WEB", "WITHHOLDING"],
        "settlement_account_hash": HASH,
        "settlement_lag": "T+1",
        "fee_terms": [{"basis": "VOLUME_RECHARGE", "rate": "0.00025"}],
    }
    api.approved("PAYMENT_COMPANY_TERMS", "PC01", company)
    assert listed(api, "payment-company-terms")[0]["fee_terms"] == company["fee_terms"]
    agreed = (
        "SELECT platform_id, valid_from::text, version, fee_terms FROM night.channel_fee WHERE paycom_id = 'PC01' AND version > 0"
    )
    assert ("P01", "2026-01-01", 1, company["fee_terms"]) in api.rows(agreed)
    mapping = {"valid_from": "2026-01-01", "merchant_no": "M-1", "contract_from": "2026-01-01"}
    api.approved("PAYMENT_MAPPING", "PC01", mapping, platform_id="P01")
    assert listed(api, "payment-mappings", platform_id="P01")[0]["merchant_no"] == "M-1"


def test_the_account_a_payment_company_settles_on_is_no_customers_whichever_comes_first(api: Any) -> None:
    settles, card = "ab" * 32, "cd" * 32
    terms = {"valid_from": "2026-01-01", "licence_no": "Z1", "channels": ["WEB"], "settlement_lag": "T+1", "fee_terms": []}
    bound = {"platform_id": "P01", "account_no": "P01-L-000001", "purpose": "WITHDRAW", "bank_code": "ICBC", "card_hash": card}
    bound |= {"last4": "1234", "factors": 4, "result": "PASSED", "is_bound": True}
    mapped = {"platform_id": "P01", "customer_no": "P01-C000001", "bank_account_hash": settles, "is_mapped": True}
    put(api, "bound-cards", bound)
    taken = {**terms, "settlement_account_hash": card}
    answer = api.put_down("PAYMENT_COMPANY_TERMS", "PC01", taken, by=api.staff("ann", "officer"))
    assert answer.json().get("code") == "SETTLEMENT_ACCOUNT", answer.text
    api.approved("PAYMENT_COMPANY_TERMS", "PC01", {**terms, "settlement_account_hash": settles})
    refused(api, "bound-cards", {**bound, "purpose": "RECHARGE", "card_hash": settles}, "SETTLEMENT_ACCOUNT")
    refused(api, "bank-accounts", mapped, "SETTLEMENT_ACCOUNT")
    assert put(api, "bank-accounts", mapped, is_mapped=False)["outcome"] == "NEW"


IMPOSSIBLE: list[tuple[str, str, dict[str, Any], str]] = [
    ("PLATFORM_TERMS", "P01", {**TERMS, "unified_credit_code": "123"}, "BODY_INVALID"),
    ("PLATFORM_TERMS", "P01", {**TERMS, "custody_model": "UNDER_THE_BED"}, "BODY_INVALID"),
    ("PLATFORM_TERMS", "P01", {**TERMS, "valid_from": "2026-02-30"}, "BODY_INVALID"),
    ("PLATFORM_TERMS", "P01", {**TERMS, "nickname": "x"}, "BODY_INVALID"),
    ("PLATFORM_STATUS", "P01", {"valid_from": "2026-01-01", "status": "LEFT", "reason": "x"}, "STATUS_NOT_ALLOWED"),
    ("PLATFORM_STATUS", "P01", {"valid_from": "2026-01-01", "status": "ACTIVE", "reason": "x"}, "STATUS_NOT_ALLOWED"),
    (
        "WHITE_LIST",
        "10.0.0.1",
        {"valid_from": "2026-01-01", "kind": "IP", "value": "10.0.0.1", "holds_from": "2026-01-01"},
        "BODY_INVALID",
    ),
    (
        "WHITE_LIST",
        "x",
        {"valid_from": "2026-01-01", "kind": "IP", "value": "nowhere", "holds_from": "2026-01-01"},
        "BODY_INVALID",
    ),
    (
        "PAYMENT_MAPPING",
        "PC99",
        {"valid_from": "2026-01-01", "merchant_no": "M", "contract_from": "2026-01-01"},
        "UNKNOWN_REFERENCE",
    ),
    ("ACCOUNT_LOCK", "P02-L-000001", {"valid_from": "2026-01-01"}, "ACCOUNT_NOT_FOUND"),
    ("ACCOUNT_LOCK", "P01-X-SPECIAL", {"valid_from": "2026-01-01"}, "ACCOUNT_NOT_FOUND"),
    ("ACCOUNT_ACTIVATE", "P01-L-000001", {"valid_from": "2026-01-01"}, "STATUS_NOT_ALLOWED"),
    ("CUSTOMER_STATUS", "P01-C000001", {"valid_from": "2026-01-01", "status": "CLOSED", "reason": "x"}, "ACCOUNT_OPEN"),
]


def test_what_could_never_be_carried_out_is_not_proposed(api: Any) -> None:
    ann = api.staff("ann", "officer")
    before = content(api)
    for kind, subject, payload, code in IMPOSSIBLE:
        answer = api.put_down(kind, subject, payload, by=ann, platform_id="P01")
        assert answer.json().get("code") == code, (kind, subject, answer.text)
    assert content(api) == before


def test_a_suspended_platform_gets_no_new_business_and_pays_back(api: Any) -> None:
    api.recharge("P01-L-000001", 500)
    api.approved(
        "PLATFORM_STATUS", "P01", {"valid_from": "2026-01-01", "status": "SUSPENDED", "reason": "inquiry"}, platform_id="P01"
    )
    bid = {"hold_no": "H1", "account": "P01-L-000001", "amount_minor": 5}
    before = api.content()
    stopped = api.post(api.order("TENDER", place_holds=[bid]))
    assert (stopped.status_code, stopped.json()["code"]) == (422, "PLATFORM_NOT_ACTIVE")
    assert api.content() == before
    api.recharge("P01-B-000001", 5)
    assert api.post(api.order("WITHDRAW", ("WITHDRAW", "P01-L-000001", "P01-X-WITHDRAWAL", 500))).status_code == 201
    elsewhere = {**bid, "account": "P02-L-000001"}
    api.recharge("P02-L-000001", 5)
    assert api.post(api.order("TENDER", platform_id="P02", place_holds=[elsewhere])).status_code == 201


def test_accounts_are_locked_activated_and_cancelled_when_empty_by_two_people(api: Any) -> None:
    lender = "P01-L-000001"
    api.recharge(lender, 100)
    when = {"valid_from": "2026-03-01"}
    api.approved("ACCOUNT_LOCK", lender, when, platform_id="P01")
    withdraw = api.order("WITHDRAW", ("WITHDRAW", lender, "P01-X-WITHDRAWAL", 100))
    assert api.post(withdraw).json()["code"] == "ACCOUNT_LOCKED"
    not_empty = api.put_down("ACCOUNT_CANCEL", lender, when, by=api.staff("ann", "officer"), platform_id="P01")
    assert not_empty.json()["code"] == "ACCOUNT_NOT_EMPTY"
    api.approved("ACCOUNT_ACTIVATE", lender, when, platform_id="P01")
    assert api.post(withdraw).status_code == 201
    api.approved("ACCOUNT_CANCEL", lender, when, platform_id="P01")
    assert [row["status"] for row in listed(api, "account-status") if row["account_no"] == lender] == ["CLOSED"]
    history = api.client.get("/v1/account-status/history", params={"platform_id": "P01", "account_no": lender}).json()["versions"]
    assert [(row["status"], row["actor"]) for row in history] == [
        ("OPEN", "key:*"),
        ("LOCKED", "ben"),
        ("OPEN", "ben"),
        ("CLOSED", "ben"),
    ]
    assert api.post(api.order("RECHARGE", ("RECHARGE", "P01-X-CHANNEL-PC01", lender, 1))).json()["code"] == "ACCOUNT_CLOSED"


def test_an_account_with_open_claims_is_not_cancelled(api: Any) -> None:
    with psycopg.connect(api.admin_url) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION registry.has_open_claims(account_id bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        )
    ann = api.staff("ann", "officer")
    before = content(api)
    answer = api.put_down("ACCOUNT_CANCEL", "P01-L-000001", {"valid_from": "2026-03-01"}, by=ann, platform_id="P01")
    assert answer.json()["code"] == "ACCOUNT_HAS_CLAIMS"
    assert content(api) == before


def test_an_identity_belongs_to_one_party(api: Any) -> None:
    party = {"party_ref": "PARTY-9", "party_type": "PERSON", "id_hash": f"{1:064x}", "name_masked": "Z*", "phone_masked": None}
    before = api.content()
    taken = api.client.post("/v1/registry", json={"parties": [party]})
    assert (taken.status_code, taken.json()["code"]) == (409, "IDENTITY_TAKEN")
    assert "PARTY-1" in taken.json()["detail"]
    twice = [{**party, "id_hash": "new"}, {**party, "id_hash": "new", "party_ref": "PARTY-10"}]
    assert api.client.post("/v1/registry", json={"parties": twice}).json()["code"] == "IDENTITY_TAKEN"
    assert api.content() == before
    assert api.client.post("/v1/registry", json={"parties": [{**party, "party_type": "FIRM"}]}).status_code == 200


def test_personal_data_in_full_is_refused(api: Any) -> None:
    before = api.content()
    full = {
        "phone_masked": (
            "13800138000",
            "138-0013-8000",
            "１３８００１３８０００",
        ),
        "name_masked": ("11010119900307123X",),
    }
    for field, words in [(field, words) for field, several in full.items() for words in several]:
        party = {
            "party_ref": "PARTY-9",
            "party_type": "PERSON",
            "id_hash": "h",
            "name_masked": "Z*",
            "phone_masked": "138****8000",
        }
        answer = api.client.post("/v1/registry", json={"parties": [{**party, field: words}]})
        assert (answer.status_code, answer.json()["field"]) == (422, f"parties[0].{field}")
    assert api.content() == before


def test_what_was_registered_before_is_version_one_and_shared_identities_are_named(
    empty_database: Any,
) -> None:
    url = empty_database.url("migrator")
    migrate(url, "system")
    rollback(url, sum(name >= "0015" for name in names()))
    with psycopg.connect(url) as connection:
        connection.execute(
            """INSERT INTO registry.platform VALUES ('P01', 'One', 'One Ltd', 'CNY', 'CN_2017', '2026-01-01', now());
               INSERT INTO registry.party (party_ref, party_type, id_hash, name_masked, phone_masked, recorded_at)
               VALUES ('A', 'N', 'same', 'A*', NULL, now()), ('B', 'N', 'same', 'B*', '13800138000', now());
               INSERT INTO registry.customer SELECT 'P01', 'C-' || party_ref, party_id, '{INVESTOR}', '2026-02-01', now()
               FROM registry.party;
               INSERT INTO registry.account
               (account_no, platform_id, account_role, is_control, currency, customer_no, recorded_at)
               VALUES ('L', 'P01', 'INVESTOR', false, 'CNY', 'C-A', now()), ('X', 'P01', 'SUSPENSE', true, 'CNY', NULL, now())"""
        )
    migrate(url, "system")
    with psycopg.connect(url) as connection:
        for query, expected in (
            ("SELECT platform_id, status, valid_from::text FROM registry.platform_status", [("P01", "ACTIVE", "2026-01-01")]),
            ("SELECT party_ref, version FROM registry.party_version ORDER BY 1", [("A", 1), ("B", 1)]),
            ("SELECT customer_no, status FROM registry.customer_status ORDER BY 1", [("C-A", "ACTIVE"), ("C-B", "ACTIVE")]),
            ("SELECT account_no, status FROM registry.account_status", [("L", "OPEN")]),
            ("SELECT party_ref FROM registry.party_duplicate JOIN registry.party USING (party_id)", [("B",)]),
        ):
            assert connection.execute(query.encode()).fetchall() == expected
