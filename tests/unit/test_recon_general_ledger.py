"""Book B against the bank's general ledger and core banking: equations GL-1 … GL-8, a B21 for each that fails (spec 07, 7.7)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.unit.test_recon_reconcile import CONTROL, DAY, SPECIAL, P, Rows, closing, lake_rows, row, run, truth

NAMES = {f"GL-{number}" for number in range(1, 9)}
CASES: tuple[tuple[dict[tuple[str, str], int], dict[str, int]], ...] = (
    ({}, {}),
    ({("SUB_ACCOUNTS", "opening_minor"): 7, ("SUB_ACCOUNTS", "closing_minor"): 7}, {"GL-1": 7}),
    ({("SUB_ACCOUNTS", "debit_minor"): 7, ("SUB_ACCOUNTS", "credit_minor"): 7}, {"GL-3": 7, "GL-4": 7}),
    ({("SUB_ACCOUNTS", "opening_minor"): -7}, {"GL-8": 7}),
    ({("SPECIAL_ACCOUNT", name): 7 for name in ("opening_minor", "closing_minor", "core_balance_minor")}, {"GL-2": 7}),
    ({("SPECIAL_ACCOUNT", "opening_minor"): 7, ("SPECIAL_ACCOUNT", "closing_minor"): 7}, {"GL-5": 7}),
    ({("OWN_FUNDS", "credit_minor"): 7, ("OWN_FUNDS", "closing_minor"): 7}, {"GL-6": 7}),
    ({("SUSPENSE", "debit_minor"): 7, ("SUSPENSE", "closing_minor"): -7}, {"GL-7": -7}),
    # errors of two lines that would cancel out
    ({("OWN_FUNDS", "opening_minor"): 7, ("SUSPENSE", "opening_minor"): -7}, {"GL-8": 14}),
)
"""What the bank's ledger has more on a date, and which equations it leaves open by how much: one date a case."""
LACKING, MISSING, WAIVED = (DAY + timedelta(days=len(CASES) + step) for step in range(3))


@pytest.fixture(scope="module")
def result() -> Rows:
    """One run over a date a case, one whose file lacks a line, one whose file did not come, one that goes on without it."""
    books = truth(len(CASES) + 3)
    rows = lake_rows(books)
    lines = rows["general_ledger_line"] = []
    for day in books.dates():
        state = {MISSING: "MISSING", WAIVED: "WAIVED"}.get(day, "ACCEPTED")
        file_name = f"{P}.gl.csv.gz"
        reason = None if state == "ACCEPTED" else state
        rows["file_control"].append(
            row("file_control", platform_id=P, business_date=day, sender_id="BANK", file_kind="gl", file_name=file_name,
                state=state, reason_code=reason))  # fmt: skip
        before, now = closing(books.b, day - timedelta(days=1)), closing(books.b, day)
        moves = [move for move in books.b if move.day == day]
        subs = [account for account in now if account not in CONTROL]
        debit, credit = (sum(m.amount for m in moves if getattr(m, side) in subs) for side in ("debit", "credit"))
        sound = {
            "SUB_ACCOUNTS": (sum(before[one] for one in subs), debit, credit, sum(now[one] for one in subs), None),
            "SPECIAL_ACCOUNT": (-before[SPECIAL], 0, before[SPECIAL] - now[SPECIAL], -now[SPECIAL], -now[SPECIAL]),
            "OWN_FUNDS": (0, 0, 0, 0, None),
            "SUSPENSE": (0, 0, 0, 0, None),
        }
        for kind, amounts in sound.items():
            if state == "ACCEPTED" and (day, kind) != (LACKING, "SUB_ACCOUNTS"):
                names = ("opening_minor", "debit_minor", "credit_minor", "closing_minor", "core_balance_minor")
                one: dict[str, Any] = dict(zip(names, amounts, strict=True))
                for (of, name), more in changes(day).items():
                    if of == kind:
                        one[name] += more
                lines.append(row("general_ledger_line", platform_id=P, currency="CNY", business_date=day, account_kind=kind,
                                 file_name=file_name, **one))  # fmt: skip
    return run(rows, DAY, WAIVED)


def changes(day: date) -> dict[tuple[str, str], int]:
    number = (day - DAY).days
    return CASES[number][0] if number < len(CASES) else {}


def items(result: Rows, day: date) -> list[tuple[str, str, int]]:
    found = [one for one in result["open_item"] if one["business_date"] == day]
    return sorted((one["code"], one["match_key"], one["amount_minor"]) for one in found)


def test_a_general_ledger_that_agrees_lists_every_term_and_raises_nothing(result: Rows) -> None:
    assert items(result, DAY) == []
    equations = [one for one in result["balance_equation"] if one["business_date"] == DAY]
    terms = {(one["equation"], one["term"]): one["amount_minor"] for one in equations}
    assert {equation for equation, _ in terms} >= NAMES
    assert terms["GL-1", "GL_CLOSING"] == terms["GL-1", "S"] == 9_500
    assert terms["GL-2", "CORE_BALANCE"] == terms["GL-2", "K"] == terms["GL-5", "GL_CLOSING"] == 4_000
    assert (terms["GL-3", "GL_DEBIT"], terms["GL-3", "B_DEBIT"]) == (6_600, 6_600)
    assert (terms["GL-4", "GL_CREDIT"], terms["GL-4", "B_CREDIT"]) == (16_100, 16_100)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_each_figure_that_differs_is_a_b21_of_its_equation_on_that_date(result: Rows, number: int) -> None:
    day, expected = DAY + timedelta(days=number), CASES[number][1]
    assert items(result, day) == [("B21", equation, abs(left)) for equation, left in expected.items()]
    residuals = [one for one in result["balance_equation"] if one["is_residual"] and one["business_date"] == day]
    assert {one["equation"]: one["amount_minor"] for one in residuals if one["amount_minor"]} == expected
    # the equation is closed again on the next date
    assert all(one["opened_on"] == day for one in result["open_item"] if one["business_date"] == day)


def test_a_line_that_an_accepted_file_lacks_counts_as_zero(result: Rows) -> None:
    assert items(result, LACKING) == [("B21", "GL-1", 9_500)]


def test_without_its_file_the_date_is_b24_and_a_waived_file_compares_nothing(result: Rows) -> None:
    assert [item[:2] for item in items(result, MISSING)] == [("B24", f"BANK/{P}.gl")]
    assert items(result, WAIVED) == []
    compared = {one["equation"] for one in result["balance_equation"] if one["business_date"] in (MISSING, WAIVED)}
    assert "B-1" in compared and not NAMES & compared
