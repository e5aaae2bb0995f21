"""Tie-out: every rendering read back and compared with the figure set it was made of."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from domain.errors import CheckFailed
from domain.packs import Unit
from reports import pdf_signature, workbook_reader
from reports.display import exact
from reports.document import DOCUMENT, SCHEMA, check_schema
from reports.figures import FIGURES, FigureSet
from reports.texts import LANGUAGES
from reports.workbook import WORKBOOK, number
from reports.workbook_reader import Cell, as_date

PDFS = {language: f"report.{language}.pdf" for language in LANGUAGES}
_PARTS = ("state", "numerator", "denominator", "evidence_rows")


def tie_out(folder: Path, figure_set: FigureSet) -> list[str]:
    """What the renderings in `folder` show otherwise than the figure set; empty when they all agree."""
    return [
        *_document_faults(folder, figure_set),
        *_workbook_faults((folder / WORKBOOK).read_bytes(), figure_set),
        *(fault for name in PDFS.values() for fault in _pdf_faults(folder, name)),
    ]


def _document_faults(folder: Path, figure_set: FigureSet) -> list[str]:
    try:
        document = json.loads((folder / DOCUMENT).read_bytes())
        check_schema(document, (folder / SCHEMA).read_bytes())
    except ValueError as error:
        return [f"{DOCUMENT}: cannot be read: {error}"]
    except CheckFailed as error:
        return [str(error)]
    found = [{"id": figure["id"], "value": figure["value"], **_parts(figure)} for figure in document["figures"]]
    expected = [{"id": figure["id"], "value": exact(figure), **_parts(figure)} for figure in figure_set["figures"]]
    return _differences(DOCUMENT, found, expected)


def _parts(figure: dict[str, Any]) -> dict[str, Any]:
    return {name: figure[name] for name in _PARTS}


def _workbook_faults(content: bytes, figure_set: FigureSet) -> list[str]:
    try:
        sheets = workbook_reader.sheets(content)
        header, *rows = sheets["figures"]
        other, *more = sheets["annex"]
    except (CheckFailed, KeyError, ValueError) as error:
        return [f"{WORKBOOK}: cannot be read: {error}"]
    if other != header:
        return [f"{WORKBOOK}: its sheets have other columns than they should"]
    cells = [dict(zip(map(str, header), row, strict=False)) for row in (*rows, *more)]
    names = ("id", "value", *_PARTS)
    found = [{name: row.get(name) for name in names} for row in cells]
    expected = [_expected_cells(figure) for figure in figure_set["figures"]]
    for row, figure in zip(found, figure_set["figures"], strict=False):
        if figure["unit"] == Unit.DATE:
            row["value"] = as_date(row["value"])
    return _differences(WORKBOOK, found, expected)


def _expected_cells(figure: dict[str, Any]) -> dict[str, Cell]:
    typed = figure["unit"] in {Unit.MINOR, Unit.COUNT, Unit.RATIO}
    whole = {name: _as_cell(None if figure[name] is None else str(figure[name])) for name in _PARTS if name != "state"}
    value = exact(figure)
    return {"id": figure["id"], "value": _as_cell(value) if typed else value, "state": figure["state"], **whole}


def _as_cell(value: str | None) -> Cell:
    """A number as the cell it should be: a number while it fits, text beyond."""
    return value if value is None or number(value) is None else Decimal(value)


def _pdf_faults(folder: Path, name: str) -> list[str]:
    if pdf_signature.attachment((folder / name).read_bytes(), FIGURES) != (folder / FIGURES).read_bytes():
        return [f"{name}: the figure set attached to it is not {FIGURES}"]
    return []


def _differences(name: str, found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[str]:
    if len(found) != len(expected):
        return [f"{name}: shows {len(found)} figures, the figure set has {len(expected)}"]
    return [
        f"{name}: {should['id']} shows {shown}, the figure set has {should}"
        for shown, should in zip(found, expected, strict=True)
        if shown != should
    ]
