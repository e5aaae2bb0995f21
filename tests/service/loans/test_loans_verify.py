"""`loans.verify()` names every row that the movements or the audit chain do not bear out, whichever column was touched."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from transactional.loans_checks import CHECKS, NAMES

FLIPS = {
    "text": "{0} || 'x'",
    "bigint": "{0} + 1",
    "integer": "{0} + 1",
    "date": "{0} + 1",
    "timestamp with time zone": "{0} + interval '1 second'",
    "numeric": "{0} + 0.000001",
    "boolean": "NOT {0}",
    "bytea": r"'\x00'::bytea",
    "jsonb": """'["x"]'::jsonb""",
    "ARRAY": "array_append({0}, 'x')",
}


def _whole(market: Any) -> None:
    """A row in every table of the loans side, all in order."""
    market.lend()
    days = {"listed_on": "2026-01-15", "expires_on": "2026-02-28"}
    for number in ("S-1", "S-2"):
        listing = {"listing_no": number, "claim_no": "L-1-CL-1", "principal_minor": 100, "price_minor": 100, **days}
        market.done("transfers", listing)
    market.done("transfers/S-2/withdrawal", {"reason": "no"})
    terms = {"principal_minor": 100, "price_minor": 100, "fee_minor": 0, "accrued_minor": 0, "agreed_on": "2026-01-15"}
    market.done("transfers/S-1/deals", {"deal_no": "D-1", "buyer_customer_no": "P01-C000002", **terms})
    market.api.recharge("P01-L-000002", 100)
    paid = {"movement_type": "CREDIT_ASSIGNMENT", "debit_account": "P01-L-000002", "credit_account": "P01-L-000001"}
    order = market.pay("CREDIT_ASSIGNMENT", {**paid, "amount_minor": 100, "loan_no": "L-1", "claim_no": "N-1"})
    market.done("deals/D-1/settlement", {"request_no": order})
    _mandated(market)
    _guaranteed(market)
    given = {
        "collateral_no": "V-1",
        "loan_no": "L-1",
        "customer_no": "P01-C000003",
        "kind": "OTHER",
        "haircut": "0",
        "ltv_max": "1",
    }
    market.done("collateral", given)
    worth = {"valued_on": "2026-01-15", "method": "MODEL", "value_minor": 9, "valuer": "v", "valid_until": "2026-02-15"}
    market.done("collateral/V-1/valuations", worth)
    market.done("collateral/V-1/liens", {"event": "REGISTERED", "registration_no": "R", "happened_on": "2026-01-15"})
    shares = {"gross_minor": 9, "costs_minor": 1, "to_lenders_minor": 8, "to_guarantor_minor": 0, "to_owner_minor": 0}
    market.status("L-1", "4", "2026-02-20")
    market.api.approved("COLLATERAL_DISPOSAL", "V-1", {"disposed_on": "2026-02-20", **shares}, platform_id="P01")
    signed = {"contract_no": "A-1", "kind": "LOAN", "subject_no": "L-1", "content_sha256": "a" * 64, "parties": ["P01-C000003"]}
    template = {"template_code": "T", "template_version": "1", "signed_on": "2026-01-15", "ends_on": "2026-04-15"}
    market.done("contracts", signed | template)
    market.done("contracts/A-1/verify", {"content_sha256": "b" * 64})
    left = market.read("loans/L-1")["outstanding_principal_minor"]
    payload = {"principal_minor": left, "written_off_on": "2026-02-20"}
    market.api.approved("LOAN_WRITE_OFF", "L-1", payload, platform_id="P01")


def _mandated(market: Any) -> None:
    market.register("L-2")
    limits = {
        "rate_from": "0",
        "rate_to": "1",
        "term_from_months": 1,
        "term_to_months": 9,
        "loan_max_minor": 9,
        "total_max_minor": 9,
    }
    about = {"mandate_no": "M-1", "version": 1, "customer_no": "P01-C000001", "currency": "CNY"}
    market.done("mandates", {**about, **limits, "valid_from": "2026-01-01", "expires_on": "2026-12-31"})
    market.api.recharge("P01-L-000001", 9)
    market.pay("TENDER", place_holds=[{"hold_no": "H-1", "account": "P01-L-000001", "amount_minor": 9}])
    market.done("mandates/M-1/uses", {"loan_no": "L-2", "amount_minor": 9, "hold_no": "H-1"})


def _guaranteed(market: Any) -> None:
    policy = {"policy_no": "G-1", "loan_no": "L-1", "customer_no": "P01-C000004", "coverage": "PRINCIPAL_AND_INTEREST"}
    market.done(
        "guarantees",
        {
            **policy,
            "cover_minor": 900,
            "waiting_days": 0,
            "premium_minor": 0,
            "valid_from": "2026-01-15",
            "valid_to": "2026-12-31",
        },
    )
    market.done(
        "guarantees",
        {**policy, "policy_no": "G-2", "cover_minor": 1, "waiting_days": 0, "premium_minor": 0}
        | {"valid_from": "2026-01-15", "valid_to": "2026-12-31"},
    )
    market.done("guarantees/G-2/release", {"released_on": "2026-01-15", "reason": "no"})
    market.at("2026-02-20")
    call = {"call_no": "K-1", "issue_no": 1, "called_minor": 50, "called_on": "2026-02-20", "due_on": "2026-02-20"}
    market.done("guarantees/G-1/calls", call)
    market.api.recharge("P01-G-000004", 50)
    part = {"credit_account": "P01-L-000002", "amount_minor": 50, "issue_no": 1, "component": "I", "claim_no": "L-1-CL-2"}
    paid = {"movement_type": "COMPENSATORY", "debit_account": "P01-G-000004", "loan_no": "L-1", **part}
    order = market.pay("COMPENSATORY", paid)
    market.done("guarantee-calls/K-1/payouts", {"request_no": order, "claim_no": "SUB-1"})
    market.api.recharge("P01-B-000003", 20)
    back = {"movement_type": "COMPENSATORY_REPAYMENT", "debit_account": "P01-B-000003", "credit_account": "P01-G-000004"}
    order = market.pay("COMPENSATORY_REPAYMENT", {**back, "amount_minor": 20, "loan_no": "L-1"})
    market.done("subrogations/SUB-1/recoveries", {"request_no": order})


def test_no_column_of_the_loans_side_can_be_touched_unnoticed(market: Any) -> None:
    _whole(market)
    assert market.faults() == []
    columns = market.api.rows(
        """SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'loans'
           AND table_name IN (SELECT table_name FROM loans.told UNION ALL VALUES ('plan_row')) ORDER BY 1, ordinal_position"""
    )
    assert len({table for table, _, _ in columns}) == 25
    unnoticed = []
    with psycopg.connect(market.api.admin_url) as connection:
        _unguard(connection, {table for table, _, _ in columns})
        for table, column, kind in columns:
            changed = f"coalesce({FLIPS[kind].format(column)}, 'x')" if kind == "text" else FLIPS[kind].format(column)
            nullable = "coalesce" not in changed
            where = f"WHERE {column} IS NOT NULL" if nullable else ""
            if not _noticed(connection, f"UPDATE loans.{table} SET {column} = {changed} {where}"):
                unnoticed.append(f"{table}.{column}")
        for table in sorted({table for table, _, _ in columns}):
            if not _noticed(connection, f"DELETE FROM loans.{table}"):
                unnoticed.append(f"deleted rows of {table}")
        connection.rollback()
    assert unnoticed == []


def _unguard(connection: Any, tables: set[str]) -> None:
    """Take away what keeps the owner from changing rows: triggers and foreign keys; rolled back at the end."""
    keys = connection.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND connamespace = 'loans'::regnamespace"
    ).fetchall()
    for table, name in keys:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
    for table in tables:
        connection.execute(f"ALTER TABLE loans.{table} DISABLE TRIGGER USER".encode())


def _noticed(connection: Any, change: str) -> bool:
    """Whether a change of at least one row is refused by a constraint, or named by the checker; it is taken back."""
    connection.execute("SAVEPOINT touched")
    try:
        assert connection.execute(change.encode()).rowcount > 0, change
        return bool(connection.execute("SELECT count(*) > 0 FROM loans.verify()").fetchone()[0])
    except errors.IntegrityError:
        return True
    finally:
        connection.execute("ROLLBACK TO SAVEPOINT touched")


def test_what_the_ledger_takes_back_is_named(market: Any) -> None:
    market.lend()
    switch = "ALTER TABLE ledger.movement {} TRIGGER claims_are_kept"  # which refuses it by itself
    with psycopg.connect(market.api.admin_url) as connection:
        connection.execute(switch.format("DISABLE").encode())
    order = market.pay(
        "REPAYMENT",
        *[
            {
                "movement_type": "PRINCIPAL",
                "debit_account": "P01-B-000003",
                "credit_account": "P01-L-000001",
                "amount_minor": 60_001,
                "loan_no": "L-1",
                "issue_no": 1,
                "component": "P",
                "claim_no": claim,
            }
            for claim in ("L-1-CL-1",)
        ],
    )
    with psycopg.connect(market.api.admin_url) as connection:
        connection.execute(switch.format("ENABLE").encode())
    assert [fault[:2] for fault in market.faults()] == [("no claim is below zero", "claim P01 L-1-CL-1")]
    back = {
        "movement_type": "PRINCIPAL",
        "debit_account": "P01-L-000001",
        "credit_account": "P01-B-000003",
        "amount_minor": 60_001,
    }
    market.pay(
        "REPAYMENT",
        {**back, "loan_no": "L-1", "issue_no": 1, "component": "P", "claim_no": "L-1-CL-1"},
        reverses_request_no=order,
    )
    assert market.faults() == []
    stray = {"movement_type": "PRINCIPAL", "debit_account": "P01-B-000003", "credit_account": "P01-L-000003", "amount_minor": 5}
    market.pay("REPAYMENT", {**stray, "loan_no": "L-1", "issue_no": 1, "component": "P", "claim_no": "L-1-CL-2"})
    assert [fault[0] for fault in market.faults()] == ["principal is paid to a claim of the loan"]
    market.api.recharge("P01-L-000001", 7)
    market.tender("L-1", {"P01-L-000001": 7})
    assert "disbursement is what was tendered" in [fault[0] for fault in market.faults()]


def test_the_checks_offered_to_the_ledgers_verify_are_those_of_the_view(market: Any) -> None:
    market.lend()
    definition = market.api.rows("SELECT pg_get_viewdef('loans.fault'::regclass)")[0][0]
    assert all(f"'{name}'::text" in definition for name in NAMES)
    assert definition.count("UNION ALL\n SELECT") >= len(NAMES) - 1
    for query in CHECKS.values():
        assert market.api.rows(query) == []


def test_rows_of_the_loans_side_are_appended_only(market: Any) -> None:
    market.lend()
    with psycopg.connect(market.api.service_url, autocommit=True) as connection:
        for words in ("UPDATE loans.claim SET principal_minor = 1", "INSERT INTO loans.told VALUES ('a', 'b', 'c')"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(words)
    with (
        psycopg.connect(market.api.admin_url, autocommit=True) as connection,
        pytest.raises(psycopg.Error, match="never changed or deleted"),
    ):
        connection.execute("DELETE FROM loans.claim")
