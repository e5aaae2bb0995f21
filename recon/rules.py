"""Reconciliation rules, read from data and checked before any SQL is built from them (spec 07 sections 7.3 and 7.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from domain.errors import BadInput
from domain.vocabulary import Severity

FOLDER = Path(__file__).parent / "rules"
ATTRIBUTES = {"status": "status", "movement type": "kind", "accounts": "account", "amount": "amount"}


@dataclass(frozen=True)
class Source:
    """One side of a rule: the book, its lake table, and the SQL expressions over it (alias `s`) that make a record."""

    book: str
    table: str
    where: str
    key: str
    kind: str
    debit: str
    credit: str
    happened_at: str
    source: str
    amount: str = "s.amount_minor"


@dataclass(frozen=True)
class Breaks:
    """The code of each way in which two sides may fail to agree."""

    left_only: str
    right_only: str
    left_repeats: str
    right_repeats: str
    both_repeat: str
    timing: str
    within_tolerance: str


@dataclass(frozen=True)
class RecordRule:
    """A rule that compares records of two books by a strong key."""

    recon_id: str
    version: str
    left: Source
    right: Source
    compare: tuple[tuple[str, str], ...]
    breaks: Breaks
    tolerance_minor: int
    window_minutes: int
    after_working_days: int = -1
    """A key with its left side alone is an open item only when it is older than so many working days (-1: at once)."""
    left_only_of_status: tuple[tuple[str, str], ...] = ()
    """Other codes of `left_only` by the status behind the kind (``RECHARGE/REVERSAL``)."""
    split_tolerance: tuple[tuple[str, int], ...] = ()
    """By kind: so many minor units a part of a split may differ (largest remainder), when the order has several parts of it."""
    weak_minutes: int = 0
    """One-sided keys with equal accounts and amount within so many minutes are candidates of each other (0: none are)."""
    across_days: int = 0
    """The sides come on different dates, at most so many apart: beside an incomplete date nothing is missing (0: same date)."""


@dataclass(frozen=True)
class BreakRule:
    """Default severity of a code, other severities by the kind of record, and what to do about it in both languages."""

    code: str
    severity: Severity
    action: str
    action_zh: str
    of_kind: tuple[tuple[str, Severity], ...] = ()


@dataclass(frozen=True)
class RuleSet:
    """All rules of one reconciliation."""

    records: tuple[RecordRule, ...]
    breaks: tuple[BreakRule, ...]
    control_versions: dict[str, str]
    match_memory_days: int


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise BadInput(f"{path.name} is not a mapping of rule fields")
    return content


def record_rule(content: dict[str, Any], name: str) -> RecordRule:
    """A record rule from its parsed YAML; BadInput names the file and what is wrong with it.

    Columns: `compare` lists `attribute` (one of ATTRIBUTES) and the `code` raised when it differs, most telling first.
    """
    try:
        compare = tuple((ATTRIBUTES[entry["attribute"]], str(entry["code"])) for entry in content["compare"])
        rule = RecordRule(
            recon_id=content["recon_id"],
            version=str(content["version"]),
            left=Source(**content["left"]),
            right=Source(**content["right"]),
            compare=compare,
            breaks=Breaks(**content["breaks"]),
            tolerance_minor=content["tolerance_minor"],
            window_minutes=content["window_minutes"],
            after_working_days=content.get("after_working_days", -1),
            left_only_of_status=tuple(content.get("left_only_of_status", {}).items()),
            split_tolerance=tuple(content.get("split_tolerance", {}).items()),
            weak_minutes=content.get("weak_minutes", 0),
            across_days=content.get("across_days", 0),
        )
    except (KeyError, TypeError) as error:
        raise BadInput(f"rule {name}: missing or unknown field {error}") from error
    if unseen := _attributes(rule) - {attribute for attribute, _ in compare}:
        raise BadInput(f"rule {name}: {', '.join(sorted(unseen))} must be compared, promise 1 needs all that its sides have")
    numbers = (rule.tolerance_minor, rule.window_minutes, rule.weak_minutes, rule.across_days)
    if any(type(number) is not int or number < 0 for number in (*numbers, *(minor for _, minor in rule.split_tolerance))):
        raise BadInput(f"rule {name}: tolerances, minutes and days are whole numbers, not negative")
    return rule


def _attributes(rule: RecordRule) -> set[str]:
    """What the sides of a rule have; an attribute that is one constant for all records cannot differ."""
    sides = (rule.left, rule.right)
    found = {"amount"}
    if not all(side.kind.startswith("'") for side in sides):
        found.add("kind")
    if not all(text.startswith("'") for side in sides for text in (side.debit, side.credit)):
        found.add("account")
    return found


@cache
def load_rules(folder: Path = FOLDER) -> RuleSet:
    """The rules that lie in a folder: `R*.yaml` (records), `breaks.yaml`, `controls.yaml`.

    Raises BadInput when a rule raises a code that `breaks.yaml` does not describe.
    """
    records = tuple(record_rule(_read(path), path.name) for path in sorted(folder.glob("R*.yaml")))
    breaks = tuple(
        BreakRule(
            code,
            Severity(entry["severity"]),
            entry["action"]["en"],
            entry["action"]["zh"],
            tuple((kind, Severity(word)) for kind, word in entry.get("of_kind", {}).items()),
        )
        for code, entry in _read(folder / "breaks.yaml").items()
    )
    known = {entry.code for entry in breaks}
    for rule in records:
        raised = {*vars(rule.breaks).values(), *(code for _, code in (*rule.compare, *rule.left_only_of_status))}
        if unknown := raised - known:
            raise BadInput(f"rule {rule.recon_id} raises {', '.join(sorted(unknown))}, which breaks.yaml does not describe")
    controls = _read(folder / "controls.yaml")
    versions = {key: str(value) for key, value in controls["versions"].items()}
    return RuleSet(records, breaks, versions, int(controls["match_memory_days"]))
