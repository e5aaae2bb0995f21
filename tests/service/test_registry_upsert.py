"""Batch upsert of customers and sub-accounts by API and by file: row by row, idempotent, with every changed field."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput
from tests.service.registry_tables import HASH, content
from transactional.keys import add_key
from transactional.registry_file import upsert_file

PERSON = {
    "customer_no": "P01-C000100",
    "party_ref": "PARTY-100",
    "party_type": "PERSON",
    "id_hash": "h100",
    "name_masked": "W*",
    "phone_masked": "138****0000",
    "roles": ["INVESTOR"],
    "opened_on": "2026-02-01",
    "country": "CN",
    "birth_year": 1990,
    "kyc_level": 1,
}
ACCOUNT = {"account_no": "P01-L-000100", "account_role": "INVESTOR", "currency": "CNY", "customer_no": "P01-C000100"}


def upsert(api: Any, customers: list[dict[str, Any]], accounts: list[dict[str, Any]] | None = None, **more: Any) -> Any:
    body = {"platform_id": "P01", "customers": customers, "accounts": accounts or [], **more}
    answer = api.post(body, path="/v1/registry/upsert")
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_rows_are_new_then_unchanged_then_changed_with_the_fields_that_differ(api: Any) -> None:
    assert api.client.post("/v1/clock", json={"now": "2026-03-01T02:00:00Z"}).status_code == 200
    first = upsert(api, [PERSON], [ACCOUNT])
    assert (first["new"], first["refused"]) == (2, 0), first
    before = content(api)
    again = upsert(api, [PERSON], [ACCOUNT])
    assert (again["unchanged"], again["new"]) == (2, 0), again
    assert content(api) == before
    third = upsert(api, [{**PERSON, "phone_masked": "139****1111", "roles": ["INVESTOR", "BORROWERS"], "kyc_level": 2}])
    assert third["rows"][0]["changes"] == [
        {"field": "phone_masked", "before": "138****0000", "after": "139****1111"},
        {"field": "kyc_level", "before": 1, "after": 2},
        {"field": "roles", "before": ["INVESTOR"], "after": ["BORROWERS", "INVESTOR"]},
    ]
    found = api.client.get("/v1/customers/P01/P01-C000100").json()
    assert (found["phone_masked"], found["roles"], found["kyc_level"]) == ("139****1111", ["BORROWERS", "INVESTOR"], 2)
    assert [account["status"] for account in found["accounts"]] == ["OPEN"]
    assert api.client.post("/v1/clock", json={"now": "2026-03-02T02:00:00Z"}).status_code == 200
    assert upsert(api, [{**PERSON, "name_masked": "V*"}])["changed"] == 1
    night = api.rows("SELECT name_masked, roles FROM night.customer WHERE customer_no = 'P01-C000100' ORDER BY recorded_at")
    assert night == [("W*", "BORROWERS,INVESTOR"), ("V*", "INVESTOR")]  # what was known before is known so still
    assert api.rows("SELECT name_masked FROM mart.customer_name WHERE customer_no = 'P01-C000100'") == [("V*",)]
    changed = api.rows("SELECT action, subject_type FROM audit.change WHERE subject IN ('P01 P01-C000100', 'PARTY-100')")
    assert ("REGISTRY_CHANGED", "customer_version") in changed and ("REGISTRY_CHANGED", "party_version") in changed


def test_a_bad_row_is_refused_with_its_reason_and_keeps_no_other_back(api: Any) -> None:
    other = {**PERSON, "customer_no": "P01-C000101", "party_ref": "PARTY-101", "id_hash": "h101"}
    bad = [
        ({**other, "phone_masked": "13800138000"}, "BODY_INVALID", "phone_masked"),
        ({**other, "birth_year": "1990"}, "BODY_INVALID", "birth_year"),
        ({**other, "colour": "red"}, "BODY_INVALID", "colour"),
        ({**other, "id_hash": f"{1:064x}"}, "IDENTITY_TAKEN", "party_ref"),
        ({**other, "customer_no": "P01-C000102", "party_ref": "PARTY-1"}, "REGISTRY_DIFFERS", "id_hash"),
        ({**PERSON}, "BODY_INVALID", "customer_no"),
    ]
    bad_accounts = [
        ({**ACCOUNT, "account_no": "P01-L-101", "customer_no": "P01-C999"}, "UNKNOWN_REFERENCE", "customer_no"),
        ({**ACCOUNT, "account_no": "P02-L-000001"}, "REGISTRY_DIFFERS", "account_no"),
        (
            {**ACCOUNT, "account_no": "P01-L-000001", "customer_no": "P01-C000001", "account_role": "BORROWERS"},
            "REGISTRY_DIFFERS",
            "account_role",
        ),
        ({**ACCOUNT, "account_no": "P01-L-102", "account_role": "SUSPENSE"}, "BODY_INVALID", "account_role"),
    ]
    done = upsert(api, [PERSON, *(row for row, _, _ in bad)], [*(row for row, _, _ in bad_accounts), ACCOUNT])
    reasons = [(row["reason"]["code"], row["reason"]["field"]) for row in done["rows"] if row["outcome"] == "REFUSED"]
    assert reasons == [(code, field) for _, code, field in [*bad, *bad_accounts]]
    assert (done["new"], done["refused"]) == (2, 10)
    assert api.rows("SELECT count(*) FROM registry.customer WHERE customer_no = 'P01-C000101'") == [(0,)]
    assert api.rows("SELECT count(*) FROM registry.party WHERE party_ref = 'PARTY-101'") == [(0,)]


def test_a_platform_upserts_its_own_customers_only_and_a_repeat_hears_the_first_answer(api: Any) -> None:
    own = {"Authorization": f"Bearer {add_key(api.admin_url, 'P02')}", "Idempotency-Key": "k"}
    body = {"platform_id": "P01", "customers": [PERSON]}
    before = content(api)
    assert api.client.post("/v1/registry/upsert", json=body, headers=own).status_code == 404
    assert content(api) == before
    mine = {"platform_id": "P02", "customers": [PERSON]}
    first = api.client.post("/v1/registry/upsert", json=mine, headers=own)
    again = api.client.post("/v1/registry/upsert", json=mine, headers=own)
    assert (first.json()["new"], again.json(), again.headers["Idempotency-Replayed"]) == (1, first.json(), "true")
    actors = api.rows("SELECT DISTINCT actor FROM registry.customer_version WHERE customer_no = 'P01-C000100'")
    assert actors == [("key:P02",)]
    unknown = api.post({"platform_id": "P77", "customers": []}, path="/v1/registry/upsert")
    assert unknown.json()["code"] == "UNKNOWN_PLATFORM"


def test_a_thousand_rows_go_in_one_call_and_more_than_five_thousand_do_not(api: Any) -> None:
    rows = [{**PERSON, "customer_no": f"C{n}", "party_ref": f"Q{n}", "id_hash": f"q{n}"} for n in range(5_001)]
    assert api.post({"platform_id": "P01", "customers": rows}, path="/v1/registry/upsert").status_code == 422
    both = {"platform_id": "P01", "customers": rows[:5_000], "accounts": [ACCOUNT]}
    assert api.post(both, path="/v1/registry/upsert").status_code == 413
    assert upsert(api, rows[:1_000])["new"] == 1_000
    assert api.rows("SELECT count(*), max(version) FROM registry.party_version WHERE country = 'CN'") == [(1_000, 1)]


def test_a_file_is_taken_row_by_row_and_bad_rows_are_named_and_kept(api: Any, database: Any, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    lines = [{**PERSON, "roles": "INVESTOR|BORROWERS"}] + [
        {**PERSON, "customer_no": f"P01-C00020{n}", "party_ref": f"PARTY-20{n}", "id_hash": f"h20{n}", "roles": "INVESTOR"}
        for n in range(3)
    ]
    lines[1]["phone_masked"] = "13800138000"
    lines[2]["id_hash"] = f"{2:064x}"
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, PERSON)
        writer.writeheader()
        writer.writerows(lines)
    done = upsert_file(database.settings, file, "P01")
    assert done.counts == {"new": 2, "changed": 0, "unchanged": 0, "refused": 2}
    assert done.sentences[0].startswith(f"{file} line 3, column phone_masked: send it masked")
    assert done.sentences[1].startswith(f"{file} line 4, column party_ref: IDENTITY_TAKEN")
    assert done.quarantine is not None
    kept = list(csv.DictReader(done.quarantine.open()))
    assert [(row["customer_no"], row["line"], row["column"]) for row in kept] == [
        ("P01-C000200", "3", "phone_masked"),
        ("P01-C000201", "4", "party_ref"),
    ]
    assert upsert_file(database.settings, file, "P01").counts == {"new": 0, "changed": 0, "unchanged": 2, "refused": 2}
    file.write_text(file.read_text().replace("138****0000", "138****9999"))
    changed = upsert_file(database.settings, file, "P01")
    assert changed.counts["changed"] == 2
    assert {"key": "P01-C000100", "field": "phone_masked", "before": "138****0000", "after": "138****9999"} in changed.changes


@pytest.mark.parametrize("text", ["customer_no,party_ref\n", "account_no,account_role,currency,colour\n", "", '"open\n'])
def test_a_file_that_is_none_is_refused_whole(text: str, tmp_path: Path) -> None:
    from transactional.registry_file import _kind

    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(BadInput, match="line 1"):
        _kind(file, text.strip().split(","))


def test_files_of_accounts_are_taken_too(api: Any, database: Any, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(
        "account_no,account_role,currency,customer_no\nP01-G-1,GUARANTEECORP,CNY,P01-C000001\nP01-R,PLATFORM_PROFIT,CNY,\nP01-S\n"
    )
    done = upsert_file(database.settings, file, "P01")
    assert (done.counts["new"], done.counts["refused"]) == (2, 1)
    assert done.sentences == [f"{file} line 4, column -: 1 cells for 4 columns"]
    assert json.dumps(done.changes) == "[]"


def test_the_command_says_every_bad_row_and_ends_with_ten(database: Any, api: Any, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text("account_no,account_role,currency\nP01-R,PLATFORM_PROFIT,CNY\nP01-S,SUSPENSE,CNY\n")
    run = [sys.executable, "-m", "fundwatch.cli", "registry", "upsert", str(file), "--platform", "P01", "--json"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 10, done.stderr
    assert "line 3, column account_role: SUSPENSE is not the role of a sub-account" in done.stderr.replace("\n", " ")
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["new"], result["refused"]) == (1, 1)
    again = subprocess.run([*run[:-2], "P77"], capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode == 3


def test_customers_at_once_cannot_share_a_bank_account(api: Any) -> None:
    def claim(customer: int) -> int:
        mapping = {"platform_id": "P01", "customer_no": f"P01-C00000{customer}", "bank_account_hash": HASH, "is_mapped": True}
        with psycopg.connect(api.service_url) as connection:
            try:
                connection.execute("SELECT registry.put('bank_account', %s, '2026-01-01', 'x')", [json.dumps(mapping)])
            except psycopg.Error as error:
                assert "BANK_ACCOUNT_TAKEN" in str(error)
                return 0
        return 1

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(claim, (1, 2, 3))) == 1
    assert api.rows("SELECT count(*) FROM registry.current_bank_account WHERE is_mapped") == [(1,)]
