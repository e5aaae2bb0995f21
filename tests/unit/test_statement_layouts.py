"""Layouts as data: all that is wrong with one is said at once, and what it says decides how lines are read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from domain.errors import BadInput
from ingest.statements import formats, layout
from ingest.statements.land import ACCEPTED, Target, Verdict, land
from ingest.statements.source import Limits

LIMITS = Limits(date(2026, 9, 1))
YUAN = """
layout: yuan
version: 3
target: statement
delimiter: ";"
thousands: ","
skip_lines: 1
header: {fields: [account, currency, period_from, period_to, opening, seq_no]}
trailer: {mark: END, fields: [mark, credit_cnt, debit_cnt, sum, closing]}
zone: Asia/Shanghai
trailing_delimiter: true
columns:
  - {name: when, as: booked_at, form: YYYY/MM/DD HH:MM:SS, required: true}
  - {name: out, as: debit}
  - {name: in, as: credit}
  - {name: unused}
  - {name: back, as: reversal_flag, words: {冲正: "yes", 正常: "no"}}
  - {name: ref, as: bank_ref, required: true}
"""
LINES = [
    "a title that says nothing",
    "6222-1;CNY;20260831;20260901;1,000.00;17;",
    "2026/08/31 23:59:59;;1,500.5;x;正常;A;",
    " 2026/09/01 00:00:01 ; 0.5 ;;x;冲正;B;",
    "END;1;1;1,501;2,500.00;",
]


def read(text: str, lines: list[str], tmp_path: Path) -> tuple[Verdict, list[dict[str, object]]]:
    path, out = tmp_path / "file.txt", tmp_path / "out"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    find = formats.chosen("auto", layout.parsed(text.encode(), "l.yaml"), None)
    (verdict,) = land([path], find, Target(out), LIMITS)
    tables = sorted(out.glob("*/entries.parquet")) + sorted(out.glob("*/records.parquet"))
    return verdict, [row for table in tables for row in pq.read_table(table).to_pylist()]


def test_two_columns_thousands_words_and_times_of_the_bank(tmp_path: Path) -> None:
    verdict, rows = read(YUAN, LINES, tmp_path)
    assert verdict.state == ACCEPTED, verdict.reason
    assert [(r["dr_cr"], r["amount_minor"], r["reversal_flag"], r["bank_ref"]) for r in rows] == [
        ("C", 150050, False, "A"),
        ("D", 50, True, "B"),
    ]
    assert [r["book_date"] for r in rows] == [date(2026, 8, 31), date(2026, 9, 1)]
    assert rows[0]["booked_at"] == datetime(2026, 8, 31, 15, 59, 59, tzinfo=UTC)
    said = verdict.statements[0]
    assert (said["opening_minor"], said["closing_minor"], said["seq_no"], said["proof"]) == (100000, 250000, 17, "BALANCE")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("END;1;1;", "END;2;1;", "ROW_COUNT"),
        ("1,501;", "1,502;", "CONTROL_TOTAL"),
        ("2,500.00", "2,500.01", "BALANCE"),
        ("END;", "ENDE;", "TRUNCATED"),
        ("6222-1;CNY", "6222-1;XXX", "CURRENCY"),
        ("20260901", "20260931", "DATE"),
        ("20260831;", "20260901;", "DATE"),
        (";;1,500.5", ";1;1,500.5", "SCHEMA"),
        ("1,500.5", "1.500,5", "SCHEMA"),
        ("正常", "恢复", "SCHEMA"),
        ("23:59:59", "24:00:00", "SCHEMA"),
        (";B;", ";;", "SCHEMA"),
    ],
)
def test_one_thing_changed_refuses_the_file(old: str, new: str, code: str, tmp_path: Path) -> None:
    verdict, rows = read(YUAN, [line.replace(old, new) for line in LINES], tmp_path)
    assert (verdict.code, rows) == (code, []), verdict.reason


def test_a_trailer_inside_the_rows_refuses_the_file(tmp_path: Path) -> None:
    verdict, _ = read(YUAN, [*LINES[:3], LINES[4], *LINES[3:]], tmp_path)
    assert verdict.code == "SCHEMA" and "follow the trailer" in str(verdict.reason)


RECORDS = """
layout: orders
version: 1
target: records
bad_rows: quarantine
unit: minor
columns:
  - {name: no, as: no, required: true}
  - {name: n, as: n, type: int}
  - {name: state, as: state, one_of: [OPEN, DONE]}
  - {name: amount, as: amount, type: amount, required: true}
