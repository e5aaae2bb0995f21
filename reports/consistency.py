"""Internal consistency of a figure set (spec 01 section 1.6): its own rules, checked from its figures and evidence rows.

A result says the rule, its state PASSED, FAILED or NOT_CHECKED (with the reason) and both sides that were compared, as text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from domain.pack_rules import Rule, RuleKind, Severity
from reports.evidence import Evidence
from reports.figures import NOT_AVAILABLE, FigureSet
from reports.texts import LANGUAGES, words

PASSED, FAILED, NOT_CHECKED = "PASSED", "FAILED", "NOT_CHECKED"

Result = dict[str, Any]
_Outcome = dict[str, Any]


def check(figure_set: FigureSet, rows: Evidence) -> list[Result]:
    """One result a rule and currency, in the order of the rules."""
    return [
        {"rule": rule.code, "severity": rule.severity.value, "formula": rule.formula, "currency": currency}
        | _CHECKS[rule.kind](_Case(rule, currency, figure_set, rows))
        for rule in _rules(figure_set)
        for currency in figure_set["currencies"]
    ]


def failed(results: list[Result]) -> list[str]:
    """The rules of severity ERROR that do not hold, as sentences."""
    return [
        f"{result['rule']} {result['currency']}: {result['formula']} does not hold ({result['left']} against {result['right']})"
        for result in results
        if result["state"] == FAILED and result["severity"] == Severity.ERROR
    ]


class _Case:
    """One rule in one currency over one figure set."""

    def __init__(self, rule: Rule, currency: str, figure_set: FigureSet, rows: Evidence) -> None:
        self.rule, self.currency, self.figure_set, self.rows = rule, currency, figure_set, rows

    def figure(self, code: str) -> dict[str, Any]:
        """The figure of a code in this currency."""
        found: dict[str, Any] = next(
            figure for figure in self.figure_set["figures"] if (figure["code"], figure["currency"]) == (code, self.currency)
        )
        return found

    def missing(self, *codes: str) -> _Outcome | None:
        """Why the rule cannot be checked: the reason of the first figure that has no value."""
        for code in codes:
            figure = self.figure(code)
            if figure["state"] == NOT_AVAILABLE:
                return _not_checked({language: figure["reason"][language] for language in LANGUAGES})
            if figure["value"] is None:
                return _not_checked(_words("undefined", code))
        return None

    def month_before(self, code: str) -> int | None:
        """The value a month before, or None when it is not known."""
        before = (self.figure_set["previous_month"] or {}).get("values", {}).get(self.currency, {}).get(code)
        return None if before is None else int(before)


def _rules(figure_set: FigureSet) -> Iterator[Rule]:
    for entry in figure_set["rules"]:
        typed = {"kind": RuleKind(entry["kind"]), "severity": Severity(entry["severity"]), "parts": tuple(entry["parts"])}
        yield Rule(**{**entry, **typed})


def _compared(left: Decimal | int, right: Decimal | int, holds: bool) -> _Outcome:
    return {"state": PASSED if holds else FAILED, "left": str(left), "right": str(right), "why": None}


def _not_checked(why: dict[str, str]) -> _Outcome:
    return {"state": NOT_CHECKED, "left": None, "right": None, "why": why}


def _words(key: str, code: str = "") -> dict[str, str]:
    return {language: words(language)["not_checked"][key].format(code=code) for language in LANGUAGES}


def _at_most(case: _Case) -> _Outcome:
    missing = case.missing(case.rule.left, case.rule.right)
    if missing:
        return missing
    left, right = (Decimal(case.figure(code)["value"]) for code in (case.rule.left, case.rule.right))
    return _compared(left, right, left <= right)


def _at_most_one(case: _Case) -> _Outcome:
    missing = case.missing(case.rule.left)
    if missing:
        return missing
    left = Decimal(case.figure(case.rule.left)["value"])
    return _compared(left, 1, left <= 1)


def _adds_up(case: _Case) -> _Outcome:
    missing = case.missing(*case.rule.parts, case.rule.right)
    if missing:
        return missing
    parts = [case.figure(code) for code in case.rule.parts]
    total = case.figure(case.rule.right)
    left, right = sum(part["numerator"] for part in parts), total["numerator"]
    same_base = all(part["denominator"] == total["denominator"] for part in parts)
    return _compared(left, right, left == right and same_base)


def _not_falling(case: _Case) -> _Outcome:
    before = case.month_before(case.rule.left)
    if before is None:
        return _not_checked(_words("no_earlier_month"))
    now = int(case.figure(case.rule.left)["value"])
    return _compared(now, before, now >= before)


def _month_flow(case: _Case) -> _Outcome:
    before = case.month_before(case.rule.left)
    if before is None:
        return _not_checked(_words("no_earlier_month"))
    grown = int(case.figure(case.rule.left)["value"]) - before
    first = date.fromisoformat(case.figure_set["as_of"]).replace(day=1).isoformat()
    disbursed = sum(
        int(row["disbursed_minor"])
        for row in case.rows.loans
        if row["currency"] == case.currency and first <= row["disbursed_on"] <= case.figure_set["as_of"]
    )
    return _compared(grown, disbursed, grown == disbursed)


def _claims_equal_loans(case: _Case) -> _Outcome:
    claims: dict[str, int] = defaultdict(int)
    for row in case.rows.claims:
        claims[row["loan_no"]] += int(row["outstanding_principal_minor"])
    differing = sum(
        int(row["outstanding_principal_minor"]) != claims[row["loan_no"]]
        for row in case.rows.loans
        if row["currency"] == case.currency
    )
    return _compared(differing, 0, differing == 0)


def _never(case: _Case) -> _Outcome:
    return _not_checked({language: case.figure_set["reasons"][case.rule.reason][language] for language in LANGUAGES})


_CHECKS: dict[RuleKind, Callable[[_Case], _Outcome]] = {
    RuleKind.AT_MOST: _at_most,
    RuleKind.AT_MOST_ONE: _at_most_one,
    RuleKind.ADDS_UP: _adds_up,
    RuleKind.NOT_FALLING: _not_falling,
    RuleKind.MONTH_FLOW: _month_flow,
    RuleKind.CLAIMS_EQUAL_LOANS: _claims_equal_loans,
    RuleKind.NOT_CHECKED: _never,
}
