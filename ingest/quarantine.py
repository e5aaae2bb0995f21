"""Refused files, kept as they came beside the reason (contracts section 1)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ingest.records import Verdict


def keep(folder: Path, verdict: Verdict) -> Path:
    """Copy a refused file to ``D/SENDER/NAME/HASH/`` under the quarantine folder, beside REASON.json.

    The place follows from the bytes, so doing it again changes nothing and two bad versions of a file are both kept.
    """
    if verdict.path is None or verdict.sha256 is None:
        raise ValueError(f"{verdict.file_name} did not come: there is nothing to keep")
    place = folder / verdict.business_date.isoformat() / verdict.sender_id / verdict.file_name / verdict.sha256[:16]
    place.mkdir(parents=True, exist_ok=True)
    kept = place / verdict.file_name
    if not kept.exists():
        # copied under another name first: a copy that was cut off must not pass for the file
        partial = place / f".{verdict.file_name}"
        shutil.copy2(verdict.path, partial)
        partial.replace(kept)
    why = {
        "business_date": verdict.business_date.isoformat(),
        "sender_id": verdict.sender_id,
        "platform_id": verdict.platform_id,
        "file_kind": verdict.file_kind,
        "file_name": verdict.file_name,
        "sha256": verdict.sha256,
        "reason_code": verdict.reason_code,
        "reason": verdict.reason,
    }
    (place / "REASON.json").write_text(json.dumps(why, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    return kept
