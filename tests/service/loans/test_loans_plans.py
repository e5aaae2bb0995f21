"""Repayment plans: generated, given and compared, and their later versions."""

from __future__ import annotations

from datetime import date
from typing import Any

from transactional.loan_plans import prepaid
from transactional.loans_bodies import PlanRow

ROWS = [
    {"issue_no": 1, "due_on": "2026-02-15", "principal_minor": 33_334, "interest_minor": 1_000, "fee_minor": 0},
    {"issue_no": 2, "due_on": "2026-03-15", "principal_minor": 33_334, "interest_minor": 667, "fee_minor": 0},
    {"issue_no": 3, "due_on": "2026-04-15", "principal_minor": 33_333, "interest_minor": 333, "fee_minor": 0},
]


def _disbursed(market: Any) -> None:
    market.register("L-1")
    market.status("L-1", "6", "2026-01-05")
    market.status("L-1", "1", "2026-01-14")
    market.tender("L-1", {"P01-L-000001": 60_000, "P01-L-000002": 40_001})
    market.status("L-1", "9", "2026-01-15", disbursed_minor=100_001)


def _plan(reason: str = "ORIGINAL", valid_from: str = "2026-01-15", **more: Any) -> dict[str, Any]:
    return {"reason": reason, "valid_from": valid_from, **more}


def test_a_plan_is_generated_from_the_terms(market: Any) -> None:
    _disbursed(market)
    assert market.done("loans/L-1/plan?generate=true", _plan())["rows"] == ROWS
    plan = market.read("loans/L-1/plan")
    assert (plan["rows"], plan["version"], plan["source"], plan["differences"]) == (ROWS, 1, "GENERATED", [])


def test_a_given_plan_is_kept_and_its_differences_are_named_by_row(market: Any) -> None:
    _disbursed(market)
    given = [ROWS[0], {**ROWS[1], "interest_minor": 700, "due_on": "2026-03-16"}, ROWS[2]]
    answer = market.done("loans/L-1/plan", _plan(rows=given))
    assert answer["differences"] == [
        {"issue_no": 2, "field": "due_on", "given": "2026-03-16", "expected": "2026-03-15"},
        {"issue_no": 2, "field": "interest_minor", "given": 700, "expected": 667},
    ]
    assert market.read("loans/L-1/plan")["differences"] == answer["differences"]
    assert market.read("loans/L-1")["outstanding_interest_minor"] == 2_033


def test_a_plan_that_is_not_of_the_loan_is_refused(market: Any) -> None:
    market.register("L-2")
    market.refused("loans/L-2/plan?generate=true", _plan(), "STATE_CONFLICT", "loan_no")
    _disbursed(market)
    for rows, field in (
        ([], "rows"),
        (ROWS[:2], "rows"),
        ([ROWS[0], ROWS[1], {**ROWS[2], "principal_minor": 33_334}], "rows"),
        ([ROWS[0], {**ROWS[1], "issue_no": 3}, {**ROWS[2], "issue_no": 2}], "rows[1]"),
        ([ROWS[0], {**ROWS[1], "due_on": "2026-02-14"}, ROWS[2]], "rows[1]"),
        ([{**ROWS[0], "due_on": "2026-01-14"}, *ROWS[1:]], "rows[0]"),
    ):
        market.refused("loans/L-1/plan", _plan(rows=rows), "PLAN_DIFFERS", field)
    market.refused("loans/L-1/plan", _plan("CORRECTION", rows=ROWS), "STATE_CONFLICT", "reason")
    market.refused("loans/L-1/plan?generate=true", _plan(rows=ROWS), "BODY_INVALID", "rows")
    market.done("loans/L-1/plan", _plan(rows=ROWS))
    market.refused("loans/L-1/plan", _plan(rows=ROWS), "STATE_CONFLICT", "reason")


def test_a_prepayment_keeps_what_was_due_and_computes_the_rest_anew(market: Any) -> None:
    market.lend()
    market.at("2026-02-20")
    body = _plan("PREPAYMENT", "2026-02-25", prepaid_minor=20_000)
    rows = market.done("loans/L-1/plan?generate=true", body)["rows"]
    assert rows[0] == ROWS[0]
    # 20,000 for ten days at 12 %: 65.75 → 66; 46,667 are left for two instalments
    assert rows[1] == {"issue_no": 2, "due_on": "2026-02-25", "principal_minor": 20_000, "interest_minor": 66, "fee_minor": 0}
    assert [(row["due_on"], row["principal_minor"], row["interest_minor"]) for row in rows[2:]] == [
        ("2026-03-15", 23_334, 467),
        ("2026-04-15", 23_333, 233),
    ]
    assert sum(row["principal_minor"] for row in rows) == 100_001
    assert [row["reason"] for row in market.read("loans/L-1/plan")["versions"]] == ["ORIGINAL", "PREPAYMENT"]
    assert market.read("loans/L-1/plan", version=1)["rows"] == ROWS
    too_much = _plan("PREPAYMENT", "2026-02-25", prepaid_minor=66_668)
    market.refused("loans/L-1/plan?generate=true", too_much, "PLAN_DIFFERS", "prepaid_minor")
    assert market.faults() == []


