"""Versions of the registry: what counts on a day, what was known then, who may add what, and what is refused."""

from __future__ import annotations

from typing import Any

from tests.service.registry_tables import HASH, OTHER_HASH, content, listed, put, refused
from transactional.keys import add_key

CARD = {
    "platform_id": "P01",
    "account_no": "P01-L-000001",
    "purpose": "WITHDRAW",
    "bank_code": "ICBC",
    "card_hash": HASH,
    "last4": "1234",
    "factors": 4,
    "result": "PASSED",
    "is_bound": True,
}
PROJECT = {
    "platform_id": "P01",
    "project_no": "PRJ-1",
    "customer_no": "P01-C000001",
    "account_no": "P01-B-000001",
    "currency": "CNY",
    "contract_minor": 100_000,
    "annual_rate": "0.12",
    "term_months": 12,
    "raise_start": "1999-01-01",
    "raise_end": "2026-12-31",
    "purpose_code": "TURNOVER",
}
RELATED = {
    "platform_id": "P01",
    "party_ref": "PARTY-1",
    "relation": "DIRECTOR",
    "holds_from": "2026-01-01",
    "holds_to": "2026-06-30",
    "evidence_hash": HASH,
}


def test_a_changed_card_is_a_new_version_and_the_same_content_is_none(api: Any) -> None:
    assert put(api, "bound-cards", CARD)["outcome"] == "NEW"
    assert put(api, "bound-cards", CARD)["outcome"] == "UNCHANGED"
    done = put(api, "bound-cards", CARD, is_bound=False)
    assert (done["outcome"], done["version"]) == ("CHANGED", 2)
    assert done["changes"] == [{"field": "is_bound", "before": True, "after": False}]
    key = {"platform_id": "P01", "account_no": "P01-L-000001", "purpose": "WITHDRAW"}
    history = api.client.get("/v1/bound-cards/history", params=key).json()["versions"]
    assert [(row["version"], row["is_bound"], row["actor"]) for row in history] == [(1, True, "key:*"), (2, False, "key:*")]
    audited = "SELECT action, before ->> 'is_bound', after ->> 'is_bound' FROM audit.change WHERE subject_type = 'bound_card'"
    assert api.rows(audited) == [("REGISTRY_ADDED", None, "true"), ("REGISTRY_CHANGED", "true", "false")]
    assert api.rows("SELECT count(*) FROM outbox.event WHERE topic = 'registry.bound_card'") == [(2,)]


def test_another_card_is_bound_only_after_the_first_was_unbound(api: Any) -> None:
    put(api, "bound-cards", CARD)
    refused(api, "bound-cards", {**CARD, "card_hash": OTHER_HASH}, "CARD_BOUND")
    put(api, "bound-cards", CARD, is_bound=False)
    assert put(api, "bound-cards", CARD, card_hash=OTHER_HASH)["version"] == 3
    refused(api, "bound-cards", {**CARD, "purpose": "RECHARGE", "result": "FAILED"}, "BODY_INVALID")
    refused(api, "bound-cards", {**CARD, "account_no": "P01-F-INCOME"}, "BODY_INVALID")
    refused(api, "bound-cards", {**CARD, "account_no": "P02-L-000001"}, "UNKNOWN_REFERENCE")


def test_what_counts_depends_on_the_day_and_on_what_was_known(api: Any) -> None:
    put(
        api,
        "complaints",
        {
            "platform_id": "P01",
            "complaint_no": "K1",
            "category": "FEES",
            "received_on": "2026-01-05",
            "text_hash": HASH,
            "status": "RECEIVED",
        },
        valid_from="2026-01-05",
    )
    known = api.rows("SELECT ledger.clock_now()")[0][0].isoformat()
    assert api.client.post("/v1/clock", json={"now": "2026-03-01T00:00:00Z"}).status_code == 200
    put(
        api,
        "complaints",
        {
            "platform_id": "P01",
            "complaint_no": "K1",
            "category": "FEES",
            "received_on": "2026-01-05",
            "text_hash": HASH,
            "status": "IN_WORK",
        },
        valid_from="2026-02-01",
    )
    assert [row["status"] for row in listed(api, "complaints")] == ["IN_WORK"]
    assert [row["status"] for row in listed(api, "complaints", valid_on="2026-01-31")] == ["RECEIVED"]
    assert [row["status"] for row in listed(api, "complaints", valid_on="2026-02-01", known_as_of=known)] == ["RECEIVED"]
    assert listed(api, "complaints", valid_on="2026-01-04") == []
    future = api.client.get("/v1/complaints", params={"known_as_of": "2999-01-01T00:00:00Z"})
    assert future.json()["code"] == "KNOWN_AS_OF_IN_FUTURE"


