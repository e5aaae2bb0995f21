"""The registry by natural key, reading accounts, API keys with their scope, and the catalogue of problems."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest

from transactional.keys import add_key
from transactional.problems import CATALOGUE, Problem

LENDER, CHANNEL = "P01-L-000001", "P01-X-CHANNEL-PC01"
PARTY = {"party_ref": "PARTY-1", "party_type": "PERSON", "id_hash": f"{1:064x}", "name_masked": "L*", "phone_masked": None}


def test_platforms_get_their_control_accounts(api: Any) -> None:
    found = api.rows("SELECT account_no, account_role, is_control FROM night.account WHERE platform_id = 'P02' AND is_control")
    assert sorted(found) == [
        ("P02-X-CHANNEL-PC01", "CHANNEL_RECEIVABLE", True),
        ("P02-X-OWNFUNDS", "OWN_FUNDS", True),
        ("P02-X-SPECIAL", "SPECIAL_ACCOUNT", True),
        ("P02-X-SUSPENSE", "SUSPENSE", True),
        ("P02-X-WITHDRAWAL", "WITHDRAWAL_PAYABLE", True),
    ]


def test_the_same_rows_again_change_nothing(api: Any) -> None:
    before = api.content()
    answer = api.client.post("/v1/registry", json={"parties": [PARTY]})
    assert (answer.status_code, answer.json()["parties"]) == (200, 0)
    assert api.content() == before


def test_another_content_under_a_known_key_names_the_fields(api: Any) -> None:
    before = api.content()
    rows = [{**PARTY, "party_ref": "PARTY-NEW"}, {**PARTY, "name_masked": "Z*", "party_type": "FIRM"}]
    answer = api.client.post("/v1/registry", json={"parties": rows})
    assert (answer.status_code, answer.json()["code"]) == (409, "REGISTRY_DIFFERS")
    assert (answer.json()["key"], answer.json()["fields"]) == ("PARTY-1", ["party_type", "name_masked"])
    assert api.content() == before


def test_a_payment_company_s_fees_are_registered_once_and_read_by_the_night(api: Any) -> None:
    company = {"paycom_id": "PC77", "name": "Pay", "platform_ids": ["P01"]}
    terms = [{"basis": "VOLUME_RECHARGE", "rate": "0.00025"}, {"basis": "COUNT_TXN", "unit_minor": 10}]

    def said(**more: Any) -> int:
        answer = api.client.post("/v1/registry", json={"payment_companies": [{**company, **more}]})
        return int(answer.status_code)

    assert said(fee_terms=terms) == said(fee_terms=terms) == said() == 200
    assert said(fee_terms=terms[:1]) == 409
    assert said(fee_terms=[{"basis": "FIXED", "rate": "1"}]) == 422
    found = api.rows("SELECT platform_id, version, fee_terms FROM night.channel_fee WHERE paycom_id = 'PC77'")
    assert found == [("P01", 0, terms)]


def test_five_thousand_rows_are_registered_in_one_call_and_no_more(api: Any) -> None:
    parties = [{**PARTY, "party_ref": f"MANY-{number}", "id_hash": str(number)} for number in range(5001)]
    assert api.client.post("/v1/registry", json={"parties": parties}).status_code == 413
    started = time.monotonic()
    assert api.client.post("/v1/registry", json={"parties": parties[1:]}).json()["parties"] == 5000
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"customers": [{"platform_id": "P01", "customer_no": "C", "party_ref": "X", "roles": [], "opened_on": "2026-01-01"}]},
         422, "UNKNOWN_REFERENCE"),
        ({"sub_accounts": [{"account_no": "A", "platform_id": "P99", "account_role": "INVESTOR", "currency": "CNY"}]}, 422,
         "UNKNOWN_REFERENCE"),
        ({"sub_accounts": [{"account_no": "A", "platform_id": "P01", "account_role": "SUSPENSE", "currency": "CNY"}]}, 422,
         "BODY_INVALID"),
        ({"sub_accounts": [{"account_no": "A", "platform_id": "P01", "account_role": "INVESTOR", "currency": "XXX"}]}, 422,
         "BODY_INVALID"),
        ({"payment_companies": [{"paycom_id": "PC01", "name": "Pay", "platform_ids": ["P77"]}]}, 422, "UNKNOWN_REFERENCE"),
    ],
)  # fmt: skip
def test_rows_that_hang_in_the_air_are_refused(api: Any, body: dict[str, Any], status: int, code: str) -> None:
    before = api.content()
    answer = api.client.post("/v1/registry", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert api.content() == before


def test_movements_are_read_newest_first_page_by_page(api: Any) -> None:
    for amount in range(1, 6):
        api.recharge(LENDER, amount)
    amounts, cursor = [], None
    while True:
        page = api.client.get(
            f"/v1/accounts/{LENDER}/movements", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        ).json()
        amounts.append([row["amount_minor"] for row in page["movements"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert amounts == [[5, 4], [3, 2], [1]]


def test_a_platforms_key_reaches_its_platform_only(api: Any) -> None:
    headers = {"Authorization": f"Bearer {add_key(api.admin_url, 'P02')}", "Idempotency-Key": "k"}
    order = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 1))
    assert api.client.post("/v1/orders", json=order, headers=headers).json()["code"] == "NOT_FOUND"
    assert api.client.get(f"/v1/accounts/{LENDER}", headers=headers).json()["code"] == "ACCOUNT_NOT_FOUND"
    assert api.client.post("/v1/registry", json={}, headers=headers).status_code == 403
    assert api.client.post("/v1/clock", json={"now": "2030-01-01T00:00:00Z"}, headers=headers).status_code == 403
    strange = api.order("RECHARGE", ("RECHARGE", "P02-X-CHANNEL-PC01", LENDER, 1), platform_id="P02")
    assert api.client.post("/v1/orders", json=strange, headers=headers).json()["code"] == "UNKNOWN_ACCOUNT"
    own = api.order("RECHARGE", ("RECHARGE", "P02-X-CHANNEL-PC01", "P02-L-000001", 1), platform_id="P02")
    assert api.client.post("/v1/orders", json=own, headers=headers).status_code == 201
    assert api.client.get("/v1/accounts/P02-L-000001", headers=headers).json()["account_role"] == "INVESTOR"


def test_keys_are_stored_as_hashes_and_strangers_are_turned_away(api: Any) -> None:
    key = add_key(api.admin_url, "*")
    assert key not in str(api.rows("SELECT encode(key_hash, 'escape'), scope FROM api.key"))
    for header in ("", "Bearer nothing", f"Basic {key}"):
        answer = api.client.get("/v1/clock", headers={"Authorization": header})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_every_problem_is_declared_and_documented(api: Any) -> None:
    openapi = api.client.get("/openapi.json").json()
    declared = openapi["paths"]["/v1/orders"]["post"]["responses"]
    for code, kind in CATALOGUE.items():
        document = Problem(code, "why").document()
        assert document["type"] == f"urn:fundwatch:problem:{code.lower().replace('_', '-')}"
        assert (document["status"], document["title"], document["retryable"]) == (kind.status, kind.title, kind.retryable)
        assert declared[str(kind.status)] == {"$ref": f"#/components/responses/Problem{kind.status}"}
        assert code in openapi["components"]["responses"][f"Problem{kind.status}"]["description"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("DELETE", "/v1/orders", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/accounts/P01-L-999999", 404, "ACCOUNT_NOT_FOUND"),
        ("GET", f"/v1/accounts/{LENDER}/balance?known_as_of=yesterday", 422, "PARAMETER_INVALID"),
        ("GET", f"/v1/accounts/{LENDER}/movements?limit=1001", 422, "PARAMETER_INVALID"),
        ("POST", "/v1/clock", 400, "MALFORMED_JSON"),
    ],
)
def test_errors_outside_orders_are_problems_too(api: Any, method: str, path: str, status: int, code: str) -> None:
    answer = api.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_health_and_version_need_no_key(api: Any) -> None:
    for path in ("/livez", "/readyz", "/version"):
        assert api.client.get(path, headers={"Authorization": ""}).status_code == 200


def test_each_role_reads_and_writes_what_its_work_needs_and_no_more(api: Any, database: Any) -> None:
    allowed = {
        "jobs": ["SELECT * FROM night.movement", "SELECT * FROM ledger.seal_state()", "SELECT ledger.clock_now()",
                 "SELECT * FROM night.customer", "SELECT * FROM ledger.day_close", "SELECT * FROM registry.calendar",
                 "DELETE FROM mart.open_item", "UPDATE run.run SET state = 'ABANDONED'"],
        "reader": ["SELECT * FROM mart.current_open_item", "SELECT * FROM run.published", "SELECT name FROM registry.platform"],
        "verifier": ["SELECT * FROM ledger.movement", "SELECT * FROM api.answer", "SELECT * FROM registry.party",
                     "SELECT * FROM work.approval", "SELECT * FROM outside.payment_instruction", "SELECT * FROM audit.change"],
        "catalog": ["CREATE TABLE catalog.iceberg_tables (a int)"],
    }  # fmt: skip
    forbidden = {
        "service": ["UPDATE ledger.movement SET amount_minor = 1", "INSERT INTO ledger.balance VALUES (1)",
                    "DELETE FROM mart.open_item", "SELECT * FROM mart.score",
                    "UPDATE registry.account SET account_role = 'INVESTOR'"],
        "jobs": ["UPDATE ledger.movement SET amount_minor = 1", "INSERT INTO ledger.balance VALUES (1)", "SELECT * FROM api.key",
                 "SELECT * FROM ledger.movement", "SELECT * FROM api.answer", "SELECT * FROM registry.party",
                 "SELECT * FROM work.approval", "SELECT * FROM audit.change", "SELECT * FROM payments.recharge",
                 "SELECT * FROM auth.password", "SELECT ledger.seal_pending(1)", "SELECT payments.put_receipt('{}', 'me')"],
        "verifier": ["UPDATE ledger.balance SET version = 0", "DELETE FROM audit.change", "SELECT * FROM auth.password",
                     "INSERT INTO ledger.hold_block VALUES (1, 1, '', '')", "SELECT * FROM api.key",
                     "CREATE TABLE ledger.x (a int)", "SELECT ledger.seal_holds(1)", "DELETE FROM mart.open_item"],
        "reader": ["SELECT * FROM registry.party", "INSERT INTO run.projected VALUES (1, now())"],
    }  # fmt: skip
    for role, statements in allowed.items():
        for statement in statements:
            with psycopg.connect(database.url(role)) as connection:
                connection.execute(statement.encode())
    for role, statements in forbidden.items():
        for statement in statements:
            with psycopg.connect(database.url(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
