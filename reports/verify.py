"""Proving a bundle offline: signature and hashes first, then every figure, rule and rendering again from the evidence rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography import x509

from domain.errors import BadInput, CheckFailed
from reports import consistency, evidence, manifest, pdf_signature
from reports.bundle import VALIDATION, validation
from reports.changes import CHANGES, changes
from reports.evidence import Evidence
from reports.figures import FIGURES, FORMAT, NOT_AVAILABLE, UNDEFINED, VALUE, FigureSet
from reports.manifest import MANIFEST
from reports.rederive import NOT_DERIVABLE, Fraction, buckets, evidence_rows, rederive
from reports.signing import fingerprint
from reports.tie_out import PDFS, tie_out


def verify(folder: Path, certificate: x509.Certificate) -> dict[str, Any]:
    """Check a bundle against the certificate that is trusted; gives how much was checked.

    CheckFailed names every file, figure and rule that does not agree. BadInput when `folder` is not a bundle at all.
    """
    check_files(folder, certificate)
    figure_set = _load(folder, FIGURES)
    if figure_set.get("format") != FORMAT:
        raise CheckFailed(f"{FIGURES}: format {figure_set.get('format')} is not known here")
    rows = evidence.read_all(folder)
    _raise([*_evidence_faults(figure_set, rows), *_figure_faults(figure_set, rows), *_bucket_faults(figure_set, rows)])
    results = consistency.check(figure_set, rows)
    faults = [
        *_recorded_faults(folder, figure_set, results),
        *tie_out(folder, figure_set),
        *(fault for name in PDFS.values() for fault in pdf_signature.faults((folder / name).read_bytes(), certificate, name)),
        *consistency.failed(results),
    ]
    _raise(faults)
    return {
        "ok": True,
        "figures": len(figure_set["figures"]),
        "files": len(manifest.files_in(folder)) + 2,
        "run_id": figure_set["run_id"],
        "rules": {state: sum(one["state"] == state for one in results) for state in ("PASSED", "FAILED", "NOT_CHECKED")},
        "certificate_sha256": fingerprint(certificate),
    }


def check_files(folder: Path, certificate: x509.Certificate) -> None:
    """The first stage alone: signature of the manifest and hashes of all files; CheckFailed names what does not agree."""
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder} is not a report bundle: it has no {MANIFEST}")
    _raise(manifest.file_faults(folder, certificate))


def _raise(faults: list[str]) -> None:
    if faults:
        raise CheckFailed("; ".join(faults))


def _evidence_faults(figure_set: FigureSet, rows: Evidence) -> Iterator[str]:
    scope = (figure_set["platform_id"], figure_set["as_of"])
    for table, of_table in ((evidence.LOANS, rows.loans), (evidence.CLAIMS, rows.claims)):
        file = rows.files[table]
        if figure_set["evidence"].get(table) != asdict(file):
            yield f"{file.path}: other rows than {FIGURES} names"
        if any((row["platform_id"], row["business_date"]) != scope for row in of_table):
            yield f"{file.path}: holds rows that are not of {scope[0]} on {scope[1]}"


def _figure_faults(figure_set: FigureSet, rows: Evidence) -> Iterator[str]:
    computed: dict[tuple[str | None, str], Fraction] = {}
    counted: dict[tuple[str | None, str], int] = {}
    for currency in sorted({row["currency"] for row in rows.loans} | set(figure_set["currencies"])):
        computed |= {(currency, code): fraction for code, fraction in rederive(rows.loans, rows.claims, currency).items()}
        counted |= {(currency, code): count for code, count in evidence_rows(rows.loans, rows.claims, currency).items()}
    stated = {(figure["currency"], figure["code"]): figure for figure in figure_set["figures"]}
    yield from (f"{code} {currency}: is missing" for currency, code in sorted(computed.keys() - stated.keys(), key=str))
    files = [asdict(file) for file in rows.files.values()]
    metadata = _metadata(figure_set)
    for (currency, code), figure in stated.items():
        if code in metadata:
            if (figure["state"], figure["value"]) != (VALUE, metadata[code]):
                yield f"{code}: the report says {figure['value']}, its parameters give {metadata[code]}"
        elif code in NOT_DERIVABLE:
            if figure["state"] != NOT_AVAILABLE or figure["value"] is not None:
                yield f"{code}: has a value that no row of the bundle gives"
        else:
            yield from _differs(figure, computed.get((currency, code)), files)
            if figure["evidence_rows"] != counted.get((currency, code)):
                yield f"{code}: says it is made of {figure['evidence_rows']} rows, they are {counted.get((currency, code))}"


def _metadata(figure_set: FigureSet) -> dict[str, str]:
    known = datetime.fromisoformat(figure_set["known_as_of"]).astimezone(ZoneInfo(figure_set["zone"]))
    return {"END_DATE": figure_set["as_of"], "REPORT_DATE": known.date().isoformat(), "FLAG": "0"}


def _differs(figure: dict[str, Any], again: Fraction | None, files: list[dict[str, Any]]) -> Iterator[str]:
    code = figure["code"]
    if again is None:
        yield f"{code}: there is no way to compute it again"
        return
    if figure["definition"] != f"{code}@1":
        yield f"{code}: definition {figure['definition']} is not known here"
        return
    stated = (figure["numerator"], figure["denominator"], figure["value"])
    if stated != tuple(again) or figure["state"] != (UNDEFINED if again.value is None else VALUE):
        yield f"{code}: the report says {stated}, its rows give {tuple(again)}"
    if not figure["evidence"] or any(file not in files for file in figure["evidence"]):
        yield f"{code}: names other evidence than the bundle's"


def _bucket_faults(figure_set: FigureSet, rows: Evidence) -> list[str]:
    again = [
        {"currency": currency, "bucket": name, "count": count, "amount_minor": amount_minor}
        for currency in sorted({row["currency"] for row in rows.loans})
        for name, count, amount_minor in buckets(rows.loans, currency)
    ]
    return [] if figure_set["overdue_by_bucket"] == again else ["overdue_by_bucket: its rows give other numbers"]


def _recorded_faults(folder: Path, figure_set: FigureSet, results: list[consistency.Result]) -> Iterator[str]:
    """What build wrote of its checks and of the version before must come out again."""
    if _load(folder, VALIDATION) != validation(results):
        yield f"{VALIDATION}: the rules give other results than it says"
    said = manifest.read(folder)
    for name in ("pack_id", "platform_id", "period", "run_id"):
        if said[name] != figure_set[name]:
            yield f"{MANIFEST}: {name} is {said[name]}, {FIGURES} says {figure_set[name]}"
    previous = folder.resolve().parent / f"v{said['bundle_version'] - 1}"
    if said["previous_manifest_sha256"] is None:
        return
    if not (folder / CHANGES).is_file():
        yield f"{CHANGES}: is missing"
    elif (previous / FIGURES).is_file() and _load(folder, CHANGES) != changes(
        previous, said["bundle_version"] - 1, folder, figure_set
    ):
        yield f"{CHANGES}: the two versions differ otherwise than it says"


def _load(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{name}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckFailed(f"{name}: is not a JSON object")
    return data
