"""Reading our own workbooks back: the cells of one sheet as written, without the library that wrote them."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, timedelta
from decimal import Decimal
from xml.etree import ElementTree

from domain.errors import CheckFailed

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_DAY_ZERO = date(1899, 12, 30)

Cell = str | Decimal | None


def sheets(content: bytes) -> dict[str, list[list[Cell]]]:
    """Sheet name → rows of cells: text as str, numbers as Decimal of 15 digits, None where a cell is empty.

    CheckFailed when it is no workbook or holds a formula: we never write one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            strings = _strings(archive)
            targets = {
                relation.get("Id"): relation.get("Target")
                for relation in ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
            }
            book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
            return {
                str(sheet.get("name")): _rows(archive.read(f"xl/{targets[sheet.get(_RELATION)]}"), strings)
                for sheet in book.iter(f"{_MAIN}sheet")
            }
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, ArithmeticError, ValueError, IndexError) as error:
        raise CheckFailed(f"report.xlsx: cannot be read: {error}") from error


def as_date(cell: Cell) -> str | None:
    """A date cell (days since the epoch of spreadsheets) as YYYY-MM-DD.

    >>> as_date(Decimal(46265))
    '2026-08-31'
    """
    return (_DAY_ZERO + timedelta(days=int(cell))).isoformat() if isinstance(cell, Decimal) else cell


def _strings(archive: zipfile.ZipFile) -> list[str]:
    root = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
    return ["".join(text.text or "" for text in item.iter(f"{_MAIN}t")) for item in root.iter(f"{_MAIN}si")]


def _rows(content: bytes, strings: list[str]) -> list[list[Cell]]:
    rows = []
    for row in ElementTree.fromstring(content).iter(f"{_MAIN}row"):
        cells: list[Cell] = []
        for cell in row.iter(f"{_MAIN}c"):
            cells += [None] * (_column(str(cell.get("r"))) - len(cells))
            cells.append(_cell(cell, strings))
        rows.append(cells)
    return rows


def _cell(cell: ElementTree.Element, strings: list[str]) -> Cell:
    if cell.find(f"{_MAIN}f") is not None:
        raise CheckFailed(f"report.xlsx: {cell.get('r')} holds a formula")
    value = cell.find(f"{_MAIN}v")
    if value is None or value.text is None:
        return None
    if cell.get("t") == "s":
        return strings[int(value.text)]
    # as a spreadsheet holds it: a double, of which 15 significant digits count
    return Decimal(f"{float(value.text):.15g}")


def _column(reference: str) -> int:
    """Index of a cell's column: A → 0, AA → 26."""
    letters = re.match("[A-Z]+", reference)
    index = 0
    for letter in letters[0] if letters else "A":
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1
