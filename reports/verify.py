"""Proving a bundle offline: hashes of every file, then every figure computed again from the evidence rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from domain.errors import BadInput, CheckFailed
from reports import evidence
from reports.bundle import FIGURES, MANIFEST, SEAL, digest, files_in
from reports.rederive import Fraction, rederive


def verify(folder: Path) -> dict[str, Any]:
    """Check a bundle; gives how much was checked. CheckFailed names every file and figure that does not agree.

    BadInput when `folder` is not a bundle at all.
    """
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder} is not a report bundle: it has no {MANIFEST}")
    faults = _file_faults(folder)
    if faults:
        raise CheckFailed("; ".join(faults))
    figures = _load(folder, FIGURES)
    faults = _figure_faults(folder, figures)
    if faults:
        raise CheckFailed("; ".join(faults))
    return {"ok": True, "figures": len(figures["figures"]), "files": len(files_in(folder)), "run_id": figures["run_id"]}


def _file_faults(folder: Path) -> list[str]:
    seal = folder / SEAL
    if not seal.is_file() or seal.read_bytes() != f"{digest(folder / MANIFEST)}  {MANIFEST}\n".encode():
        return [f"{MANIFEST}: does not match {SEAL}"]
    manifest = _load(folder, MANIFEST)
    listed = {entry["path"]: entry for entry in manifest["files"]}
    present = set(files_in(folder))
    faults = [f"{path}: is missing" for path in sorted(set(listed) - present)]
    faults += [f"{path}: is not in the manifest" for path in sorted(present - set(listed))]
    for path in sorted(present & set(listed)):
        size, hashed = (folder / path).stat().st_size, digest(folder / path)
        if (size, hashed) != (listed[path]["size"], listed[path]["sha256"]):
            faults.append(f"{path}: has other bytes than the manifest says")
    return faults + _chain_faults(folder, manifest)


def _chain_faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The version before, when it lies beside this one, must be the one this bundle names."""
    number = folder.resolve().name.removeprefix("v")
    previous = folder.resolve().parent / f"v{int(number) - 1}" / MANIFEST if number.isdigit() else None
    if previous is None or not previous.is_file() or digest(previous) == manifest["previous_manifest_sha256"]:
        return []
    return [f"{MANIFEST}: names another previous version than {previous.parent.name}"]


def _figure_faults(folder: Path, figures: dict[str, Any]) -> list[str]:
    loans, loan_file = evidence.read(folder, evidence.LOANS)
    claims, claim_file = evidence.read(folder, evidence.CLAIMS)
    said = {evidence.LOANS: asdict(loan_file), evidence.CLAIMS: asdict(claim_file)}
    faults = [
        f"{said[name]['path']}: other rows than {FIGURES} names" for name in said if figures["evidence"].get(name) != said[name]
    ]
    scope = (figures["platform_id"], figures["as_of"])
    faults += [
        f"{said[name]['path']}: holds rows that are not of {scope[0]} on {scope[1]}"
        for name, rows in ((evidence.LOANS, loans), (evidence.CLAIMS, claims))
        if any((row["platform_id"], row["business_date"]) != scope for row in rows)
    ]
    computed: dict[tuple[str, str], Fraction] = {}
    for currency in sorted({row["currency"] for row in loans} | {figure["currency"] for figure in figures["figures"]}):
        computed |= {(currency, code): fraction for code, fraction in rederive(loans, claims, currency).items()}
    stated = {(figure["currency"], figure["code"]): figure for figure in figures["figures"]}
    faults += [f"{code} {currency}: is missing" for currency, code in sorted(computed.keys() - stated.keys())]
    return faults + [
        fault for key, figure in stated.items() for fault in _differs(figure, computed.get(key), list(said.values()))
    ]


def _differs(figure: dict[str, Any], again: Fraction | None, files: list[dict[str, Any]]) -> list[str]:
    code = figure["code"]
    if again is None:
        return [f"{code}: there is no way to compute it again"]
    if figure["definition"] != f"{code}@1":
        return [f"{code}: definition {figure['definition']} is not known here"]
    faults = []
    stated = (figure["numerator"], figure["denominator"], figure["value"])
    if stated != tuple(again):
        faults.append(f"{code}: the report says {stated}, its rows give {tuple(again)}")
    if not figure["evidence"] or any(file not in files for file in figure["evidence"]):
        faults.append(f"{code}: names other evidence than the bundle's")
    return faults


def _load(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{name}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckFailed(f"{name}: is not a JSON object")
    return data
