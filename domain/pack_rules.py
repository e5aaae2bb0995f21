"""Internal consistency rules of a rule pack, as data: what must hold between its figures (spec 01 section 1.6)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.errors import BadInput


class RuleKind(StrEnum):
    """How a rule compares.

    AT_MOST: value of `left` ≤ value of `right`. AT_MOST_ONE: value of `left` ≤ 1. ADDS_UP: numerators of `parts` add up to that
    of `right`. NOT_FALLING: `left` is at least what it was a month before. MONTH_FLOW: `left` grew by what was disbursed in the
    month. CLAIMS_EQUAL_LOANS: Σ principal of a loan's claims is the loan's principal. NOT_CHECKED: `reason` says why not.
    """

    AT_MOST = "AT_MOST"
    AT_MOST_ONE = "AT_MOST_ONE"
    ADDS_UP = "ADDS_UP"
    NOT_FALLING = "NOT_FALLING"
    MONTH_FLOW = "MONTH_FLOW"
    CLAIMS_EQUAL_LOANS = "CLAIMS_EQUAL_LOANS"
    NOT_CHECKED = "NOT_CHECKED"


class Severity(StrEnum):
    """ERROR: figures that break the rule cannot be right. WARNING: they can, and need an explanation."""

    ERROR = "ERROR"
    WARNING = "WARNING"


_NEEDS = {
    RuleKind.AT_MOST: {"left", "right"},
    RuleKind.AT_MOST_ONE: {"left"},
    RuleKind.ADDS_UP: {"parts", "right"},
    RuleKind.NOT_FALLING: {"left"},
    RuleKind.MONTH_FLOW: {"left"},
    RuleKind.CLAIMS_EQUAL_LOANS: set(),
    RuleKind.NOT_CHECKED: {"reason"},
}


@dataclass(frozen=True)
class Rule:
    """One rule; `left`, `right` and `parts` are codes of indicators, empty where its kind has none."""

    code: str
    kind: RuleKind
    severity: Severity
    left: str = ""
    right: str = ""
    parts: tuple[str, ...] = ()
    reason: str = ""

    @property
    def formula(self) -> str:
        """The rule in codes, the same in every language.

        >>> Rule("X", RuleKind.AT_MOST, Severity.ERROR, "BAL_AMT", "CUM_AMT").formula
        'BAL_AMT ≤ CUM_AMT'
        """
        return {
            RuleKind.AT_MOST: f"{self.left} ≤ {self.right}",
            RuleKind.AT_MOST_ONE: f"{self.left} ≤ 1",
            RuleKind.ADDS_UP: f"{' + '.join(self.parts)} = {self.right}",
            RuleKind.NOT_FALLING: f"{self.left}(t) ≥ {self.left}(t−1)",
            RuleKind.MONTH_FLOW: f"{self.left}(t) − {self.left}(t−1) = Σ P(month)",
            RuleKind.CLAIMS_EQUAL_LOANS: "Σ OP(claim) = OP(loan)",
            RuleKind.NOT_CHECKED: "",
        }[self.kind] or self.code


def parse_rule(entry: dict[str, Any], codes: Collection[str], reasons: Collection[str]) -> Rule:
    """A rule of a pack's `[[rule]]`; BadInput when it lacks what its kind needs or names what the pack does not have."""
    kind = RuleKind(entry["kind"])
    given = {key for key in entry if key not in {"code", "kind", "severity"}}
    if given != _NEEDS[kind]:
        raise BadInput(f"rule {entry['code']}: {kind} needs {', '.join(sorted(_NEEDS[kind])) or 'nothing more'}")
    rule = Rule(
        code=entry["code"],
        kind=kind,
        severity=Severity(entry["severity"]),
        left=entry.get("left", ""),
        right=entry.get("right", ""),
        parts=tuple(entry.get("parts", ())),
        reason=entry.get("reason", ""),
    )
    unknown = [code for code in (rule.left, rule.right, *rule.parts) if code and code not in codes]
    if unknown or (rule.reason and rule.reason not in reasons):
        raise BadInput(f"rule {rule.code}: unknown {', '.join(unknown) or rule.reason}")
    return rule