def test_a_later_version_cannot_rewrite_what_was_due(market: Any) -> None:
    market.lend()
    moved = [{**ROWS[0], "principal_minor": 33_333}, {**ROWS[1], "principal_minor": 33_335}, ROWS[2]]
    market.refused("loans/L-1/plan", _plan("CORRECTION", "2026-03-01", rows=moved), "PLAN_DIFFERS", "rows[0]")
    market.done("loans/L-1/plan", _plan("CORRECTION", "2026-02-01", rows=moved))
    assert market.faults() == []


def test_a_restructuring_needs_two_of_the_bank(market: Any) -> None:
    market.lend()
    longer = [*ROWS[:2], {**ROWS[2], "due_on": "2026-06-15", "interest_minor": 999}]
    market.refused("loans/L-1/plan", _plan("RESTRUCTURING", "2026-04-01", rows=longer), "NEEDS_APPROVAL", "reason")
    payload = {"valid_from": "2026-04-01", "rows": longer}
    result = market.api.approved("LOAN_RESTRUCTURING", "L-1", payload, platform_id="P01")
    assert (result["version"], market.read("loans/L-1/plan")["reason"]) == (2, "RESTRUCTURING")
    assert market.read("loans/L-1/plan")["rows"] == longer
    ann = market.api.staff("ann", "officer")
    for wrong in (
        {},
        {"rows": []},
        {**payload, "rows": [{**longer[0], "due_on": "2026-02-30"}]},
        {**payload, "valid_from": "soon"},
    ):
        refused = market.api.put_down("LOAN_RESTRUCTURING", "L-1", wrong, by=ann, platform_id="P01")
        assert refused.json()["code"] == "BODY_INVALID", refused.text
    assert market.faults() == []


def test_a_write_off_is_of_all_that_is_outstanding_and_needs_two(market: Any) -> None:
    market.lend()
    market.at("2026-06-01")
    payload = {"principal_minor": 100_001, "written_off_on": "2026-06-01"}
    ann = market.api.staff("ann", "officer")
    early = market.api.put_down("LOAN_WRITE_OFF", "L-1", payload, by=ann, platform_id="P01")
    assert early.json()["code"] == "STATUS_NOT_ALLOWED"
    market.status("L-1", "4", "2026-06-01")
    market.refused("loans/L-1/status", {"status": "10", "valid_from": "2026-06-01", "reason": "x"}, "NEEDS_APPROVAL", "status")
    less = market.api.put_down("LOAN_WRITE_OFF", "L-1", {**payload, "principal_minor": 100_000}, by=ann, platform_id="P01")
    assert less.json()["code"] == "AMOUNT_DIFFERS"
    assert market.api.rows("SELECT count(*) FROM loans.write_off") == [(0,)]
    assert market.api.approved("LOAN_WRITE_OFF", "L-1", payload, platform_id="P01")["status"] == "10"
    assert market.read("loans/L-1")["outstanding_principal_minor"] == 100_001
    assert market.faults() == []


def test_a_bullet_loan_prepaid_twice_pays_interest_of_each_part_from_the_disbursement() -> None:
    loan = {"plan_type": "BULLET", "annual_rate": "0.073", "term_months": 6, "disbursed_on": date(2026, 1, 1)}
    rows = [PlanRow(1, date(2026, 7, 1), 1_000_000, 36_200)]
    once = prepaid(rows, loan, 400_000, date(2026, 1, 11))
    assert once == [PlanRow(1, date(2026, 1, 11), 400_000, 800), PlanRow(2, date(2026, 7, 1), 600_000, 21_720)]
    twice = prepaid(once, loan, 600_000, date(2026, 1, 21))
    assert twice == [once[0], PlanRow(2, date(2026, 1, 21), 600_000, 2_400)]


def test_a_second_prepayment_in_a_month_pays_interest_from_the_last_monthly_due_date() -> None:
    loan = {"plan_type": "EQUAL_PRINCIPAL", "annual_rate": "0.073", "term_months": 2, "disbursed_on": date(2026, 1, 1)}
    rows = [PlanRow(1, date(2026, 2, 1), 500_000, 6_083), PlanRow(2, date(2026, 3, 1), 500_000, 3_042)]
    once = prepaid(rows, loan, 100_000, date(2026, 2, 6))
    assert once[1:] == [PlanRow(2, date(2026, 2, 6), 100_000, 100), PlanRow(3, date(2026, 3, 1), 400_000, 2_433)]
    twice = prepaid(once, loan, 100_000, date(2026, 2, 11))
    assert twice[2:] == [PlanRow(3, date(2026, 2, 11), 100_000, 200), PlanRow(4, date(2026, 3, 1), 300_000, 1_825)]
