"""The kinds of break that any reconciliation can find, with default code, severity and what to do, in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from domain.vocabulary import Severity


@dataclass(frozen=True)
class Kind:
    """One kind: what it is called, how much it matters, what to do."""

    code: str
    severity: Severity
    name_en: str
    name_zh: str
    action_en: str
    action_zh: str


def _read() -> dict[str, Kind]:
    content = yaml.safe_load((Path(__file__).parent / "rules" / "kinds.yaml").read_text(encoding="utf-8"))
    return {
        name: Kind(entry["code"], Severity(entry["severity"]), *entry["name"], *entry["action"])
        for name, entry in content.items()
    }


KINDS = _read()
"""By name; `recon/rules/kinds.yaml` is their list, a spec may call them otherwise."""
