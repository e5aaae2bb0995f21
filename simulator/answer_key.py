"""The answer key: what was planted, and how detection is scored against it (contracts section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True)
class KeyItem:
    """One planted fault and the one open item it must raise."""

    fault_id: str
    code: str
    platform_id: str
    business_date: date
    recon_id: str
    match_key: str
    cured_on: date | None
    what: str

    def as_json(self) -> dict[str, Any]:
        """The item as `answer_key.json` holds it."""
        fields = asdict(self)
        fields["business_date"] = self.business_date.isoformat()
        fields["cured_on"] = self.cured_on.isoformat() if self.cured_on else None
        return fields


@dataclass(frozen=True, order=True)
class Finding:
    """What detection and answer key are compared on: code when opened, platform, date of opening, key of the match."""

    code: str
    platform_id: str
    opened_on: str
    match_key: str


def expected_findings(items: Iterable[dict[str, Any]]) -> set[Finding]:
    """Findings that the items of an answer key ask for."""
    return {Finding(item["code"], item["platform_id"], item["business_date"], item["match_key"]) for item in items}


def compare(expected: set[Finding], found: set[Finding]) -> dict[str, Any]:
    """Score detection: per code planted, found, missed and extra counts, the missed and extra findings, and `ok`.

    >>> one = Finding("B01", "P01", "2026-08-02", "P01-20260802-90001#1")
    >>> compare({one}, {one})["ok"], compare({one}, set())["codes"]["B01"]["missed"]
    (True, 1)
    """
    codes = {
        code: {
            "planted": sum(finding.code == code for finding in expected),
            "found": sum(finding.code == code for finding in expected & found),
            "missed": sum(finding.code == code for finding in expected - found),
            "extra": sum(finding.code == code for finding in found - expected),
        }
        for code in sorted({finding.code for finding in expected | found})
    }
    return {
        "ok": expected == found,
        "codes": codes,
        "missed": [asdict(finding) for finding in sorted(expected - found)],
        "extra": [asdict(finding) for finding in sorted(found - expected)],
    }