def test_complaints_walk_through_their_states_only(api: Any) -> None:
    complaint = {"platform_id": "P01", "complaint_no": "K1", "category": "FEES", "received_on": "2026-01-05", "text_hash": HASH}
    refused(api, "complaints", {**complaint, "status": "CLOSED"}, "STATUS_NOT_ALLOWED")
    for status in ("RECEIVED", "IN_WORK", "ANSWERED", "CLOSED", "REOPENED"):
        put(api, "complaints", complaint, status=status)
    refused(api, "complaints", {**complaint, "status": "CLOSED"}, "STATUS_NOT_ALLOWED")
    refused(api, "complaints", {**complaint, "status": "IN_WORK", "text_hash": OTHER_HASH}, "REGISTRY_DIFFERS")


def test_a_bank_account_belongs_to_one_customer_of_a_platform(api: Any) -> None:
    mapping = {"platform_id": "P01", "customer_no": "P01-C000001", "bank_account_hash": HASH, "is_mapped": True}
    put(api, "bank-accounts", mapping)
    before = content(api)
    taken = api.post({**mapping, "customer_no": "P01-C000002"}, path="/v1/bank-accounts")
    assert (taken.status_code, taken.json()["code"]) == (409, "BANK_ACCOUNT_TAKEN")
    assert content(api) == before
    put(api, "bank-accounts", mapping, is_mapped=False)
    put(api, "bank-accounts", mapping, customer_no="P01-C000002")


def test_related_parties_do_not_overlap_in_one_relation(api: Any) -> None:
    put(api, "related-parties", RELATED)
    refused(api, "related-parties", {**RELATED, "holds_from": "2026-06-30", "holds_to": None}, "PERIOD_OVERLAPS")
    put(api, "related-parties", RELATED, holds_from="2026-07-01", holds_to=None)
    put(api, "related-parties", RELATED, relation="SHAREHOLDER", share="0.05")
    refused(api, "related-parties", {**RELATED, "relation": "SHAREHOLDER", "party_ref": "PARTY-2"}, "BODY_INVALID")
    refused(api, "related-parties", {**RELATED, "party_ref": "PARTY-2", "holds_to": "2025-01-01"}, "BODY_INVALID")
    refused(api, "related-parties", {**RELATED, "party_ref": "NOBODY"}, "UNKNOWN_REFERENCE")
    assert [row["share"] for row in listed(api, "related-parties")] == [None, None, "0.050000"]


EVIDENCE: list[tuple[str, dict[str, Any]]] = [
    (
        "kyc-checks",
        {
            "check_no": "1",
            "customer_no": "P01-C000001",
            "check_type": "ID",
            "result": "PASSED",
            "evidence_hash": HASH,
            "checked_at": "2026-01-01T00:00:00Z",
        },
    ),
    (
        "documents",
        {
            "document_no": "1",
            "customer_no": "P01-C000001",
            "evidence_type": "VIDEO",
            "document_hash": HASH,
            "result": "VERIFIED",
            "verified_at": "2026-01-01T00:00:00+08:00",
        },
    ),
    (
        "customer-events",
        {
            "event_no": "1",
            "customer_no": "P01-C000001",
            "event_type": "REGISTERED",
            "channel": "APP",
            "happened_at": "2026-01-01T00:00:00Z",
        },
    ),
    (
        "redirects",
        {
            "request_no": "1",
            "customer_no": "P01-C000001",
            "purpose": "SET_PASSWORD",
            "page_hash": HASH,
            "channel": "WEB",
            "is_confirmed": True,
            "happened_at": "2026-01-01T00:00:00Z",
        },
    ),
]


