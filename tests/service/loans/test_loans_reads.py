"""Reading the loans side: whole CSV files, and every look of the bank's people in the access log."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

LISTS = {
    "loans": "loan_state",
    "claims": "claim_state",
    "transfers": "listing_state",
    "deals": "deal_state",
    "mandates": "mandate_state",
    "guarantees": "guarantee_state",
    "guarantee-calls": "call_state",
    "collateral": "collateral_state",
    "contracts": "contract_state",
    "loans/L-1/bids": "bid_state",
}


def _as(market: Any, role: str, path: str, accept: str = "application/json", **asked: Any) -> Any:
    headers = {**market.api.staff(f"an.{role}", role), "Accept": accept}
    return market.api.client.get(f"/v1/{path}", params={"platform_id": "P01", **asked}, headers=headers)


def _log(market: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = market.api.rows("SELECT kind, subject FROM auth.access_log ORDER BY access_id")
    return found


def test_every_list_comes_whole_as_csv_and_each_export_is_logged(market: Any) -> None:
    market.lend()
    for path in LISTS:
        answer = _as(market, "officer", path, "text/csv")
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/csv"), answer.text
        rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
        shown = market.get(path, limit=1000).json()["items"]
        assert int(answer.headers["x-row-count"]) == len(rows) == len(shown), path
        for row, item in zip(rows, shown, strict=True):
            assert set(row) == set(item)
    assert [subject for kind, subject in _log(market) if kind == "EXPORT"] == list(LISTS.values())


def test_a_plan_comes_as_one_file_of_all_its_versions_or_of_one(market: Any) -> None:
    market.lend()
    shown = market.read("loans/L-1/plan")["rows"]
    for asked in ({}, {"version": 1}):
        answer = _as(market, "officer", "loans/L-1/plan", "text/csv", **asked)
        rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
        assert [(row["version"], row["issue_no"], row["due_on"]) for row in rows] == [
            ("1", str(row["issue_no"]), row["due_on"]) for row in shown
        ]
        assert [int(row["principal_minor"]) for row in rows] == [row["principal_minor"] for row in shown]
    assert _as(market, "officer", "loans/L-1/plan", "text/csv", version=9).json()["code"] == "RECORD_NOT_FOUND"
    assert _as(market, "viewer", "loans/L-1/plan", "text/csv").json()["code"] == "NOT_PERMITTED"
    assert [subject for kind, subject in _log(market) if kind == "EXPORT"] == ["loan_plan"] * 2


def test_an_export_takes_the_filters_and_the_permission_of_its_list(market: Any) -> None:
    market.lend()
    market.lend("L-2", {"P01-L-000001": 500})
    filtered = _as(market, "officer", "claims", "text/csv", loan_no="L-2")
    assert filtered.headers["x-row-count"] == "1"
    assert _as(market, "viewer", "claims", "text/csv").json()["code"] == "NOT_PERMITTED"
    assert _as(market, "officer", "claims", "text/csv", loan_no="a b").json()["code"] == "PARAMETER_INVALID"


@pytest.mark.parametrize(
    ("path", "kind", "subject"),
    [
        ("loans/L-1", "LOAN_SEEN", "loan_no P01 L-1"),
        ("claims/L-1-CL-1", "LOAN_SEEN", "claim_no P01 L-1-CL-1"),
        ("claims?customer_no=P01-C000001", "CUSTOMER_SEEN", "claim_state of P01 P01-C000001"),
        ("claims?loan_no=L-1", "LOAN_SEEN", "claim_state of P01 L-1"),
        ("adjustments?account_no=P01-L-000001", "ACCOUNT_SEEN", "adjustments of P01-L-000001"),
        ("legal-holds?account_no=P01-L-000001", "ACCOUNT_SEEN", "legal holds of P01-L-000001"),
        ("customers/P01/P01-C000001/statement?month=2026-01", "CUSTOMER_SEEN", "statement 2026-01 of P01 P01-C000001"),
    ],
)
def test_what_a_person_of_the_bank_looked_at_is_written_down_and_what_a_platform_reads_is_not(
    market: Any, path: str, kind: str, subject: str
) -> None:
    market.lend()
    name, _, query = path.partition("?")
    asked = dict([query.split("=")]) if query else {}
    assert _as(market, "officer", name, **asked).status_code == 200
    assert _log(market) == [(kind, subject)]
    if not path.startswith(("adjustments", "legal-holds")):
        assert market.get(name, **asked).status_code == 200
        assert len(_log(market)) == 1
