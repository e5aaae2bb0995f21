"""Figure sets: built from published rows, the same bytes each time, and every tampering found offline."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from domain.errors import BadInput, CheckFailed
from domain.packs import Pack
from fundwatch.cli import app
from lake.tables import TABLES
from reports.bundle import build
from reports.explain import explain, text
from reports.published import Publication, month_end
from reports.rederive import rederive
from reports.verify import verify

PACK = Pack.of("CN_2017")
D = date(2026, 8, 31)
SOURCE = Publication("P01", D, 1, 7, datetime(2026, 9, 1, 1, 30, tzinfo=UTC), 1234, "abc")


def loan(
    loan_no: str, borrower: str, disbursed: int, op: int, oi: int, ovd: tuple[int, int], ld: int, bd: int, comp: int = 0
) -> dict[str, Any]:
    row = dict.fromkeys(TABLES["loan_snapshot"].columns)
    amounts = {"outstanding_principal_minor": op, "outstanding_interest_minor": oi, "disbursed_minor": disbursed}
    late = {"overdue_principal_minor": ovd[0], "overdue_interest_minor": ovd[1], "lender_dpd": ld, "borrower_dpd": bd}
    who = {"loan_no": loan_no, "borrower_ref": borrower, "borrower_customer_no": "P01-C000001", "currency": "CNY"}
    paid = {"compensated_minor": comp, "compensated_issue_count": int(comp > 0)}
    return {**row, "business_date": D, "run_id": 7, "platform_id": "P01", **who, **amounts, **late, **paid}


def claim(claim_no: str, loan_no: str, lender: str, minor: int, is_open: bool = True) -> dict[str, Any]:
    who = {"claim_no": claim_no, "loan_no": loan_no, "lender_customer_no": "P01-C000002", "lender_ref": lender, "currency": "CNY"}
    amounts = {"principal_minor": minor, "outstanding_principal_minor": minor, "is_open": is_open}
    return {"business_date": D, "run_id": 7, "platform_id": "P01", **who, **amounts}


LOANS = [
    loan("L2", "b2", 100_000, 100_000, 5_000, (100_000, 5_000), 122, 122),
    loan("L1", "b1", 120_000, 70_000, 700, (20_000, 200), 57, 87, comp=10_100),
    loan("L3", "b1", 50_000, 50_000, 2_500, (0, 0), 0, 0),
]
CLAIMS = [
    claim("C1", "L1", "l1", 70_000),
    claim("C2", "L2", "l1", 100_000),
    claim("C3", "L3", "l2", 50_000),
    claim("C4", "L1", "l3", 0, False),
]
WORKED_EXAMPLE = {
    "CUM_AMT": "270000",
    "BAL_AMT": "220000",
    "BAL_CNT": "3",
    "INT_BAL": "8200",
    "CUM_BORROWER": "2",
    "TOP1_BORR": "0.545455",
    "TOP10_BORR": "1.000000",
    "OVD_AMT": "125200",
    "OVD90_AMT": "100000",
    "CUM_COMP_AMT": "10100",
    "OVD_RATE_AMT": "0.548642",
    "OVD_RATE_ITEM": "0.666667",
    "OVD_RATE_AMT_90": "0.088519",
    "OVD_RATE_AMT_180": "0.460123",
    "OVD_RATE_AMT_180P": "0.000000",
    "OVD_TO_CUM": "0.463704",
    "ID_TWP90": "0.454545",
    "CUM_LENDER": "3",
    "CUR_LENDER": "2",
}


def indicator_rows() -> list[dict[str, Any]]:
    """Rows as the night writes them, from the independent second way."""
    as_text = [
        [{k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in row.items()} for row in rows]
        for rows in (LOANS, CLAIMS)
    ]
    rows = []
    for code, fraction in rederive(*as_text, "CNY").items():
        definition = {"pack_id": "CN_2017", "code": code, "definition_version": "1", "currency": "CNY", "evidence_rows": 1}
        value = None if fraction.value is None else Decimal(fraction.value)
        rows.append({**definition, "value": value, "numerator": fraction.numerator, "denominator": fraction.denominator})
    return rows


def rows(table: str) -> Iterator[dict[str, Any]]:
    yield from {"loan_snapshot": LOANS, "claim_snapshot": CLAIMS, "indicator": indicator_rows()}[table]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder, is_new = build(PACK, SOURCE, "2026-08", rows, tmp_path)
    assert is_new
    return folder


def test_the_worked_example_is_computed_again_from_rows_to_the_printed_digit(bundle: Path) -> None:
    figures = json.loads((bundle / "figures.json").read_text(encoding="utf-8"))
    values = {figure["code"]: figure["value"] for figure in figures["figures"]}
    assert {code: values[code] for code in WORKED_EXAMPLE} == WORKED_EXAMPLE
    assert [figure["code"] for figure in figures["figures"]] == [indicator.code for indicator in PACK.indicators]
    assert verify(bundle) == {"ok": True, "figures": len(PACK.indicators), "files": 3, "run_id": 7}


def test_the_same_run_gives_the_same_bytes_and_building_again_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    other, _ = build(PACK, SOURCE, "2026-08", lambda table: iter(list(rows(table))[::-1]), tmp_path / "other")
    names = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert len(names) == 5
    assert all((bundle / name).read_bytes() == (other / name).read_bytes() for name in names)
    assert build(PACK, SOURCE, "2026-08", rows, tmp_path) == (bundle, False)
    assert [path.name for path in bundle.parent.iterdir()] == ["v1"]


def test_a_new_run_is_a_new_version_that_names_the_old(bundle: Path, tmp_path: Path) -> None:
    second, is_new = build(PACK, replace(SOURCE, run_id=8), "2026-08", rows, tmp_path)
    assert (second.name, is_new) == ("v2", True)
    manifest = json.loads((second / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["previous_manifest_sha256"] == sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert verify(second)["ok"]
    (bundle / "manifest.json").write_bytes(b"{}")
    with pytest.raises(CheckFailed, match="previous version than v1"):
        verify(second)


def test_evidence_holds_tokens_and_no_customer_numbers(bundle: Path) -> None:
    for path in bundle.glob("rows/*.csv.gz"):
        content = gzip.decompress(path.read_bytes()).decode()
        assert "customer" not in content and "P01-C" not in content


@pytest.mark.parametrize(
    "name", ["figures.json", "rows/loan_snapshot.csv.gz", "rows/claim_snapshot.csv.gz", "manifest.json", "manifest.sha256"]
)
def test_a_changed_byte_in_any_file_is_found_and_named(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(CheckFailed, match="manifest.json" if name.startswith("manifest") else name):
        verify(bundle)


@pytest.mark.parametrize("name", ["figures.json", "rows/loan_snapshot.csv.gz", "manifest.sha256"])
def test_a_missing_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(CheckFailed, match="manifest" if name.startswith("manifest") else f"{name}: is missing"):
        verify(bundle)


def test_a_file_nobody_listed_is_found(bundle: Path) -> None:
    (bundle / "rows" / "more.csv").write_text("x", encoding="utf-8")
    with pytest.raises(CheckFailed, match=r"rows/more\.csv: is not in the manifest"):
        verify(bundle)


def reseal(bundle: Path) -> None:
    """What a forger would do: make every hash right again."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["files"]:
        content = (bundle / entry["path"]).read_bytes()
        entry["size"], entry["sha256"] = len(content), sha256(content).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    digest = sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    (bundle / "manifest.sha256").write_text(f"{digest}  manifest.json\n", encoding="utf-8")