def test_evidence_is_recorded_once_and_never_changes(api: Any) -> None:
    for path, body in EVIDENCE:
        assert put(api, path, body, platform_id="P01")["outcome"] == "NEW"
        assert put(api, path, body, platform_id="P01")["outcome"] == "UNCHANGED"
        refused(api, path, {**body, "platform_id": "P01", "customer_no": "P01-C000002"}, "REGISTRY_DIFFERS")
        refused(
            api, path, {**body, "platform_id": "P01", "customer_no": "P01-C999999", next(iter(body)): "2"}, "UNKNOWN_REFERENCE"
        )
        assert len(listed(api, path)) == 1


def test_a_project_is_changed_before_its_raise_and_disbursed_when_full_and_covered(api: Any) -> None:
    put(api, "projects", PROJECT)
    assert [row["status"] for row in listed(api, "project-status")] == ["REGISTERED"]
    assert put(api, "projects", PROJECT, contract_minor=90_000)["changes"] == [
        {"field": "contract_minor", "before": 100_000, "after": 90_000}
    ]
    api.recharge("P01-L-000001", 90_000)
    place = api.order("TENDER", place_holds=[{"hold_no": "H1", "account": "P01-L-000001", "amount_minor": 90_000}])
    assert api.post(place).status_code == 201
    ask = {"platform_id": "P01", "hold_nos": ["H1"]}
    check = "/v1/projects/PRJ-1/disbursement-check"
    assert api.client.post(check, json=ask).json() == {"allowed": False, "reasons": ["STATUS_NOT_FULL"]}
    for status in ("RAISING", "FULL"):
        put(api, "project-status", {"platform_id": "P01", "project_no": "PRJ-1", "status": status})
    assert api.client.post(check, json=ask).json() == {"allowed": True, "reasons": []}
    refused(api, "projects", PROJECT, "STATUS_NOT_ALLOWED")
    missing = api.client.post(check, json={**ask, "hold_nos": ["H1", "H2"]}).json()
    assert missing == {"allowed": False, "reasons": ["HOLDS_MISSING"]}
    none = api.client.post(check, json={**ask, "hold_nos": []}).json()
    assert none["reasons"] == ["HOLDS_MISSING", "HOLDS_DIFFER_FROM_CONTRACT"]
    api.approved("ACCOUNT_LOCK", "P01-B-000001", {"valid_from": "2026-01-01"}, platform_id="P01")
    assert api.client.post(check, json=ask).json()["reasons"] == ["BORROWER_ACCOUNT_NOT_OPEN"]
    unknown = api.client.post("/v1/projects/PRJ-9/disbursement-check", json=ask).json()
    assert unknown == {"allowed": False, "reasons": ["PROJECT_NOT_REGISTERED"]}


BAD_PROJECTS: list[tuple[dict[str, Any], str]] = [
    ({"account_no": "P01-L-000001"}, "BODY_INVALID"),
    ({"account_no": "P01-B-000002"}, "BODY_INVALID"),
    ({"customer_no": "P01-C999999"}, "BODY_INVALID"),
    ({"raise_end": "1998-01-01"}, "BODY_INVALID"),
    ({"contract_minor": 0}, "BODY_INVALID"),
    ({"annual_rate": "12%"}, "BODY_INVALID"),
    ({"annual_rate": 0.12}, "BODY_INVALID"),
    ({"colour": "red"}, "BODY_INVALID"),
    ({"platform_id": "P09"}, "UNKNOWN_REFERENCE"),
]


def test_a_project_that_makes_no_sense_is_refused(api: Any) -> None:
    for change, code in BAD_PROJECTS:
        refused(api, "projects", {**PROJECT, **change}, code)


