"""What a new version of a report changed: figure by figure, old → new, and how many evidence rows came, went or changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from domain.errors import CheckFailed
from reports import evidence
from reports.figures import FIGURES, FigureSet

CHANGES = "changes.json"
FORMAT = "fundwatch.changes/1"
_COMPARED = ("state", "value", "numerator", "denominator", "definition")
_HEAD = ("run_id", "published_version", "known_as_of")


def changes(previous: Path, number: int, folder: Path, figure_set: FigureSet) -> dict[str, Any]:
    """The changes from the bundle `previous` (version `number`) to the figure set and evidence rows in `folder`.

    A change is CHANGED, ADDED or REMOVED; its cause is DEFINITION where the definition's version differs, else DATA. A version
    before that cannot be read any more is said to be so.
    """
    head = {"format": FORMAT, "this": {name: figure_set[name] for name in _HEAD}}
    try:
        old_set = json.loads((previous / FIGURES).read_text(encoding="utf-8"))
        rows = {table: _rows(previous, folder, table) for table in (evidence.LOANS, evidence.CLAIMS)}
    except (OSError, ValueError, CheckFailed):
        return head | {"previous": {"bundle_version": number, "readable": False}, "figures": [], "rows": {}}
    old, new = _by_id(old_set), _by_id(figure_set)
    found = [_change(figure_id, old.get(figure_id), new.get(figure_id)) for figure_id in sorted(old | new)]
    return head | {
        "previous": {"bundle_version": number, "readable": True, **{name: old_set[name] for name in _HEAD}},
        "figures": [change for change in found if change],
        "rows": rows,
    }


def _by_id(figure_set: FigureSet) -> dict[str, dict[str, Any]]:
    return {figure["id"]: figure for figure in figure_set["figures"]}


def _change(figure_id: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any] | None:
    before, after = _essence(old), _essence(new)
    if before == after:
        return None
    kind = "ADDED" if before is None else "REMOVED" if after is None else "CHANGED"
    redefined = before is not None and after is not None and before["definition"] != after["definition"]
    cause = "DEFINITION" if redefined or kind != "CHANGED" else "DATA"
    return {"id": figure_id, "change": kind, "cause": cause, "old": before, "new": after}


def _essence(figure: dict[str, Any] | None) -> dict[str, Any] | None:
    """What counts as the same figure; figures of the first format had no state."""
    if figure is None:
        return None
    state = figure.get("state") or ("VALUE" if figure["value"] is not None else "UNDEFINED")
    return {name: state if name == "state" else figure[name] for name in _COMPARED}


def _rows(previous: Path, folder: Path, table: str) -> dict[str, int]:
    key = evidence.KEYS[table]
    old, new = ({row[key]: row for row in evidence.read(where, table)[0]} for where in (previous, folder))
    return {
        "added": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
        "changed": sum(old[name] != new[name] for name in old.keys() & new.keys()),
    }