def forge_figures(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    figures = json.loads((bundle / "figures.json").read_text(encoding="utf-8"))
    change(figures)
    (bundle / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    reseal(bundle)


@pytest.mark.parametrize("code", [indicator.code for indicator in PACK.indicators])
@pytest.mark.parametrize("field", ["value", "numerator"])
def test_a_forged_figure_with_right_hashes_does_not_follow_from_its_rows(bundle: Path, code: str, field: str) -> None:
    def change(figures: dict[str, Any]) -> None:
        figure = next(figure for figure in figures["figures"] if figure["code"] == code)
        figure[field] = "0.123456" if field == "value" else figure["numerator"] + 1

    forge_figures(bundle, change)
    with pytest.raises(CheckFailed, match=f"^{code}: the report says"):
        verify(bundle)


def test_a_figure_left_out_with_right_hashes_is_missed(bundle: Path) -> None:
    forge_figures(bundle, lambda figures: figures["figures"].pop(0))
    with pytest.raises(CheckFailed, match="CUM_AMT CNY: is missing"):
        verify(bundle)


def test_forged_rows_with_right_hashes_give_other_figures(bundle: Path) -> None:
    path = bundle / "rows" / "loan_snapshot.csv.gz"
    table = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    table[1][table[0].index("outstanding_principal_minor")] = "1"
    content = "\n".join(",".join(row) for row in table).encode() + b"\n"
    path.write_bytes(gzip.compress(content))

    def change(figures: dict[str, Any]) -> None:
        old = figures["evidence"]["loan_snapshot"]["rows_sha256"]
        new = sha256(content).hexdigest()
        figures.update(json.loads(json.dumps(figures).replace(old, new)))

    forge_figures(bundle, change)
    with pytest.raises(CheckFailed, match="BAL_AMT: the report says"):
        verify(bundle)


def test_a_run_without_figures_builds_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no figures"):
        build(PACK, SOURCE, "2026-08", lambda table: iter(()), tmp_path)
    assert list((tmp_path / "CN_2017" / "P01" / "2026-08").iterdir()) == []


def test_explain_prints_formula_parts_and_rows(bundle: Path) -> None:
    words = text(explain(bundle, "OVD_RATE_AMT"))
    for part in ("(OVD_AMT) / (BAL_AMT + INT_BAL)", "125200", "228200", "0.548642", "rows/loan_snapshot.csv.gz (3 rows", "113号"):
        assert part in words
    with pytest.raises(BadInput, match="no figure"):
        explain(bundle, "NOPE")


def test_the_command_line_verifies_and_explains(bundle: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["report", "verify", str(bundle), "--json"])
    assert (good.exit_code, json.loads(good.stdout)["ok"]) == (0, True)
    assert "OVD_AMT" in runner.invoke(app, ["report", "explain", str(bundle), "OVD_AMT"]).stdout
    nothing = runner.invoke(app, ["report", "verify", str(tmp_path)])
    assert isinstance(nothing.exception, BadInput)


@pytest.mark.parametrize("period", ["2026-13", "2026", "2026-8", "../2026-08"])
def test_a_period_is_a_month(period: str) -> None:
    assert month_end("2026-12") == date(2026, 12, 31)
    with pytest.raises(BadInput):
        month_end(period)
