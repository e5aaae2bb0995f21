"""The renderings of a report: PDF, workbook and JSON show the figure set, typed, exact and the same bytes each time."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyhanko.pdf_utils.reader import PdfFileReader

from domain.errors import CheckFailed, ServiceMissing
from reports import consistency, evidence, pdf, workbook_reader
from reports.display import exact, shown
from reports.document import check_schema, schema_bytes
from reports.texts import words
from reports.workbook import number, workbook
from reports.workbook_reader import as_date

LANGUAGES = ("zh", "en")


def figures_of(bundle: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((bundle / "figures.json").read_text(encoding="utf-8"))
    return read


def results_of(bundle: Path) -> list[dict[str, Any]]:
    return consistency.check(figures_of(bundle), evidence.read_all(bundle))


def text_of(path: Path) -> str:
    document = pypdfium2.PdfDocument(path)
    return "\n".join(page.get_textpage().get_text_range() for page in document)


def squeezed(text: str) -> str:
    return re.sub(r"\s+|\ufffe|-(?=\n)", "", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_shows_name_value_and_reason_of_every_figure(built: Path, language: str) -> None:
    found = squeezed(text_of(built / f"report.{language}.pdf"))
    for figure in figures_of(built)["figures"]:
        line = squeezed(f"{figure[f'name_{language}']}{figure['definition']}{shown(figure, language)}")
        assert line in found, line
        if figure["reason"]:
            assert squeezed(figure["reason"][language]) in found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_states_parameters_rules_law_and_page_numbers(built: Path, language: str) -> None:
    found = text_of(built / f"report.{language}.pdf")
    squashed = squeezed(found)
    for part in (
        "P01",
        "2026-08-31",
        "2026-09-07",
        "2026-09-01T01:30:00+00:00",
        "1234",
        "银监办发[2017]113号",
        "BAL_AMT≤CUM_AMT",
    ):
        assert part in squashed
    pages = len(pypdfium2.PdfDocument(built / f"report.{language}.pdf"))
    assert all(squeezed(f"{words(language)['page']} {page} / {pages}") in squashed for page in range(1, pages + 1))


def test_the_pdf_is_the_same_bytes_each_time_and_differs_by_version(built: Path) -> None:
    figures, content = figures_of(built), (built / "figures.json").read_bytes()
    made = [pdf.pdf(figures, content, results_of(built), version, "zh") for version in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    # what is signed is this document with one update at its end
    assert (built / "report.zh.pdf").read_bytes().startswith(made[0])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_is_tagged_archive_form_with_its_figures_attached(built: Path, language: str) -> None:
    document = pypdfium2.PdfDocument(built / f"report.{language}.pdf")
    assert document.is_tagged()
    assert [document.get_attachment(i).get_name() for i in range(document.count_attachments())] == ["figures.json"]
    assert bytes(document.get_attachment(0).get_data()) == (built / "figures.json").read_bytes()
    reader = PdfFileReader(io.BytesIO((built / f"report.{language}.pdf").read_bytes()))
    metadata = reader.root["/Metadata"].data.decode()
    assert re.search(r'pdfaid:part(>|=")3', metadata) and re.search(r'pdfaid:conformance(>|=")A', metadata)
    assert reader.root["/Lang"] == {"zh": "zh-CN", "en": "en"}[language]


def test_without_the_chinese_font_no_pdf_is_made(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "FONT", "A font that nobody has")
    with pytest.raises(ServiceMissing, match="fonts-wqy-microhei"):
        pdf.pdf(figures_of(built), b"{}", results_of(built), 1, "en")


def test_the_workbook_holds_typed_cells_and_no_formula(built: Path) -> None:
    book = openpyxl.load_workbook(built / "report.xlsx")
    assert book.sheetnames == ["figures", "annex", "parameters", "validation"]
    rows = {}
    for name in ("figures", "annex"):
        header, *body = list(book[name].iter_rows())
        names = [cell.value for cell in header]
        rows |= {row[names.index("code")].value: dict(zip(names, row, strict=True)) for row in body}
    assert (rows["BAL_AMT"]["value"].value, rows["BAL_AMT"]["value"].number_format) == (2200, "#,##0.00")
    assert (rows["BAL_CNT"]["value"].value, rows["BAL_CNT"]["unit"].value) == (3, "loans")
    assert (rows["TOP1_LEND"]["value"].value, rows["TOP1_LEND"]["value"].number_format) == (0.772727, "0.0000%")
    assert rows["END_DATE"]["value"].value == datetime(2026, 8, 31)  # noqa: DTZ001 - as spreadsheets hold dates
    assert rows["REL_BAL_AMT"]["value"].value is None and rows["REL_BAL_AMT"]["state"].value == "NOT_AVAILABLE"
    assert "关联方" in rows["REL_BAL_AMT"]["reason"].value
    assert all(cell.data_type != "f" for sheet in book for row in sheet.iter_rows() for cell in row)
    assert book.properties.created == datetime(2026, 9, 1, 1, 30)  # noqa: DTZ001 - openpyxl gives it without a zone
    assert book["parameters"]["C2"].value == "P01"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "https://example.org", "007", "\t=1"])
def test_text_that_looks_like_a_formula_a_link_or_a_number_stays_text(built: Path, name: str) -> None:
    figures = figures_of(built)
    figures["figures"][0]["name_en"] = figures["figures"][0]["reason_en"] = name
    figures["platform_id"] = name
    book = openpyxl.load_workbook(io.BytesIO(workbook(figures, results_of(built), 1)))
    for cell in (book["figures"]["E2"], book["parameters"]["C2"]):
        assert (cell.value, cell.data_type, cell.hyperlink) == (name, "s", None)


def test_the_workbook_is_the_same_bytes_each_time(built: Path) -> None:
    figures, results = figures_of(built), results_of(built)
    assert workbook(figures, results, 1) == workbook(figures, results, 1) == (built / "report.xlsx").read_bytes()


@pytest.mark.parametrize(
    ("minor", "kind", "value"),
    [
        (12345, "n", 123.45),
        (999_999_999_999_999, "n", 9_999_999_999_999.99),
        (10**15 + 1, "s", "10000000000000.01"),
        (2**53 + 1, "s", "90071992547409.93"),
    ],
)
def test_an_amount_a_spreadsheet_cannot_hold_is_written_as_text(built: Path, minor: int, kind: str, value: object) -> None:
    figures = figures_of(built)
    figures["figures"][0]["value"] = str(minor)
    cell = openpyxl.load_workbook(io.BytesIO(workbook(figures, results_of(built), 1)))["figures"]["F2"]
    assert (cell.data_type, cell.value) == (kind, value)


@given(st.integers(-(10**18), 10**18))
def test_a_number_in_a_cell_is_exact_or_text(minor: int) -> None:
    text = str(exact({"value": str(minor), "unit": "MINOR", "currency": "CNY"}))
    held = number(text)
    assert held is None or Decimal(f"{held:.15g}") * 100 == minor


def test_our_own_reader_reads_what_another_reads(built: Path) -> None:
    content = (built / "report.xlsx").read_bytes()
    book = openpyxl.load_workbook(io.BytesIO(content))
    for name, rows in workbook_reader.sheets(content).items():
        theirs = [[cell.value for cell in row] for row in book[name].iter_rows()]
        assert len(rows) == len(theirs)
        for ours, other in zip(rows, theirs, strict=True):
            for mine, cell in zip(ours + [None] * (len(other) - len(ours)), other, strict=True):
                if isinstance(cell, datetime):
                    assert as_date(mine) == cell.date().isoformat()
                else:
                    assert (mine or None) == (cell or None) or float(str(mine)) == cell


def test_a_workbook_with_a_formula_or_without_a_sheet_is_refused(built: Path) -> None:
    changed = io.BytesIO()
    with zipfile.ZipFile(built / "report.xlsx") as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb'(<c r="F2"[^>]*>)', rb"\1<f>1+1</f>", old.read(name)))
    with pytest.raises(CheckFailed, match="F2 holds a formula"):
        workbook_reader.sheets(changed.getvalue())
    with pytest.raises(CheckFailed, match="cannot be read"):
        workbook_reader.sheets(b"no zip")


def test_the_json_follows_its_schema_and_gives_money_in_major_units(built: Path) -> None:
    document = json.loads((built / "report.json").read_text(encoding="utf-8"))
    assert (built / "report.schema.json").read_bytes() == schema_bytes()
    check_schema(document, schema_bytes())
    values = {figure["code"]: figure["value"] for figure in document["figures"]}
    assert (values["BAL_AMT"], values["OVD_RATE_AMT"], values["CUM_CNT"], values["FEE_STD"]) == ("2200.00", "0.548642", "3", None)
    assert document["parameters"]["bundle_version"] == 1


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("BAL_AMT", {"value": None}),
        ("BAL_AMT", {"value": "2,200.00"}),
        ("BAL_AMT", {"state": "NOT_AVAILABLE"}),
        ("BAL_AMT", {"currency": None}),
        ("BAL_AMT", {"unit": "FURLONG"}),
        ("REL_BAL_AMT", {"value": "0.00"}),
        ("REL_BAL_AMT", {"reason": None}),
        ("OVD_RATE_AMT", {"value": "0.54864"}),
        ("OVD_RATE_AMT", {"state": "UNDEFINED", "value": None}),
        ("END_DATE", {"value": "31.08.2026"}),
        ("CUM_CNT", {"extra": 1}),
    ],
)
def test_the_schema_refuses_a_figure_that_is_none(built: Path, code: str, change: dict[str, Any]) -> None:
    document = json.loads((built / "report.json").read_text(encoding="utf-8"))
    next(figure for figure in document["figures"] if figure["code"] == code).update(change)
    with pytest.raises(CheckFailed, match="figures/"):
        check_schema(document, schema_bytes())


def test_the_texts_of_both_languages_have_the_same_keys() -> None:
    def keys(table: dict[str, Any], prefix: str = "") -> set[str]:
        nested = [keys(value, f"{prefix}{name}.") for name, value in table.items() if isinstance(value, dict)]
        return {f"{prefix}{name}" for name in table}.union(*nested)

    zh, en = (keys(words(language)) for language in LANGUAGES)
    assert {key for key in zh ^ en if not key.startswith("chart.scale_")} == set()


def test_a_share_without_a_denominator_is_shown_as_undefined(case: Any, tmp_path: Path) -> None:
    for loan in case.loans:
        loan |= {"outstanding_principal_minor": 0, "outstanding_interest_minor": 0, "overdue_principal_minor": 0}
        loan |= {"overdue_interest_minor": 0, "lender_dpd": 0, "borrower_dpd": 0, "lender_bucket": "M0"}
    for claim in case.claims:
        claim["outstanding_principal_minor"] = 0
    case.source = replace(case.source, run_id=9)
    folder, _ = case.build(tmp_path)
    share = next(figure for figure in figures_of(folder)["figures"] if figure["code"] == "OVD_RATE_AMT")
    assert (share["state"], share["value"], share["denominator"]) == ("UNDEFINED", None, 0)
    assert "none (denominator 0)" in text_of(folder / "report.en.pdf").replace("\r\n", " ").replace("\n", " ")