trailer: {mark: T, fields: [mark, row_cnt, sum]}
unique: [no]
"""


def test_bad_rows_are_kept_out_with_their_place_and_the_others_land(tmp_path: Path) -> None:
    verdict, rows = read(RECORDS, ["a,1,OPEN,100", "b,x,DONE,200", "c,3,LOST,1", "d,4", "e,5,DONE,7", "T,5,308"], tmp_path)
    assert (verdict.state, verdict.bad_row_cnt, verdict.is_clean) == (ACCEPTED, 3, False)
    assert [(row["no"], row["amount_minor"]) for row in rows] == [("a", 100), ("e", 7)]
    (bad,) = (tmp_path / "out").glob("*/bad_rows.parquet")
    assert [(row["line_no"], row["column_name"]) for row in pq.read_table(bad).to_pylist()] == [(2, "n"), (3, "state"), (4, "*")]


def test_counts_hold_although_rows_are_kept_out(tmp_path: Path) -> None:
    verdict, rows = read(RECORDS, ["a,1,OPEN,100", "b,x,DONE,200", "T,3,300"], tmp_path)
    assert (verdict.code, rows) == ("ROW_COUNT", [])


def test_a_repeated_key_refuses_the_file(tmp_path: Path) -> None:
    verdict, rows = read(RECORDS, ["a,1,OPEN,1", "b,2,OPEN,1", "a,3,DONE,5", "T,3,7"], tmp_path)
    assert (verdict.code, verdict.line_no, rows) == ("DUPLICATE", 3, [])


def test_all_that_is_wrong_with_a_layout_is_said_at_once() -> None:
    text = """
layout: wrong
version: 1
target: statement
encoding: klingon
delimiter: "||"
currency: XXX
header: {fields: [color]}
columns:
  - {name: a, as: book_date, form: YY-MM-DD}
  - {name: b, as: amount}
  - {name: c, as: amount}
  - {name: d, as: dr_cr, words: {x: MAYBE}}
unique: [nothing]
"""
    with pytest.raises(BadInput) as error:
        layout.parsed(text.encode(), "wrong.yaml")
    for part in ("klingon", "delimiter", "XXX", "color", "form of a date", "two columns", "one of C, D", "'nothing'", "account"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[", "layout: x", "layout: x\nversion: 1\ntarget: statement\ncolumns: []\ncolour: red", "a: &a [*a]"]
)
def test_what_is_no_layout_is_refused_as_input(text: str) -> None:
    with pytest.raises(BadInput):
        layout.parsed(text.encode(), "l.yaml")


def test_the_packaged_layouts_are_whole_and_have_names_of_their_own() -> None:
    names = [one.layout for one in layout.packaged()]
    assert len(set(names)) == len(names) >= 7


NEWEST = """
layout: newest
version: 1
target: statement
order: newest_first
currency: CNY
account: "6222"
columns:
  - {name: day, as: book_date, form: YYYYMMDD, required: true}
  - {name: amount, as: amount, required: true}
  - {name: balance, as: balance, required: true}
"""


def test_lists_that_begin_with_the_newest_row_are_followed_backwards(tmp_path: Path) -> None:
    verdict, _ = read(NEWEST, ["20260831,-5,100", "20260830,3.5,105", "20260829,1,101.5"], tmp_path)
    said = verdict.statements[0]
    assert (said["opening_minor"], said["closing_minor"], said["proof"]) == (10050, 10000, "BALANCE")


def test_a_row_missing_from_such_a_list_is_noticed(tmp_path: Path) -> None:
    verdict, _ = read(NEWEST, ["20260831,-5,100", "20260829,1,101.5"], tmp_path)
    assert (verdict.code, verdict.line_no) == ("BALANCE", 2)


def test_a_statement_without_balances_may_keep_bad_rows_out_by_its_layout(tmp_path: Path) -> None:
    text = NEWEST.replace("  - {name: balance, as: balance, required: true}\n", "") + "bad_rows: quarantine\n"
    verdict, rows = read(text, ["20260831,-5", "20260231,7", "20260829,1"], tmp_path)
    assert (verdict.state, verdict.bad_row_cnt, [row["amount_minor"] for row in rows]) == (ACCEPTED, 1, [500, 100])
    assert verdict.statements[0]["proof"] == "NONE"


def test_a_kept_out_row_does_not_escape_a_running_balance(tmp_path: Path) -> None:
    verdict, rows = read(NEWEST + "bad_rows: quarantine\n", ["20260831,-5,100", "20260231,3.5,105", "20260829,1,101.5"], tmp_path)
    assert (verdict.code, rows) == ("BALANCE", [])