def test_a_platform_writes_and_reads_its_own_rows_only(api: Any) -> None:
    put(api, "bound-cards", CARD)
    own = {"Authorization": f"Bearer {add_key(api.admin_url, 'P02')}"}
    before = content(api)
    foreign = api.client.post("/v1/bound-cards", json=CARD, headers={**own, "Idempotency-Key": "k"})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "NOT_FOUND")
    assert content(api) == before
    mine = {**CARD, "platform_id": "P02", "account_no": "P02-L-000001"}
    assert api.client.post("/v1/bound-cards", json=mine, headers={**own, "Idempotency-Key": "k"}).status_code == 201
    rows = api.client.get("/v1/bound-cards", headers=own).json()["rows"]
    assert [(row["platform_id"], row["actor"]) for row in rows] == [("P02", "key:P02")]
    assert api.client.get("/v1/bound-cards", params={"platform_id": "P01"}, headers=own).status_code == 404
    assert api.client.get("/v1/payment-company-terms", headers=own).status_code == 404
    key = {name: CARD[name] for name in ("platform_id", "account_no", "purpose")}
    assert api.client.get("/v1/bound-cards/history", params=key, headers=own).status_code == 404
    assert {row["platform_id"] for row in api.client.get("/v1/customers", headers=own).json()["rows"]} == {"P02"}
    assert api.client.get("/v1/customers/P01/P01-C000001", headers=own).status_code == 404
    assert [row["platform_id"] for row in api.client.get("/v1/platforms", headers=own).json()["rows"]] == ["P02"]


def test_people_of_the_bank_need_the_permission(api: Any) -> None:
    ann, vic = api.staff("ann", "officer"), api.staff("vic", "viewer")
    taken = api.client.post("/v1/bound-cards", json=CARD, headers={**ann, "Idempotency-Key": "k"})
    assert taken.status_code == 201
    assert api.client.get("/v1/bound-cards", headers=ann).json()["rows"][0]["actor"] == "ann"
    assert api.client.get("/v1/bound-cards", headers=vic).json()["code"] == "NOT_PERMITTED"
    aud = api.staff("aud", "auditor")
    refusal = api.client.post("/v1/bound-cards", json={**CARD, "is_bound": False}, headers={**aud, "Idempotency-Key": "k2"})
    assert refusal.json()["code"] == "NOT_PERMITTED"
    assert api.client.get("/v1/bound-cards", headers={"Authorization": "Bearer nothing"}).status_code == 401


def test_pages_of_a_list_join_to_the_whole(api: Any) -> None:
    for number in range(5):
        put(
            api,
            "redirects",
            {
                "platform_id": "P01",
                "request_no": f"R{number}",
                "purpose": "RECHARGE",
                "page_hash": HASH,
                "channel": "WEB",
                "is_confirmed": False,
                "happened_at": "2026-01-01T00:00:00Z",
            },
        )
    for path, key in (("redirects", "request_no"), ("customers", "customer_no"), ("account-status", "account_no")):
        found: list[str] = []
        cursor = None
        while True:
            page = api.client.get(f"/v1/{path}", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            found += [row[key] for row in page["rows"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == [row[key] for row in listed(api, path, limit=1000)]
        assert len(found) == len(set(found)) > 4
    bad = api.client.get("/v1/redirects", params={"cursor": "Zm9v"})
    assert (bad.status_code, bad.json()["code"]) == (422, "PARAMETER_INVALID")


def test_a_dry_run_answers_the_same_and_leaves_nothing(api: Any) -> None:
    before = content(api)
    rehearsed = api.post(CARD, path="/v1/bound-cards?dry_run=true")
    assert (rehearsed.status_code, rehearsed.headers["Fundwatch-Dry-Run"]) == (200, "true")
    assert content(api) == before
    assert put(api, "bound-cards", CARD) == rehearsed.json()


def test_a_version_put_on_top_of_one_that_is_no_longer_the_newest_is_refused(api: Any) -> None:
    def send(body: dict[str, Any], if_match: str) -> Any:
        headers = {"Idempotency-Key": f"key-{next(api.numbers)}", "If-Match": if_match}
        return api.client.post("/v1/bound-cards", json=body, headers=headers)

    assert send(CARD, '"0"').json()["version"] == 1
    assert send({**CARD, "is_bound": False}, "1").json()["version"] == 2
    before = content(api)
    stale = send(CARD, '"1"')
    assert (stale.status_code, stale.json()["code"], stale.json()["value"]) == (412, "PRECONDITION_FAILED", "2")
    assert send(CARD, "newest").json()["code"] == "PARAMETER_INVALID"
    assert content(api) == before
