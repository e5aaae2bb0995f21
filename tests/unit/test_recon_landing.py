"""Files to canonical records: exact money, real dates, bad rows set apart with their reasons, bad files refused whole."""

from __future__ import annotations

import gzip
import random
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BadInput, WrongUse
from recon import alone, values
from recon.landing import Landed, land
from recon.spec import FieldSpec, Rate, SourceSpec, parse_spec

SIDE: dict[str, Any] = {
    "fields": {
        "reference": {"column": "ref", "required": True},
        "amount": {"column": "amt", "type": "amount"},
        "currency": {"constant": "CNY"},
        "date": {"column": "day", "type": "date"},
    }
}


def landed_from(path: Path, side: dict[str, Any] | None = None, **more: Any) -> tuple[list[dict[str, Any]], Landed]:
    """Records and counts of one file read as the left side."""
    content = {"name": "n", "version": "1", "left": side or SIDE, "right": side or SIDE, **more}
    spec = parse_spec(content | {"tiers": [{"kind": "key", "name": "k", "keys": ["reference"]}]})
    landed = Landed()
    rows = [row for batch in land([path], spec.left, spec, 30, landed) for row in batch.to_pylist()]
    return rows, landed


def file(folder: Path, text: str | bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def amounts(texts: list[Any], **options: Any) -> list[int | None]:
    return values.amount(pa.array(texts), FieldSpec(type="amount", column="c", **options)).values.to_pylist()  # type: ignore[no-any-return]


@given(st.integers(-(10**15), 10**15), st.sampled_from([0, 2, 3]))
@settings(deadline=None)
def test_an_amount_written_out_is_read_back_to_the_minor_unit(minor: int, decimals: int) -> None:
    text = f"{Decimal(minor).scaleb(-decimals):.{decimals}f}"
    assert amounts([text], decimals=decimals) == [minor]
    grouped = f"{Decimal(minor).scaleb(-decimals):,.{decimals}f}"
    assert amounts([grouped], decimals=decimals, grouping=",") == [minor]


@given(st.integers(-(10**13), 10**13))
@settings(deadline=None)
def test_a_floating_point_number_is_taken_only_when_it_is_a_whole_number_of_minor_units(minor: int) -> None:
    exact = minor / 100
    assert amounts([exact]) == [minor]
    assert amounts([exact + 0.001 if abs(minor) < 10**9 else 0.005]) == [None]


@pytest.mark.parametrize(
    "text",
    ["1.234", "1,23", "12,34.00", "1e3", "0x10", "--1", "+-1", "1.2.3", "NaN", "∞", "1 000", "٣", "10000000000000.01", "-", "."],
)
def test_what_is_not_exactly_an_amount_is_refused(text: str) -> None:
    assert amounts([text], grouping=",") == [None]


def test_amounts_come_in_the_ways_of_banks() -> None:
    assert amounts(["1.00", "+1.00", "-1.00", "1.00-", "1", "1.5", "1.500", "0.00", "00.10"]) == [
        100,
        100,
        -100,
        -100,
        100,
        150,
        150,
        0,
        10,
    ]
    assert amounts(["1.234,56", "-0,05"], decimal_mark=",", grouping=".") == [123456, -5]
    assert amounts([Decimal("1.23"), Decimal("0.10")]) == [123, 10]
    assert amounts([5, -7], unit="minor") == [5, -7]
    assert amounts([5, -7]) == [500, -700]


@given(st.integers(-(10**15), 10**15), st.integers(0, 10**6))
@settings(deadline=None)
def test_a_share_is_rounded_half_up_once(of: int, ppm: int) -> None:
    rate = Rate(of="amount", rate=str(Decimal(ppm).scaleb(-6)))
    size = int((Decimal(abs(of)) * ppm / 10**6).quantize(Decimal(1), rounding="ROUND_HALF_UP"))
    assert values.share(pa.array([of]), rate).to_pylist() == [-size if of < 0 else size]


def test_dates_that_no_calendar_has_are_refused() -> None:
    field = FieldSpec(type="date", column="c", formats=["%Y-%m-%d", "%d.%m.%Y"])
    read = values.day(
        pa.array(["2026-02-28", "2026-02-30", "2026-13-01", "28.02.2026", "31.04.2026", "2026-2-8", "", None]), field
    )
    assert read.values.to_pylist() == [date(2026, 2, 28), None, None, date(2026, 2, 28), None, None, None, None]
    assert read.bad.to_pylist() == [False, True, True, False, True, True, False, False]


def test_times_are_read_with_and_without_offset() -> None:
    field = FieldSpec(type="time", column="c", formats=["iso", "%Y%m%d%H%M%S"])
    texts = [
        "2026-08-05T09:00:00+08:00",
        "2026-08-05 09:00:00",
        "2026-08-05T01:00:00.25Z",
        "20260805090000",
        "2026-08-05T24:00:00Z",
    ]
    moment = datetime(2026, 8, 5, 1, tzinfo=UTC)
    found = values.moment(pa.array(texts), field, "Asia/Shanghai").values.to_pylist()
    assert found == [moment, moment, moment.replace(microsecond=250_000), moment, None]
    west = values.moment(pa.array(["2026-08-05T01:00:00-03:30"]), field, "UTC").values.to_pylist()
    assert west == [datetime(2026, 8, 5, 4, 30, tzinfo=UTC)]


def test_a_time_after_the_cutoff_belongs_to_the_next_business_date(tmp_path: Path) -> None:
    money = {"amount": {"column": "amt", "type": "amount"}, "currency": {"constant": "CNY"}}
    side = {"fields": {"reference": {"column": "ref"}, **money,
                       "time": {"column": "at", "type": "time", "formats": ["iso"]},
                       "date": {"type": "date", "business_date_of": "time"}}}  # fmt: skip
    path = file(
        tmp_path, "ref,amt,at\na,1,2026-08-05T22:59:59+08:00\nb,1,2026-08-05T23:00:00+08:00\nc,1,2026-08-05T12:00:00+08:00\n"
    )
    rows, _ = landed_from(path, side, cutoff="23:00", calendar="CN")
    assert [row["business_date"] for row in rows] == [date(2026, 8, 5), date(2026, 8, 6), date(2026, 8, 5)]
    assert [row["near_cutoff"] for row in rows] == [True, True, False]


def test_bad_rows_are_set_apart_with_line_column_reason_and_the_good_ones_go_on(tmp_path: Path) -> None:
    text = (
        "ref,amt,day\nA,1.00,2026-08-03\nB,1.001,2026-08-03\n\nC,1.00,2026-02-30\nD,1.00\n"
        'E,"1.00,2026-08-03\nF,,2026-08-03\n,1.00,2026-08-03\nG,2.00,2026-08-04'
    )
    rows, landed = landed_from(file(tmp_path, text))
    assert [(row["f_reference"], row["line_no"]) for row in rows] == [("A", 2), ("G", 10)]
    assert {(fault.line, fault.column) for fault in landed.faults} == {
        (3, "amt"),
        (5, "day"),
        (6, "*"),
        (7, "*"),
        (8, "amt"),
        (9, "ref"),
    }
    assert landed.rows == 8 and landed.quarantined == 6 and all(fault.reason and fault.raw for fault in landed.faults)
    # in Chinese too, with the same figures
    assert all(re.search("[\u4e00-\u9fff]", fault.reason_zh) for fault in landed.faults)
    (short,) = [fault for fault in landed.faults if fault.line == 6]
    assert (short.reason, short.reason_zh) == ("the line has 2 fields, 3 are declared", "该行有 2 个字段,应为 3 个")


def test_lines_of_another_encoding_are_set_apart_one_by_one(tmp_path: Path) -> None:
    text = "ref,amt,day\n好,1.00,2026-08-03\n".encode() + b"\xff\xfe,1.00,2026-08-03\nB,1.00,2026-08-03\n"
    rows, landed = landed_from(file(tmp_path, text))
    assert [row["f_reference"] for row in rows] == ["好", "B"]
    assert [(fault.line, fault.reason) for fault in landed.faults] == [(3, "the line is not utf-8")]


def test_text_of_banks_in_gbk_compressed_and_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress("ref;amt;day\r\n张三;1,50;2026-08-03\r\n合计;1;0\r\n".encode("gbk")))
    fields = SIDE["fields"] | {"amount": {"column": "amt", "type": "amount", "decimal_mark": ","}}
    rows, landed = landed_from(path, {"encoding": "gbk", "delimiter": ";", "trailer_lines": 1, "fields": fields})
    assert [(row["f_reference"], row["amount_minor"]) for row in rows] == [("张三", 150)] and not landed.faults


