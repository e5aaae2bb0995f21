"""A report bundle: one figure set with everything rendered from it, in a folder of its own version (guide reports 4.4).

Everything is computed once, written to a temporary folder and put in place by one rename. The same run gives the same figure set,
and building again what is there changes nothing, although signatures carry their time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from domain.errors import Failed
from domain.packs import Pack
from fundwatch.settings import load
from reports import consistency, document, evidence, manifest, pdf, pdf_signature, signing
from reports.changes import CHANGES, changes
from reports.evidence import Evidence
from reports.figures import FIGURES, FigureSet, computed_rows, figure_set
from reports.manifest import as_json
from reports.published import Publication, Rows
from reports.signing import Signer
from reports.tie_out import PDFS, tie_out
from reports.workbook import WORKBOOK, workbook

VALIDATION = "validation.json"
VALIDATION_FORMAT = "fundwatch.validation/1"
_TABLES = (evidence.LOANS, evidence.CLAIMS)


def build(
    pack: Pack, source: Publication, period: str, rows: Rows, root: Path, signer: Signer | None = None
) -> tuple[Path, bool]:
    """Write the bundle of a pack, platform and period; gives its folder and whether it is new.

    An intact bundle with the same figures and rows that is there already is kept. `signer` is the installation's when none is
    given. BadInput when the run holds no figures or the key is none that can sign; ServiceMissing when Pango or the font is
    missing; nothing is left behind. Whether the figures agree with each other is told by `failed_rules`.
    """
    computed = computed_rows(pack, source, rows("indicator"))
    signer = signer or signing.signer(load())
    parent = root / pack.pack_id / source.platform_id / period
    parent.mkdir(parents=True, exist_ok=True)
    with _alone(parent):
        folder = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
        try:
            for table in _TABLES:
                evidence.write(folder, table, rows(table))
            found = evidence.read_all(folder)
            (folder / FIGURES).write_bytes(as_json(figure_set(pack, source, period, computed, found)))
            latest = latest_version(parent)
            previous = parent / f"v{latest}" if latest else None
            if previous and _same(previous, folder) and manifest.is_intact(previous):
                return previous, False
            _complete(folder, found, latest + 1, previous, signer)
            final = parent / f"v{latest + 1}"
            folder.chmod(0o755)
            os.rename(folder, final)  # noqa: PTH104 - fails when that version is there, where replace would not
            return final, True
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def latest_version(parent: Path) -> int:
    """The highest version in the folder of a period; 0 when there is none."""
    return max((int(path.name[1:]) for path in parent.glob("v*") if path.name[1:].isdigit()), default=0)


def failed_rules(folder: Path) -> list[str]:
    """Consistency rules of severity ERROR that do not hold in a bundle, as sentences; such a report should not be sent."""
    return consistency.failed(json.loads((folder / VALIDATION).read_bytes())["consistency"])


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """One build a period at a time; what a killed build left behind is removed."""
    handle = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in parent.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def _same(previous: Path, folder: Path) -> bool:
    """Whether two bundles have the same figures and rows; all else is rendered from them."""
    names = [FIGURES, *(f"rows/{table}.csv.gz" for table in _TABLES)]
    return all((previous / name).is_file() and (previous / name).read_bytes() == (folder / name).read_bytes() for name in names)


def _complete(folder: Path, rows: Evidence, number: int, previous: Path | None, signer: Signer) -> None:
    """Render everything from the figure set in `folder`, compare it with the figure set, and seal the bundle."""
    figures_json = (folder / FIGURES).read_bytes()
    figures: FigureSet = json.loads(figures_json)
    results = consistency.check(figures, rows)
    (folder / document.DOCUMENT).write_bytes(as_json(document.document(figures, results, number)))
    (folder / document.SCHEMA).write_bytes(document.schema_bytes())
    (folder / WORKBOOK).write_bytes(workbook(figures, results, number))
    reason = f"{figures['pack_id']} {figures['platform_id']} {figures['period']} v{number}"
    for language, name in PDFS.items():
        content = pdf.pdf(figures, figures_json, results, number, language)
        (folder / name).write_bytes(pdf_signature.sign(signer, content, reason))
    if previous is not None:
        (folder / CHANGES).write_bytes(as_json(changes(previous, number - 1, folder, figures)))
    faults = tie_out(folder, figures)
    if faults:
        raise Failed(f"the renderings do not show the figure set: {'; '.join(faults)}")
    (folder / VALIDATION).write_bytes(as_json(validation(results)))
    manifest.seal(folder, figures, number, pdf.template_files(), previous, signer)


def validation(results: list[consistency.Result]) -> dict[str, Any]:
    """What was checked at build: the consistency rules, the schema, and that every rendering shows the figure set."""
    return {
        "format": VALIDATION_FORMAT,
        "consistency": results,
        "schema": {"instance": document.DOCUMENT, "schema": document.SCHEMA, "state": consistency.PASSED},
        "tie_outs": [{"rendering": name, "state": consistency.PASSED} for name in (document.DOCUMENT, WORKBOOK, *PDFS.values())],
    }
