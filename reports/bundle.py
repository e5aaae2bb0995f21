"""A report bundle: `figures.json`, evidence rows and `manifest.json` in a folder of its own version (guide reports 4.4).

Everything is computed once, written to a temporary folder and put in place by one rename; the same run gives the same bytes, and
building again what is there changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from datetime import UTC
from hashlib import sha256
from pathlib import Path
from typing import Any

from domain.errors import BadInput
from domain.packs import Indicator, Pack, Source, Unit
from reports import evidence
from reports.evidence import EvidenceFile
from reports.published import Publication, Rows

FIGURES, MANIFEST, SEAL = "figures.json", "manifest.json", "manifest.sha256"
_FORMAT = "fundwatch.figure_set/1"


def build(pack: Pack, source: Publication, period: str, rows: Rows, root: Path) -> tuple[Path, bool]:
    """Write the bundle of a pack, platform and period; gives its folder and whether it is new.

    A bundle with the same figures and rows that is there already is kept. BadInput when the run holds no figures.
    """
    parent = root / pack.pack_id / source.platform_id / period
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
    try:
        files = {name: evidence.write(folder, name, rows(name)) for name in (evidence.LOANS, evidence.CLAIMS)}
        figures = figure_set(pack, source, period, list(rows("indicator")), files)
        (folder / FIGURES).write_bytes(_json(figures))
        latest = latest_version(parent)
        previous = parent / f"v{latest}" if latest else None
        if previous and _content(previous) == _content(folder):
            return previous, False
        _seal(folder, source, previous)
        final = parent / f"v{latest + 1}"
        folder.chmod(0o755)
        os.rename(folder, final)  # noqa: PTH104 - fails when another build put that version there first
        return final, True
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def figure_set(
    pack: Pack, source: Publication, period: str, indicator_rows: list[dict[str, Any]], files: dict[str, EvidenceFile]
) -> dict[str, Any]:
    """The figure set as plain data: figures in the order of the pack, by currency."""
    mine = {(row["currency"], row["code"]): row for row in indicator_rows if row["pack_id"] == pack.pack_id}
    currencies = sorted({currency for currency, _ in mine})
    if not currencies:
        raise BadInput(f"run {source.run_id} has no figures of {pack.pack_id} for {source.platform_id} on {source.business_date}")
    missing = [i.code for i in pack.indicators for currency in currencies if (currency, i.code) not in mine]
    if missing:
        raise BadInput(f"run {source.run_id} lacks the figures {', '.join(missing)}")
    return {
        "format": _FORMAT,
        "pack_id": pack.pack_id,
        "pack_name": pack.name,
        "legal_ref": pack.legal_ref,
        "parameters": dict(pack.parameters),
        "platform_id": source.platform_id,
        "period": period,
        "as_of": source.business_date.isoformat(),
        "known_as_of": source.known_as_of.astimezone(UTC).isoformat(),
        "run_id": source.run_id,
        "published_version": source.version,
        "ledger_no_to": source.ledger_no_to,
        "exclusions": [],
        "evidence": {name: asdict(file) for name, file in sorted(files.items())},
        "figures": [
            _figure(pack, indicator, mine[currency, indicator.code], files)
            for currency in currencies
            for indicator in pack.indicators
        ],
    }


def _figure(pack: Pack, indicator: Indicator, row: dict[str, Any], files: dict[str, EvidenceFile]) -> dict[str, Any]:
    ratio = indicator.unit is Unit.RATIO
    measures = [pack.measures[code] for code in (*indicator.numerator, *indicator.denominator)]
    used = {evidence.CLAIMS if measure.source is Source.CLAIM else evidence.LOANS for measure in measures}
    if any("loan_" in measure.where and measure.source is Source.CLAIM for measure in measures):
        used.add(evidence.LOANS)
    value = row["value"]
    return {
        "id": f"{pack.pack_id}.{indicator.code}" + ("" if row["currency"] == "CNY" else f".{row['currency']}"),
        "code": indicator.code,
        "name_zh": indicator.name_zh,
        "name_en": indicator.name_en,
        "value": None if value is None else (f"{value:.6f}" if ratio else str(int(value))),
        "unit": indicator.unit.value,
        "currency": row["currency"],
        "numerator": row["numerator"],
        "denominator": row["denominator"],
        "definition": f"{indicator.code}@{row['definition_version']}",
        "legal_ref": indicator.legal_ref,
        "rounding": indicator.rounding,
        "formula": indicator.formula,
        "queries": {measure.code: f"select {measure.sql} from {measure.source.value}" for measure in measures},
        "evidence_rows": row["evidence_rows"],
        "evidence": [asdict(files[name]) for name in sorted(used)],
    }


def latest_version(parent: Path) -> int:
    """The highest version in the folder of a period; 0 when there is none."""
    return max((int(path.name[1:]) for path in parent.glob("v*") if path.name[1:].isdigit()), default=0)


def _seal(folder: Path, source: Publication, previous: Path | None) -> None:
    manifest = {
        "format": "fundwatch.manifest/1",
        "run_id": source.run_id,
        "code_version": source.code_version,
        "previous_manifest_sha256": digest(previous / MANIFEST) if previous else None,
        "files": [
            {"path": path, "size": (folder / path).stat().st_size, "sha256": digest(folder / path)} for path in files_in(folder)
        ],
    }
    (folder / MANIFEST).write_bytes(_json(manifest))
    (folder / SEAL).write_text(f"{digest(folder / MANIFEST)}  {MANIFEST}\n", encoding="utf-8")


def files_in(folder: Path) -> list[str]:
    """Paths of a bundle's files, sorted, without manifest and seal."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(path for path in paths if path not in (MANIFEST, SEAL))


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    return sha256(path.read_bytes()).hexdigest()


def _content(folder: Path) -> dict[str, str]:
    return {path: digest(folder / path) for path in files_in(folder)}


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
