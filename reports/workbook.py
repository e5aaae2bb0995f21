"""The report as a workbook: typed numbers, and text that no spreadsheet takes for a formula or a link.

A number that a spreadsheet cannot hold exactly (more than 15 significant digits) is written as text, never rounded silently.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from domain.packs import Section, Unit
from reports.consistency import Result
from reports.display import exact, parameters
from reports.figures import FigureSet
from reports.texts import words

WORKBOOK = "report.xlsx"
SHEETS = ("figures", "annex", "parameters", "validation")
COLUMNS = (
    "no",
    "id",
    "code",
    "name_zh",
    "name_en",
    "value",
    "unit",
    "currency",
    "state",
    "reason",
    "numerator",
    "denominator",
    "definition",
    "legal_ref",
    "evidence_rows",
)
_RESULT = ("rule", "formula", "currency", "severity", "state", "left", "right", "why")
_WIDTHS = (6, 26, 20, 34, 40, 24, 10, 9, 15, 60, 22, 22, 24, 40, 14)
_FORMATS = {Unit.MINOR: "#,##0.00", Unit.COUNT: "#,##0", Unit.RATIO: "0.0000%", Unit.DATE: "yyyy-mm-dd"}
_DIGITS = 15


def workbook(figure_set: FigureSet, consistency: list[Result], version: int) -> bytes:
    """The workbook's bytes, the same for the same figure set: sheets figures, annex (with our own), parameters, validation."""
    import xlsxwriter

    buffer = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    book = xlsxwriter.Workbook(buffer, options)
    created = datetime.fromisoformat(figure_set["known_as_of"]).astimezone(UTC).replace(tzinfo=None)
    title = f"{figure_set['platform_id']} {figure_set['period']}"
    book.set_properties({"title": title, "author": "Fundwatch", "created": created})
    sheets = {name: book.add_worksheet(name) for name in SHEETS}
    writer = _Writer(book)
    report = [figure for figure in figure_set["figures"] if figure["section"] == Section.REPORT]
    rest = [figure for figure in figure_set["figures"] if figure["section"] != Section.REPORT]
    writer.figures(sheets["figures"], report)
    writer.figures(sheets["annex"], rest)
    pairs = zip(parameters(figure_set, version, "zh"), parameters(figure_set, version, "en"), strict=True)
    named = [(zh[0], en[0], en[1]) for zh, en in pairs]
    writer.texts(sheets["parameters"], ("参数", "parameter", "value"), named, (24, 34, 80))
    writer.texts(sheets["validation"], _RESULT, _results(consistency), (38, 60, 9, 10, 14, 24, 24, 70))
    book.close()
    return buffer.getvalue()


def number(value: str) -> float | None:
    """A number a spreadsheet holds exactly, or None when the text has more digits than it keeps.

    >>> number("1234567890123.45"), number("12345678901234.56")
    (1234567890123.45, None)
    """
    exactly = Decimal(value)
    return (
        float(exactly) if len(exactly.normalize().as_tuple().digits) <= _DIGITS and abs(exactly.adjusted()) <= _DIGITS else None
    )


def _results(consistency: list[Result]) -> list[tuple[str, ...]]:
    return [
        (
            result["rule"],
            result["formula"],
            result["currency"],
            result["severity"],
            result["state"],
            result["left"] or "",
            result["right"] or "",
            f"{result['why']['zh']} {result['why']['en']}" if result["why"] else "",
        )
        for result in consistency
    ]


class _Writer:
    """Writes rows into sheets; everything that is not a typed value is written as text."""

    def __init__(self, book: Any) -> None:
        wrapped = {"text_wrap": True, "valign": "top"}
        self.head = book.add_format({"bold": True, "bg_color": "#EAF0F4", "bottom": 1})
        self.text = book.add_format(wrapped)
        self.large = book.add_format({"align": "right", "valign": "top", "num_format": "@"})
        self.whole = book.add_format({"num_format": "#,##0", "valign": "top"})
        self.of_unit = {unit: book.add_format({"num_format": form, "valign": "top"}) for unit, form in _FORMATS.items()}

    def figures(self, sheet: Any, figures: list[dict[str, Any]]) -> None:
        """One row a figure."""
        self._header(sheet, COLUMNS, _WIDTHS)
        for row, figure in enumerate(figures, 1):
            for column, name in enumerate(COLUMNS):
                self._cell(sheet, row, column, name, figure)

    def texts(self, sheet: Any, header: tuple[str, ...], rows: Sequence[tuple[str, ...]], widths: tuple[int, ...]) -> None:
        """Rows of text only."""
        self._header(sheet, header, widths)
        for row, values in enumerate(rows, 1):
            for column, value in enumerate(values):
                sheet.write_string(row, column, value, self.text)

    def _header(self, sheet: Any, names: tuple[str, ...], widths: tuple[int, ...]) -> None:
        for column, (name, width) in enumerate(zip(names, widths, strict=True)):
            sheet.write_string(0, column, name, self.head)
            sheet.set_column(column, column, width)
        sheet.freeze_panes(1, 0)

    def _cell(self, sheet: Any, row: int, column: int, name: str, figure: dict[str, Any]) -> None:
        unit = Unit(figure["unit"])
        if name == "value":
            self._value(sheet, row, column, unit, exact(figure))
        elif name in {"numerator", "denominator", "evidence_rows"}:
            self._number(sheet, row, column, None if figure[name] is None else str(figure[name]), self.whole)
        elif name == "unit" and unit is Unit.MINOR:
            sheet.write_string(row, column, figure["currency"], self.text)
        elif name == "unit" and unit is Unit.COUNT:
            sheet.write_string(row, column, words("en")["units"][figure["counts"]], self.text)
        elif name == "reason":
            reason = figure["reason"]
            sheet.write_string(row, column, f"{reason['zh']} {reason['en']}" if reason else "", self.text)
        else:
            sheet.write_string(row, column, figure[name] or "", self.text)

    def _value(self, sheet: Any, row: int, column: int, unit: Unit, value: str | None) -> None:
        """A figure without a value leaves its cell empty: the state beside it says why."""
        if value is None:
            sheet.write_blank(row, column, None, self.text)
        elif unit is Unit.DATE:
            sheet.write_datetime(row, column, date.fromisoformat(value), self.of_unit[unit])
        elif unit in self.of_unit:
            self._number(sheet, row, column, value, self.of_unit[unit])
        else:
            sheet.write_string(row, column, value, self.text)

    def _number(self, sheet: Any, row: int, column: int, value: str | None, form: Any) -> None:
        if value is None:
            sheet.write_blank(row, column, None, self.text)
        elif (exactly := number(value)) is None:
            sheet.write_string(row, column, value, self.large)
        else:
            sheet.write_number(row, column, exactly, form)
