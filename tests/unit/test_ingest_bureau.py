"""The bureau's files through file control: they inform and never hold up, and a file from the future is refused whole."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.control import History, judge
from ingest.kinds import KINDS
from ingest.landing import Registry, possible, scan
from ingest.read import blocks, inspect
from ingest.records import ACCEPTED, MISSING, REFUSED, Verdict
from ingest.rows import parse
from lake import completeness
from simulator.file_format import MANIFEST_COLUMNS, csv_bytes

FIRST = date(2026, 8, 29)
DAYS = [FIRST + timedelta(days=number) for number in range(3)]
CLOSES = {day: datetime(day.year, day.month, day.day, 15, 0, tzinfo=UTC) for day in DAYS}
REGISTRY = Registry({"P01": FIRST}, {"P01": ("PC01",)}, "BANK")
INDUSTRY, REPUTATION = "industry", "reputation"


def record(knowable_at: str = "2026-08-29T10:00:00+08:00", **changes: str) -> str:
    values = {
        "record_no": "R1",
        "subject_hash": "a" * 64,
        "member_no": "M001",
        "record_type": "REPAY",
        "contract_no": "K1",
        "occurred_on": "2026-08-01",
        "amount_minor": "500",
        "currency": "CNY",
        "decision": "",
        "status_code": "*",
        "dpd": "0",
        "kind": "",
        "knowable_at": knowable_at,
    }
    return ",".join((values | changes).values())


def hit(**changes: str) -> str:
    values = {
        "hit_no": "H1",
        "subject_hash": "a" * 64,
        "source_tier": "4",
        "category": "NO_HIT",
        "polarity_pct": "-100",
        "match_pct": "100",
        "review": "PENDING",
        "published_on": "",
        "knowable_at": "2026-08-29T10:00:00Z",
    }
    return ",".join((values | changes).values())


def send(root: Path, day: date, number: int, kinds: dict[str, list[str]], promised: tuple[str, ...] = ()) -> None:
    """The bureau's files of a date with their manifest; `promised` kinds stand in the manifest and do not come."""
    folder = root / day.isoformat() / "BUREAU"
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[tuple[object, ...]] = [MANIFEST_COLUMNS]
    for kind, rows in (kinds | {name: [] for name in promised}).items():
        total = sum(int(row.split(",")[6]) for row in rows) if kind == INDUSTRY else 0
        text = [
            f"#FUNDWATCH,1,BUREAU,P01,{kind},{day},{number}",
            ",".join(KINDS[kind].names),
            *rows,
            f"#TRAILER,{len(rows)},{total}",
        ]
        data = gzip.compress(("\n".join(text) + "\n").encode(), mtime=0)
        name = f"P01.{kind}.csv.gz"
        if kind not in promised:
            (folder / name).write_bytes(data)
        lines.append(("P01", kind, name, sha256(data).hexdigest(), len(rows), total, number))
    (folder / "manifest.csv").write_bytes(csv_bytes(lines))


def verdicts(root: Path, days: list[date], history: History | None = None) -> list[Verdict]:
    """What file control says of the bureau's files of some dates; other senders sent nothing."""
    landing = scan(root, days, None)
    found = {file.path: inspect(file, CLOSES[file.business_date]) for file in landing.files}
    known = history or History()
    return [one for one in judge(possible(REGISTRY, days), landing, found, known) if one.sender_id == "BUREAU"]


def short(found: list[Verdict]) -> list[tuple[int, str, str, str | None]]:
    return [((one.business_date - FIRST).days, one.file_kind, one.state, one.reason_code) for one in found]


def test_the_bureaus_files_are_read_like_all_others(tmp_path: Path) -> None:
    send(tmp_path, FIRST, 1, {INDUSTRY: [record(), record(amount_minor="7", record_no="R2")], REPUTATION: [hit()]})
    industry, reputation = verdicts(tmp_path, [FIRST])
    assert (industry.state, industry.row_count, industry.control_sum) == (ACCEPTED, 2, 507)
    assert (reputation.state, reputation.row_count, reputation.control_sum) == (ACCEPTED, 1, 0)
    assert reputation.path is not None and reputation.sha256 is not None
    (block,) = blocks(reputation.path, REPUTATION, reputation.sha256)
    _, columns = block.good()
    assert {name: columns[name].to_pylist() for name in ("polarity_pct", "match_pct", "source_tier")} == {
        "polarity_pct": [-100],
        "match_pct": [100],
        "source_tier": [4],
    }


