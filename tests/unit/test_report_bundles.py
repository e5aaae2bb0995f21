"""Report bundles: one figure set from published rows, versions that name each other, and figures that follow from their rows."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from domain.errors import BadInput, CheckFailed
from domain.packs import Pack, Section
from fundwatch.cli import app
from reports import consistency, evidence
from reports.bundle import failed_rules
from reports.explain import explain, text
from reports.published import PreviousMonth, month_end
from reports.signing import Signer, certificate_pem
from reports.verify import verify

Seal = Callable[[Path], None]
PACK = Pack.of("CN_2017")
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
    "TOP10_LEND": "1.000000",
    "TOP1_LEND": "0.772727",
    "AVG_CUM_BORR": "135000",
    "AVG_CUM_LEND": "90000",
    "END_DATE": "2026-08-31",
    "REPORT_DATE": "2026-09-01",
    "FLAG": "0",
    "REL_BAL_AMT": None,
    "REL_BAL_CNT": None,
    "FEE_STD": None,
}
MONTHLY_LIST = [
    "CUM_AMT",
    "CUM_CNT",
    "BAL_AMT",
    "BAL_CNT",
    "INT_BAL",
    "CUM_LENDER",
    "CUM_BORROWER",
    "CUR_LENDER",
    "CUR_BORROWER",
    "TOP10_BORR",
    "TOP1_BORR",
    "REL_BAL_AMT",
    "REL_BAL_CNT",
    "OVD_AMT",
    "OVD_CNT",
    "OVD90_AMT",
    "OVD90_CNT",
    "CUM_COMP_AMT",
    "CUM_COMP_CNT",
    "OVD_RATE_ITEM",
    "OVD_RATE_AMT",
]


def figures_of(bundle: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((bundle / "figures.json").read_text(encoding="utf-8"))
    return read


def test_the_worked_example_is_computed_again_from_rows_to_the_printed_digit(built: Path, signer: Signer) -> None:
    figures = figures_of(built)["figures"]
    values = {figure["code"]: figure["value"] for figure in figures}
    assert {code: values[code] for code in WORKED_EXAMPLE} == WORKED_EXAMPLE
    assert [figure["code"] for figure in figures] == [indicator.code for indicator in PACK.indicators]
    result = verify(built, signer.certificate)
    assert (result["ok"], result["figures"], result["files"], result["run_id"]) == (True, len(PACK.indicators), 12, 7)
    assert (result["rules"]["PASSED"], result["rules"]["FAILED"]) == (14, 0)


def test_the_report_is_the_guidelines_list_of_21_in_its_order(built: Path) -> None:
    figures = figures_of(built)["figures"]
    assert [figure["code"] for figure in figures if figure["section"] == Section.REPORT] == MONTHLY_LIST
    assert [figure["no"] for figure in figures][:21] == [str(number) for number in range(1, 22)]
    assert len([figure for figure in figures if figure["section"] == Section.ANNEX]) == 14


def test_what_the_data_does_not_allow_is_said_and_is_not_zero(built: Path) -> None:
    missing = [figure for figure in figures_of(built)["figures"] if figure["state"] == "NOT_AVAILABLE"]
    assert {figure["code"] for figure in missing} == {"REL_BAL_AMT", "REL_BAL_CNT", "FEE_STD"}
    assert all(figure["value"] is None and figure["reason"]["zh"] and figure["reason"]["en"] for figure in missing)
    assert "not available" in text(explain(built, "REL_BAL_AMT"))


def test_building_again_changes_nothing_although_signatures_have_a_time(bundle: Path, case: Any) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert case.build(bundle.parents[3], rows=lambda table: iter(list(case.rows(table))[::-1])) == (bundle, False)
    assert {path: path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()} == before


def test_the_same_run_gives_the_same_bytes_of_all_that_is_not_signed(built: Path, case: Any, tmp_path: Path) -> None:
    other, _ = case.build(tmp_path)
    signed = {"manifest.json", "manifest.json.sig", "report.zh.pdf", "report.en.pdf"}
    names = sorted(path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other).as_posix() for path in other.rglob("*") if path.is_file())
    assert [name for name in names if (built / name).read_bytes() != (other / name).read_bytes()] == sorted(signed)


def test_a_new_run_is_a_new_version_that_names_the_old_and_tells_what_changed(bundle: Path, case: Any, signer: Signer) -> None:
    case.source = replace(case.source, run_id=8)
    case.loans[2]["outstanding_principal_minor"] = case.claims[2]["outstanding_principal_minor"] = 49_000
    second, is_new = case.build(bundle.parents[3])
    assert (second.name, is_new) == ("v2", True)
    manifest = json.loads((second / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["previous_manifest_sha256"] == sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    told = json.loads((second / "changes.json").read_text(encoding="utf-8"))
    changed = {change["id"]: (change["old"]["value"], change["new"]["value"]) for change in told["figures"]}
    assert changed["CN_2017.BAL_AMT"] == ("220000", "219000") and "CN_2017.OVD_AMT" not in changed
    assert told["rows"]["loan_snapshot"] == {"added": 0, "removed": 0, "changed": 1}
    assert (told["previous"]["run_id"], told["this"]["run_id"]) == (7, 8)
    assert verify(second, signer.certificate)["ok"]
    (bundle / "manifest.json").write_bytes(b"{}")
    with pytest.raises(CheckFailed, match="previous version than v1"):
        verify(second, signer.certificate)


def test_a_bundle_of_the_unsigned_first_format_gets_a_signed_successor(
    bundle: Path, case: Any, signer: Signer, tmp_path: Path
) -> None:
    figures = figures_of(bundle)
    old_names = ("value", "numerator", "denominator", "definition", "id", "code")
    figures["figures"] = [{name: figure[name] for name in old_names} for figure in figures["figures"][:11]]
    for path in bundle.rglob("*"):
        if path.is_file() and path.parent.name != "rows":
            path.unlink()
    (bundle / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    (bundle / "manifest.json").write_text('{"format": "fundwatch.manifest/1"}', encoding="utf-8")
    with pytest.raises(CheckFailed, match="did not sign must be built again"):
        verify(bundle, signer.certificate)
    second, is_new = case.build(bundle.parents[3])
    assert (second.name, is_new) == ("v2", True)
    assert verify(second, signer.certificate)["ok"]
    told = json.loads((second / "changes.json").read_text(encoding="utf-8"))
    assert {change["change"] for change in told["figures"]} == {"ADDED"}


def test_a_damaged_bundle_is_not_kept(bundle: Path, case: Any, signer: Signer) -> None:
    (bundle / "report.xlsx").write_bytes(b"")
    second, is_new = case.build(bundle.parents[3])
    assert (second.name, is_new) == ("v2", True)
    assert verify(second, signer.certificate)["ok"]


def test_what_a_killed_build_left_is_removed(bundle: Path, case: Any) -> None:
    (bundle.parent / ".building-left" / "rows").mkdir(parents=True)
    assert case.build(bundle.parents[3]) == (bundle, False)
    assert [path.name for path in bundle.parent.iterdir()] == ["v1"]


def test_two_builds_at_once_make_one_version(case: Any, signer: Signer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(case.build, tmp_path) for _ in range(2)]]
    assert first[0] == second[0] and sorted([first[1], second[1]]) == [False, True]
    assert [path.name for path in first[0].parent.iterdir()] == ["v1"]
    assert verify(first[0], signer.certificate)["ok"]


def test_evidence_holds_tokens_and_no_customer_numbers(built: Path) -> None:
    for path in built.glob("rows/*.csv.gz"):
        content = gzip.decompress(path.read_bytes()).decode()
        assert "customer" not in content and "P01-C" not in content


def forge(bundle: Path, seal: Seal, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads((bundle / name).read_text(encoding="utf-8"))
    change(data)
    (bundle / name).write_text(json.dumps(data), encoding="utf-8")
    seal(bundle)


@pytest.mark.parametrize(
    ("code", "field"),
    [(indicator.code, "value") for indicator in PACK.computed]
    + [(code, "numerator") for code in ("CUM_AMT", "TOP10_LEND", "AVG_CUM_BORR", "OVD_RATE_ITEM_180P")],
)
def test_a_forged_figure_signed_with_the_right_key_does_not_follow_from_its_rows(
    bundle: Path, signer: Signer, seal_again: Seal, code: str, field: str
) -> None:
    def change(figures: dict[str, Any]) -> None:
        figure = next(figure for figure in figures["figures"] if figure["code"] == code)
        figure[field] = "0.123456" if field == "value" else figure["numerator"] + 1

    forge(bundle, seal_again, "figures.json", change)
    with pytest.raises(CheckFailed, match=f"^{code}: the report says"):
        verify(bundle, signer.certificate)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("figures.json", lambda data: data["figures"].pop(0), "CUM_AMT CNY: is missing"),
        ("figures.json", lambda data: data["figures"][11].update(state="VALUE", value="0"), "REL_BAL_AMT: has a value"),
        ("figures.json", lambda data: data["figures"][-3].update(value="1"), "FLAG: the report says 1"),
        ("figures.json", lambda data: data["figures"][0].update(definition="CUM_AMT@2"), "CUM_AMT@2 is not known"),
        ("figures.json", lambda data: data["figures"][0].update(evidence=[]), "CUM_AMT: names other evidence"),
        (
            "figures.json",
            lambda data: data["figures"][2].update(evidence_rows=9),
            "BAL_AMT: says it is made of 9 rows, they are 3",
        ),
        ("figures.json", lambda data: data["overdue_by_bucket"][1].update(count=0), "overdue_by_bucket: its rows"),
        ("figures.json", lambda data: data.update(platform_id="P02"), "rows that are not of P02"),
        ("figures.json", lambda data: data["rules"].pop(), "validation.json: the rules give other results"),
        ("figures.json", lambda data: data.update(format="fundwatch.figure_set/9"), "format fundwatch.figure_set/9"),
        ("validation.json", lambda data: data["consistency"][0].update(state="FAILED"), "validation.json: the rules give"),
        ("report.json", lambda data: data["figures"][0].update(value="1.00"), "report.json: CN_2017.CUM_AMT shows"),
        ("report.json", lambda data: data["figures"].pop(), "report.json: shows 36 figures"),
        ("report.json", lambda data: data["figures"][0].update(value=2700), "report.json: figures/0/value: 2700 is not"),
        ("report.json", lambda data: data["figures"][11].update(reason=None), "report.json: figures/11/reason"),
    ],
)
def test_a_forged_report_signed_with_the_right_key_is_found(
    bundle: Path, signer: Signer, seal_again: Seal, name: str, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    forge(bundle, seal_again, name, change)
    with pytest.raises(CheckFailed, match=told):
        verify(bundle, signer.certificate)


def test_forged_rows_signed_with_the_right_key_give_other_figures(bundle: Path, signer: Signer, seal_again: Seal) -> None:
    path = bundle / "rows" / "loan_snapshot.csv.gz"
    table = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    table[1][table[0].index("outstanding_principal_minor")] = "1"
    content = "\n".join(",".join(row) for row in table).encode() + b"\n"
    path.write_bytes(gzip.compress(content))

    def change(figures: dict[str, Any]) -> None:
        old = figures["evidence"]["loan_snapshot"]["rows_sha256"]
        figures.update(json.loads(json.dumps(figures).replace(old, sha256(content).hexdigest())))

    forge(bundle, seal_again, "figures.json", change)
    with pytest.raises(CheckFailed, match="BAL_AMT: the report says"):
        verify(bundle, signer.certificate)


def test_a_rendering_of_other_figures_signed_with_the_right_key_is_found(
    bundle: Path, case: Any, signer: Signer, seal_again: Seal, tmp_path: Path
) -> None:
    case.loans[0]["disbursed_minor"] = 110_000
    other, _ = case.build(tmp_path / "other")
    for name in ("report.xlsx", "report.zh.pdf", "report.en.pdf"):
        own = (bundle / name).read_bytes()
        (bundle / name).write_bytes((other / name).read_bytes())
        seal_again(bundle)
        with pytest.raises(CheckFailed, match=rf"^{name}"):
            verify(bundle, signer.certificate)
        (bundle / name).write_bytes(own)


def test_figures_that_contradict_each_other_are_told_by_build_and_refused_by_verify(
    case: Any, signer: Signer, tmp_path: Path
) -> None:
    case.loans[0]["disbursed_minor"] = 10
    case.loans[1]["disbursed_minor"] = 10
    folder, _ = case.build(tmp_path)
    assert failed_rules(folder) == ["BAL_AMT_AT_MOST_CUM_AMT CNY: BAL_AMT ≤ CUM_AMT does not hold (220000 against 50020)"]
    with pytest.raises(CheckFailed, match="BAL_AMT ≤ CUM_AMT does not hold"):
        verify(folder, signer.certificate)


def test_a_claim_that_is_not_its_loan_needs_an_explanation_and_stops_nothing(built: Path) -> None:
    rows = evidence.read_all(built)
    rows.claims[0]["outstanding_principal_minor"] = "1"
    results = consistency.check(figures_of(built), rows)
    assert [result["rule"] for result in results if result["state"] == "FAILED"] == ["CLAIMS_EQUAL_LOANS"]
    assert consistency.failed(results) == []


def test_the_month_before_is_compared_when_it_was_published(built: Path) -> None:
    figures, rows = figures_of(built), evidence.read_all(built)
    before = {
        "CUM_AMT": "150000",
        "CUM_CNT": "4",
        "CUM_LENDER": "2",
        "CUM_BORROWER": "1",
        "CUM_COMP_AMT": "0",
        "CUM_COMP_CNT": "0",
    }
    figures["previous_month"] = PreviousMonth("2026-07", 6, 1, {"CNY": before}).as_data()
    rows.loans[1]["disbursed_on"] = "2026-08-03"
    states = {result["rule"]: (result["state"], result["left"], result["right"]) for result in consistency.check(figures, rows)}
    assert states["CUM_CNT_DOES_NOT_FALL"] == ("FAILED", "3", "4")
    assert states["CUM_LENDER_DOES_NOT_FALL"] == ("PASSED", "3", "2")
    assert states["CUM_AMT_GROWS_BY_DISBURSED"] == ("FAILED", "120000", "100000")


def test_a_second_currency_has_its_own_figures_and_rules(case: Any, signer: Signer, tmp_path: Path) -> None:
    case.loans[2]["currency"] = case.claims[2]["currency"] = "EUR"
    folder, _ = case.build(tmp_path)
    figures = figures_of(folder)
    values = {figure["id"]: figure["value"] for figure in figures["figures"]}
    assert (values["CN_2017.BAL_AMT"], values["CN_2017.BAL_AMT.EUR"]) == ("170000", "50000")
    assert [figure["code"] for figure in figures["figures"]].count("FEE_STD") == 1
    assert verify(folder, signer.certificate)["figures"] == len(figures["figures"]) == 2 * 33 + 4


def test_a_run_without_figures_builds_nothing(case: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no figures"):
        case.build(tmp_path, rows=lambda table: iter(()))
    assert list(tmp_path.iterdir()) == []


def test_a_run_older_than_a_definition_builds_nothing_and_says_what_to_do(case: Any, tmp_path: Path) -> None:
    old = [row for row in case.indicators() if row["code"] != "TOP1_LEND"]
    with pytest.raises(BadInput, match=r"lacks the figures TOP1_LEND of CN_2017 version 2: .* run 2026-08-31 again"):
        case.build(tmp_path, rows=lambda table: iter(old) if table == "indicator" else case.rows(table))
    assert list(tmp_path.iterdir()) == []


def test_explain_prints_formula_parts_and_rows(built: Path) -> None:
    words = text(explain(built, "OVD_RATE_AMT"))
    for part in ("(OVD_AMT) / (BAL_AMT + INT_BAL)", "125200", "228200", "0.548642", "rows/loan_snapshot.csv.gz (3 rows", "113号"):
        assert part in words
    assert "2026-08-31 (DATE)" in text(explain(built, "END_DATE"))
    with pytest.raises(BadInput, match="no figure"):
        explain(built, "NOPE")


def test_the_command_line_verifies_against_a_named_certificate_and_explains(
    built: Path, signer: Signer, other_signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path / "home"))
    for name, each in (("right", signer), ("wrong", other_signer)):
        (tmp_path / f"{name}.pem").write_bytes(certificate_pem(each.certificate))
    runner = CliRunner()
    good = runner.invoke(app, ["report", "verify", str(built), "--certificate", str(tmp_path / "right.pem"), "--json"])
    assert (good.exit_code, json.loads(good.stdout)["ok"]) == (0, True)
    bad = runner.invoke(app, ["report", "verify", str(built), "--certificate", str(tmp_path / "wrong.pem")])
    assert isinstance(bad.exception, CheckFailed) and "signed by another key" in str(bad.exception)
    nobody = runner.invoke(app, ["report", "verify", str(built)])
    assert isinstance(nobody.exception, BadInput) and "no certificate to trust" in str(nobody.exception)
    nothing = runner.invoke(app, ["report", "verify", str(tmp_path), "--certificate", str(tmp_path / "right.pem")])
    assert isinstance(nothing.exception, BadInput) and "not a report bundle" in str(nothing.exception)
    assert "OVD_AMT" in runner.invoke(app, ["report", "explain", str(built), "OVD_AMT"]).stdout


@pytest.mark.parametrize("period", ["2026-13", "2026", "2026-8", "../2026-08"])
def test_a_period_is_a_month(period: str) -> None:
    assert month_end("2026-12") == date(2026, 12, 31)
    with pytest.raises(BadInput):
        month_end(period)
