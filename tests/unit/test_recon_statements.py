"""Bank statements as a side of a reconciliation: controlled as on landing, refused with their sentence, bad rows kept apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from domain.errors import BadInput
from fundwatch import statement_source
from recon import alone
from recon.spec import read_spec

STATEMENTS = Path(__file__).parent.parent / "data" / "statements"
SPEC = """
name: bank_against_ledger
version: "1"
left:
  fields:
    reference: {column: ref}
    amount: {column: amount, type: amount}
    currency: {column: ccy}
    date: {column: day, type: date}
right:
  format: statement
  fields:
    reference: {column: bank_ref}
    account: {column: account}
    amount: {column: amount_minor, type: amount, unit: minor, sign: {column: dr_cr, negative: [D]}}
    currency: {column: currency}
    date: {column: book_date, type: date}
tiers:
  - kind: key
    name: bank reference
    keys: [reference]
"""
GOOD = (
    ":20:STMT1\n:25:12345678/123\n:28C:1/1\n:60F:C260227EUR1000,00\n:61:2602270227D10,00NTRFREF//B1\n:86:rent\n"
    ":61:2602270227C7,50NTRFREF//B2\n:86:fee back\n:62F:C260227EUR997,50\n-\n"
)


@pytest.fixture
def reconciled(tmp_path: Path) -> Any:
    statement_source.register()
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    ledger = tmp_path / "ledger.csv"
    ledger.write_text("ref,amount,ccy,day\nB1,-10.00,EUR,2026-02-27\nB3,5.00,EUR,2026-02-27\n", encoding="utf-8")

    def run(name: str, text: str) -> dict[str, Any]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        files = {"left": [ledger], "right": [tmp_path / name]}
        found: dict[str, Any] = alone.run(read_spec(tmp_path / "spec.yaml"), files, tmp_path / "out", "duckdb", None, None)
        return found

    return run


def test_a_ledger_is_reconciled_with_a_statement_whose_balances_were_proved(reconciled: Any, tmp_path: Path) -> None:
    found = reconciled("feb.sta", GOOD)
    assert found["balanced"]
    with (tmp_path / "out" / "breaks.csv").open(encoding="utf-8") as lines:
        codes = sorted((row["code"], row["effect_minor"]) for row in csv.DictReader(lines))
    assert codes == [("B01", "500"), ("B02", "-750")]
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["sides"]["right"]["records"] == 2


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("wrong.sta", GOOD.replace("997,50", "997,51"), "its entries lead to 99750, it closes with 99751"),
        ("thirty.sta", GOOD.replace(":61:2602270227D", ":61:2602300227D"), "is not a date of the calendar"),
        ("nothing.sta", "hello\n", "nothing.sta"),
        ("empty.sta", "", "the file is empty"),
    ],
)
def test_a_statement_that_is_refused_stops_the_run_with_its_sentence(
    reconciled: Any, tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        reconciled(name, text)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_column_that_no_entry_has_is_named(reconciled: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("column: bank_ref", "column: bank_reff"), encoding="utf-8")
    with pytest.raises(BadInput, match="an entry has no column bank_reff; it has stmt_id"):
        reconciled("feb.sta", GOOD)


@pytest.mark.parametrize("path", ["camt/v13_two_statements.xml", "bai2/sample.bai"])
def test_every_format_that_is_ingested_is_a_side(reconciled: Any, tmp_path: Path, path: str) -> None:
    content = (STATEMENTS / path).read_bytes().decode("utf-8")
    expected = json.loads((STATEMENTS / f"{path}.expected.json").read_text(encoding="utf-8"))
    found = reconciled(Path(path).name, content)
    assert found["balanced"] and expected
    assert found["sides"]["right"]["records"] > 0