@pytest.mark.parametrize(
    ("kind", "column", "bad", "sentence"),
    [
        (INDUSTRY, "record_type", "LOAN", "one of APPLICATION, CONTRACT, REPAY, SPECIAL"),
        (INDUSTRY, "status_code", "8", "one of N, 1, 2"),
        (INDUSTRY, "decision", "X", "one of P, A, R, C"),
        (INDUSTRY, "subject_hash", "", "required and empty"),
        (INDUSTRY, "knowable_at", "2026-08-29", "RFC 3339"),
        (INDUSTRY, "kind", "MURDER", "one of WRITE_OFF"),
        (REPUTATION, "polarity_pct", "-101", "-100 to 100"),
        (REPUTATION, "match_pct", "-1", "0 to 100"),
        (REPUTATION, "source_tier", "5", "1 to 4"),
        (REPUTATION, "category", "GOSSIP", "one of DISHONEST_LIST"),
        (REPUTATION, "review", "MAYBE", "one of PENDING, CONFIRMED, REJECTED"),
    ],
)
def test_a_row_with_a_bad_value_goes_to_quarantine_with_its_reason(kind: str, column: str, bad: str, sentence: str) -> None:
    line = (record if kind == INDUSTRY else hit)(**{column: bad})
    block = parse(KINDS[kind], 3, (line + "\n").encode())
    (fault,) = block.faults()
    assert (fault.column, block.bad_count) == (column, 1)
    assert sentence in fault.reason


def test_a_file_from_the_future_is_refused_whole_and_names_line_and_column(tmp_path: Path) -> None:
    rows = [record(), record("2026-08-29T23:00:00+08:00", record_no="R2"), record("2026-08-29T15:00:00.000001Z", record_no="R3")]
    send(tmp_path, FIRST, 1, {INDUSTRY: rows, REPUTATION: [hit()]})
    industry, reputation = verdicts(tmp_path, [FIRST])
    assert (industry.state, industry.reason_code) == (REFUSED, "FUTURE")
    assert industry.reason == (
        "line 5: knowable_at 2026-08-29T15:00:00.000001+00:00 is later than the date's close 2026-08-29T15:00:00+00:00"
    )
    assert reputation.state == ACCEPTED


def test_one_row_from_the_future_is_found_in_any_block_of_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.stream.BLOCK_BYTES", 2_000)
    rows = [record(record_no=f"R{number}") for number in range(300)]
    rows[250] = record("2027-01-01T00:00:00Z", record_no="R250")
    send(tmp_path, FIRST, 1, {INDUSTRY: rows})
    (industry,) = verdicts(tmp_path, [FIRST])
    assert (industry.reason_code, str(industry.reason).partition(":")[0]) == ("FUTURE", "line 253")


def test_a_broken_file_is_refused_for_what_explains_most(tmp_path: Path) -> None:
    send(tmp_path, FIRST, 1, {INDUSTRY: [record("2027-01-01T00:00:00Z")]})
    path = tmp_path / FIRST.isoformat() / "BUREAU" / "P01.industry.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), mtime=7))
    (industry,) = verdicts(tmp_path, [FIRST])
    assert industry.reason_code == "HASH"
    assert "is later than the date's close" in str(industry.reason)


def test_nobody_expects_the_bureau_before_its_first_accepted_file_and_from_then_on_everybody_sees_what_lacks(
    tmp_path: Path,
) -> None:
    assert verdicts(tmp_path, DAYS) == []
    send(tmp_path, DAYS[1], 1, {INDUSTRY: []})
    assert short(verdicts(tmp_path, DAYS)) == [
        (1, INDUSTRY, ACCEPTED, None),
        (1, REPUTATION, MISSING, "MISSING"),
        (2, INDUSTRY, MISSING, "MISSING"),
        (2, REPUTATION, MISSING, "MISSING"),
    ]


def test_a_promised_file_that_does_not_come_is_missing_from_the_first_day(tmp_path: Path) -> None:
    send(tmp_path, FIRST, 1, {}, promised=(REPUTATION,))
    assert short(verdicts(tmp_path, [FIRST])) == [(0, REPUTATION, MISSING, "MISSING")]


_SENT = st.lists(st.sets(st.sampled_from([INDUSTRY, REPUTATION])), min_size=3, max_size=3)


@settings(max_examples=30, deadline=None)
@given(_SENT)
def test_one_pass_over_the_dates_says_what_date_by_date_says(
    tmp_path_factory: pytest.TempPathFactory, sent: list[set[str]]
) -> None:
    root = tmp_path_factory.mktemp("landing")
    for number, (day, kinds) in enumerate(zip(DAYS, sent, strict=True), start=1):
        if kinds:
            send(root, day, number, {kind: [] for kind in sorted(kinds)})
    history = History()
    assert short(verdicts(root, DAYS)) == [one for day in DAYS for one in short(verdicts(root, [day], history))]


@pytest.mark.parametrize("state", ["MISSING", "REFUSED", "ACCEPTED"])
def test_a_date_is_complete_whatever_became_of_the_bureaus_files(state: str) -> None:
    with duckdb.connect() as database:
        database.execute(
            """create table control (business_date date, platform_id text, sender_id text, file_kind text, file_name text,
               state text, reason_code text, reason text)"""
        )
        row = "insert into control values ('2026-08-29', 'P01', ?, ?, ?, ?, ?, 'why')"
        database.execute(row, ["P01", "orders", "P01.orders.csv.gz", "ACCEPTED", None])
        database.execute(row, ["BUREAU", INDUSTRY, "P01.industry.csv.gz", state, None if state == "ACCEPTED" else "FUTURE"])
        assert database.execute(completeness.complete_dates("control")).fetchall() == [("P01", FIRST)]
        kinds = database.execute(f"select file_kind from ({completeness.file_states('control')}) f").fetchall()
        assert kinds == [("orders",)]
