"""The manifest of a run: what went in, what came out, by which versions (architecture sections 2 and 4)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from domain.errors import Failed
from fundwatch.settings import Settings
from lake.steps import Run

_VERSIONED = ("fundwatch", "pyspark", "pyiceberg", "pyarrow", "psycopg", "great-expectations")
_INPUT = (
    "business_date", "platform_id", "sender_id", "file_kind", "file_name", "state", "reason_code", "sha256", "received_at",
    "sequence_no", "row_count", "control_sum", "rows_quarantined",
)  # fmt: skip


def manifest(
    run: Run,
    tables: Mapping[str, Any],
    files: Iterable[Mapping[str, Any]],
    found: Mapping[str, int],
    scores: Mapping[str, Any] | None = None,
    ledger: Mapping[str, Any] | None = None,
    calendar: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest of a run as plain data.

    `tables` is table → date → rows and hash, as the steps recorded it; `files` the rows of `file_control`; `found` the rows
    that the lake holds of the run; `scores` what step `score` told: the models with their figures, or why there are no scores;
    `ledger` the head of the ledger's chain as step `verify` found it, clean; `calendar` the id, version and
    hash of the working days that the run read.
    Failed when the lake holds other rows than the steps recorded.
    """
    recorded = {name: rows for name, days in tables.items() if (rows := sum(day["rows"] for day in days.values()))}
    if recorded != dict(found):
        names = sorted(name for name in {*recorded, *found} if recorded.get(name, 0) != found.get(name, 0))
        told = ", ".join(f"{name} ({recorded.get(name, 0)} recorded, {found.get(name, 0)} found)" for name in names)
        raise Failed(f"the lake does not hold what the steps of run {run.run_id} recorded: {told}")
    return {
        "run": {
            "run_id": run.run_id,
            "first_date": run.first_date,
            "last_date": run.last_date,
            "platform_id": run.platform_id,
            "known_as_of": run.known_as_of,
        },
        "watermark": {"ledger_no_to": run.ledger_no_to},
        "ledger": dict(ledger) if ledger else None,
        "calendar": dict(calendar) if calendar else None,
        "inputs": sorted(({key: row[key] for key in _INPUT} for row in files), key=_input_order),
        "tables": {name: tables[name] for name in sorted(recorded)},
        "scores": {**(scores or {}), "rows": recorded.get("score", 0)},
        "versions": versions() | {"code": run.code_version, "packs": dict(run.packs)},
    }


def write_manifest(settings: Settings, run_id: int, content: Mapping[str, Any]) -> tuple[Path, str]:
    """Write ``manifests/RUN.json`` in one step, so that a reader never sees half of it; returns its path and sha256."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, default=_text) + "\n"
    path = settings.manifests_dir / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    partial.replace(path)
    return path, sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape results."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _input_order(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in _INPUT[:5])


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