def test_blocks_and_trailer_meet_at_any_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "".join(f"R{number},{number}.00,2026-08-03\n" for number in range(200))
    path = file(tmp_path, "ref,amt,day\n" + body + "T,1\nT,2")
    for size in (64, 97, 1000):
        monkeypatch.setattr("recon.sources.BLOCK_BYTES", size)
        rows, landed = landed_from(path, SIDE | {"trailer_lines": 2})
        assert [(row["f_reference"], row["line_no"]) for row in rows] == [(f"R{number}", number + 2) for number in range(200)]
        assert not landed.faults


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00\x01\x02\x03" * 100, "no column"),
        (b"", "no column"),
        (b"ref,amount,day\nA,1,2026-08-03\n", "has no column 'amt'"),
        (b"ref,amt,amt,day\n", "repeats amt"),
        (b"\xff\xfe\x00", "header is not utf-8"),
    ],
)
def test_a_file_that_is_not_what_the_spec_says_is_refused_whole(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        landed_from(file(tmp_path, content))


def test_a_file_that_fails_stops_the_run_with_its_own_words(tmp_path: Path) -> None:
    spec = parse_spec(
        {"name": "n", "version": "1", "left": SIDE, "right": SIDE, "tiers": [{"kind": "key", "name": "k", "keys": ["reference"]}]}
    )
    good, bad = file(tmp_path, "ref,amt,day\nA,1.00,2026-08-03\n"), file(tmp_path, "nothing\n", "bad.csv")
    with pytest.raises(BadInput, match=r"bad\.csv has no column"):
        alone.run(spec, {"left": [good], "right": [bad]}, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(WrongUse, match="no engine"):
        alone.run(spec, {"left": [good], "right": [good]}, tmp_path / "out", engine="abacus")


def test_parquet_and_csv_of_the_same_records_reconcile_fully(tmp_path: Path) -> None:
    lines = [(f"R{number}", number * 7, date(2026, 8, 3)) for number in range(500)]
    text = "".join(f"{ref},{minor // 100}.{minor % 100:02d},{day}\n" for ref, minor, day in lines)
    left = file(tmp_path, "ref,amt,day\n" + text)
    right = tmp_path / "r.parquet"
    pq.write_table(pa.table({"ref": [line[0] for line in lines], "amt": pa.array([line[1] for line in lines], pa.int64()),
                             "day": [line[2] for line in lines]}), right)  # fmt: skip
    other = {"format": "parquet", "fields": SIDE["fields"] | {"amount": {"column": "amt", "type": "amount", "unit": "minor"}}}
    spec = parse_spec(
        {
            "name": "n",
            "version": "1",
            "left": SIDE,
            "right": other,
            "tiers": [{"kind": "key", "name": "k", "keys": ["reference"]}],
        }
    )
    found = alone.run(spec, {"left": [left], "right": [right]}, tmp_path / "out")
    assert found["tables"]["breaks"]["rows"] == 0 and found["tables"]["matches"]["rows"] == 500


def test_records_without_ids_are_known_by_their_content_whatever_their_place(tmp_path: Path) -> None:
    rows = ["A,1.00,2026-08-03", "A,1.00,2026-08-03", "A,2.00,2026-08-03"]
    side = SourceSpec.model_validate(SIDE)
    spec = parse_spec(
        {
            "name": "n",
            "version": "1",
            "left": SIDE,
            "right": SIDE,
            "tiers": [{"kind": "group", "name": "g", "keys": ["reference"]}],
        }
    )
    assert not side.id
    hashes = set()
    for number, order in enumerate((rows, rows[::-1])):
        left = file(tmp_path, "ref,amt,day\n" + "\n".join(order) + "\n", f"l{number}.csv")
        right = file(tmp_path, "ref,amt,day\nA,4.00,2026-08-03\n", "r.csv")
        found = alone.run(spec, {"left": [left], "right": [right]}, tmp_path / f"out{number}")
        assert found["pairs"]["left-right"]["tiers"][0]["left_records"] == 3
        hashes.add(found["result_sha256"])
    assert len(hashes) == 1


def test_the_engine_follows_the_rows_of_the_larger_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    lines = "".join(f"R{chance.randrange(10**9)},{chance.randrange(10**6)}.00,2026-08-03\n" for _ in range(20_000))
    small = file(tmp_path, "ref,amt,day\n" + lines[:1000])
    large = file(tmp_path, gzip.compress(("ref,amt,day\n" + lines).encode()), "large.csv.gz")
    key = {"kind": "key", "name": "k", "keys": ["reference"]}
    spec = parse_spec({"name": "x", "version": "1", "left": SIDE, "right": SIDE, "tiers": [key]})
    monkeypatch.setattr(alone, "SPARK_ROWS_MIN", 1000)
    assert alone.by_size(spec, {"left": [small], "right": [small]}) == "duckdb"
    assert alone.by_size(spec, {"left": [small], "right": [large]}) == "spark"
