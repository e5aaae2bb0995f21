"""File control on real bytes: every way in which a file can be bad gets its code, one clear sentence, and nothing is lost."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from ingest import control, quarantine
from ingest.kinds import KINDS
from ingest.landing import Registry, possible, scan
from ingest.read import blocks, fingerprint, inspect
from ingest.records import ACCEPTED, MISSING, REFUSED, Verdict
from ingest.rows import RowFault

DAY = date(2026, 8, 31)
REGISTRY = Registry({"P01": date(2026, 8, 1)}, {"P01": ("PC01",)}, "BANK")
NAMES = ",".join(KINDS["orders"].names)
GOOD_ROWS = (
    "R-1,RECHARGE,P01-L-000001,,1250,CNY,SUCCESS,2026-08-31T10:00:00+08:00,",
    "R-2,TENDER,P01-L-000001,P01-B-000002,300,CNY,SUCCESS,2026-08-31T10:00:00.123456Z,L-7",
)


@dataclass
class Folder:
    """A landing folder of one date in which every expected file is there and good, until a test changes one."""

    root: Path
    day: date = DAY
    sequence_no: int = 31
    promises: dict[str, list[list[str]]] = field(default_factory=dict)

    def fill(self, skip: Iterable[str] = ()) -> None:
        for expected, is_due in possible(REGISTRY, [self.day]).items():
            if is_due and expected.kind not in skip:
                self.put(expected.sender_id, expected.kind, GOOD_ROWS if expected.kind == "orders" else ())

    def put(
        self,
        sender: str,
        kind: str,
        rows: Sequence[str],
        *,
        lines: Callable[[list[str]], list[str]] = lambda lines: lines,
        content: Callable[[bytes], bytes] = lambda content: content,
        control_sum: int | None = None,
        promised_hash: str | None = None,
        sequence_no: int | None = None,
    ) -> Path:
        """Write one file and its line of the manifest; the hooks break it in one place."""
        number = self.sequence_no if sequence_no is None else sequence_no
        total = control_sum if control_sum is not None else sum(int(row.split(",")[4]) for row in rows)
        whole = [
            f"#FUNDWATCH,1,{sender},P01,{kind},{self.day},{number}",
            ",".join(KINDS[kind].names),
            *rows,
            f"#TRAILER,{len(rows)},{total}",
        ]
        data = content(gzip.compress(("\n".join(lines(whole)) + "\n").encode(), mtime=0))
        path = self.root / self.day.isoformat() / sender / f"P01.{kind}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = promised_hash or sha256(data).hexdigest()
        lines_of = self.promises.setdefault(sender, [])
        lines_of[:] = [line for line in lines_of if line[1] != kind]
        lines_of.append(["P01", kind, path.name, digest, str(len(rows)), str(total), str(number)])
        self._write_manifest(sender)
        return path

    def _write_manifest(self, sender: str) -> None:
        text = "platform_id,file_kind,file_name,sha256,row_count,control_sum,sequence_no\n"
        text += "".join(",".join(line) + "\n" for line in self.promises[sender])
        (self.root / self.day.isoformat() / sender / "manifest.csv").write_text(text)

    def judge(self, history: control.History | None = None, known_as_of: datetime | None = None) -> list[Verdict]:
        asked = possible(REGISTRY, [self.day])
        landing = scan(self.root, [self.day], known_as_of)
        found = {file.path: inspect(file) if file.key in asked else fingerprint(file) for file in landing.files}
        return control.judge(asked, landing, found, history or control.History())

    def orders(self, history: control.History | None = None) -> Verdict:
        return next(one for one in self.judge(history) if one.file_name == "P01.orders.csv.gz" and one.sender_id == "P01")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "landing")
    made.fill()
    return made


def faults_of(verdict: Verdict) -> list[RowFault]:
    assert verdict.path is not None
    assert verdict.sha256 is not None
    return [fault for block in blocks(verdict.path, verdict.file_kind, verdict.sha256) for fault in block.faults()]


def good_lines(verdict: Verdict) -> list[int]:
    assert verdict.path is not None
    assert verdict.sha256 is not None
    return [line for block in blocks(verdict.path, verdict.file_kind, verdict.sha256) for line in block.good()[0].to_pylist()]


def test_a_complete_night_is_accepted_with_its_figures(folder: Folder) -> None:
    verdicts = folder.judge()
    assert {verdict.state for verdict in verdicts} == {ACCEPTED}
    assert len(verdicts) == 12
    orders = folder.orders()
    assert (orders.row_count, orders.control_sum, orders.sequence_no, orders.rows_quarantined) == (2, 1550, 31, 0)
    assert good_lines(orders) == [3, 4]


def test_a_night_without_files_is_all_missing(tmp_path: Path) -> None:
    verdicts = Folder(tmp_path / "empty").judge()
    assert [verdict.state for verdict in verdicts] == [MISSING] * 12
    assert verdicts[0].reason == "BANK/P01.gl.csv.gz of 2026-08-31 did not come, nor did the sender's manifest"


BROKEN: dict[str, tuple[dict[str, object], str, str]] = {
    "wrong hash": ({"promised_hash": "0" * 64}, "HASH", f"the manifest says sha256 {'0' * 64}"),
    "missing trailer": ({"lines": lambda lines: lines[:-1]}, "TRAILER", "the last line is not a trailer"),
    "truncated gzip": ({"content": lambda data: data[:-12]}, "TRUNCATED", "ends early"),
    "flipped bits": ({"content": lambda data: data[:-6] + b"\0\0" + data[-4:]}, "TRUNCATED", "is damaged"),
    "binary garbage": ({"content": lambda _: bytes(range(256)) * 9}, "ENCODING", "not gzip"),
    "empty file": ({"content": lambda _: b""}, "HEADER", "line 1 is not a header"),
    "bytes behind the gzip stream": ({"content": lambda data: data + b"more"}, "ENCODING", "bytes follow"),
    "wrong control total": ({"control_sum": 1551}, "CONTROL_TOTAL", "the trailer says 1551, the rows add up to 1550"),
    "lost row": ({"lines": lambda lines: [*lines[:2], *lines[3:]]}, "ROW_COUNT", "says 2 rows, the file has 1"),
    "two trailers": ({"lines": lambda lines: [*lines, lines[-1]]}, "ROW_COUNT", "says 2 rows, the file has 3"),
    "trailer of words": ({"lines": lambda lines: [*lines[:-1], "#TRAILER,2,many"]}, "TRAILER", "control sum is not an integer"),
    "no header": ({"lines": lambda lines: lines[1:]}, "HEADER", "line 1 is not a header"),
    "header of another date": (
        {"lines": lambda lines: [lines[0].replace("-31", "-30"), *lines[1:]]},
        "HEADER",
        "business date is '2026-08-30', the file lies as '2026-08-31'",
    ),
    "header of another platform": (
        {"lines": lambda lines: [lines[0].replace("P01,orders", "P02,orders"), *lines[1:]]},
        "HEADER",
        "platform is 'P02'",
    ),
    "later format version": (
        {"lines": lambda lines: [lines[0].replace("WATCH,1", "WATCH,2"), *lines[1:]]},
        "HEADER",
        "format version is '2'",
    ),
    "other columns": (
        {"lines": lambda lines: [lines[0], lines[1].replace("amount_minor", "amount"), *lines[2:]]},
        "SCHEMA",
        "column 5 is 'amount', orders declares 'amount_minor'",
    ),
    "one column more": ({"lines": lambda lines: [lines[0], lines[1] + ",x", *lines[2:]]}, "SCHEMA", "column 10 is 'x'"),
    "carriage returns": ({"lines": lambda lines: [line + "\r" for line in lines]}, "SCHEMA", "line 1 holds a carriage return"),
    "NUL bytes": ({"lines": lambda lines: [*lines[:3], lines[3] + "\0", lines[4]]}, "SCHEMA", "line 4 holds a NUL byte"),
    "latin-1": (
        {"content": lambda data: gzip.compress(gzip.decompress(data).replace(b"L-7", b"\xfcber"))},
        "ENCODING",
        "line 4 is not UTF-8",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_reason(folder: Folder, name: str) -> None:
    how, code, sentence = BROKEN[name]
    folder.put("P01", "orders", GOOD_ROWS, **how)  # type: ignore[arg-type]
    verdict = folder.orders()
    assert (verdict.state, verdict.reason_code) == (REFUSED, code)
    assert sentence in (verdict.reason or "")
    others = [one.state for one in folder.judge() if one.file_name != verdict.file_name]
    assert others == [ACCEPTED] * 11


BAD_ROWS = {
    "R-3,RECHARGE,A,,12.50,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("amount_minor", "is not an integer of minor units", "'12.50'"),
    "R-3,RECHARGE,A,,ten,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("amount_minor", "is not an integer of minor units", "'ten'"),
    "R-3,RECHARGE,A,,0x1F,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("amount_minor", "is not an integer of minor units", "'0x1F'"),
    "R-3,RECHARGE,A,,-5,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("amount_minor", "from 0 to", "'-5'"),
    "R-3,RECHARGE,A,,9999999999999999,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("amount_minor", "from 0 to", "9999999999999999"),
    "R-3,RECHARGE,A,,,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("amount_minor", "is required and empty", ""),
    "R-3,GIFT,A,,0,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("order_type", "is not one of", "'GIFT'"),
    "R-3,RECHARGE,A,,0,XXX,SUCCESS,2026-08-31T10:00:00Z,": ("currency", "is not one of CNY", "'XXX'"),
    "R-3,RECHARGE,A,,0,CNY,SUCCESS,2026-02-30T10:00:00Z,": ("created_at", "is not a time", "2026-02-30"),
    "R-3,RECHARGE,A,,0,CNY,SUCCESS,2026-08-31T10:00:00,": ("created_at", "with an offset", "'2026-08-31T10:00:00'"),
    "R-3,RECHARGE,A,,0,CNY,SUCCESS,31/08/2026,": ("created_at", "is not a time", "31/08/2026"),
    "R 3,RECHARGE,A,,0,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("request_no", "is not an identifier", "'R 3'"),
    f"R-3,RECHARGE,{'A' * 65},,0,CNY,SUCCESS,2026-08-31T10:00:00Z,": ("account_no", "1–64", "AAAA"),
    "R-3,RECHARGE,A,,0,CNY,SUCCESS": ("*", "the line has 7 fields, 9 are declared", ""),
    'R-3,RECHARGE,"A,,0,CNY,SUCCESS,2026-08-31T10:00:00Z,': ("*", "unclosed quote", ""),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_quarantined_and_the_good_ones_land(folder: Folder, row: str) -> None:
    column, reason, shown = BAD_ROWS[row]
    folder.put("P01", "orders", [GOOD_ROWS[0], row, GOOD_ROWS[1]], control_sum=1550)
    verdict = folder.orders()
    assert (verdict.state, verdict.row_count, verdict.rows_quarantined) == (ACCEPTED, 3, 1), verdict.reason
    (fault,) = faults_of(verdict)
    assert (fault.line_no, fault.column, fault.raw_text) == (4, column, row)
    assert reason in fault.reason
    assert shown in fault.reason
    assert good_lines(verdict) == [3, 5]


def test_an_empty_line_is_a_bad_row_of_its_own(folder: Folder) -> None:
    folder.put("P01", "orders", [GOOD_ROWS[0], "", GOOD_ROWS[1]], control_sum=1550)
    verdict = folder.orders()
    assert (verdict.state, verdict.rows_quarantined) == (ACCEPTED, 1)
    assert {fault.line_no for fault in faults_of(verdict)} == {4}
    assert good_lines(verdict) == [3, 5]


def test_an_unreadable_amount_leaves_the_control_sum_unproved_but_not_the_row_count(folder: Folder) -> None:
    bad = GOOD_ROWS[0].replace("1250", "12.50")
    folder.put("P01", "orders", [bad, GOOD_ROWS[1]], control_sum=1550)
    verdict = folder.orders()
    assert (verdict.state, verdict.rows_quarantined) == (ACCEPTED, 1)
    assert verdict.reason == "the control sum is not proved: 1 amounts cannot be read"
    folder.put("P01", "orders", [bad, GOOD_ROWS[1]], control_sum=1550, lines=lambda lines: [*lines[:3], lines[4]])
    assert folder.orders().reason_code == "ROW_COUNT"


def test_a_readable_amount_of_a_bad_row_still_counts_for_the_control_sum(folder: Folder) -> None:
    folder.put("P01", "orders", [GOOD_ROWS[0], GOOD_ROWS[1].replace("TENDER", "GIFT")])
    verdict = folder.orders()
    assert (verdict.state, verdict.control_sum, verdict.rows_quarantined) == (ACCEPTED, 1550, 1)
    folder.put("P01", "orders", [GOOD_ROWS[0], GOOD_ROWS[1].replace("TENDER", "GIFT")], control_sum=1250)
    assert folder.orders().reason_code == "CONTROL_TOTAL"


def test_february_30_and_a_rate_with_too_many_digits_are_bad_values_of_a_loan(folder: Folder) -> None:
    good = "L-1,C-1,B-1,,10,10,CNY,0.085,ANNUITY,12,2026-02-27,2026-02-28,EDUCATION,A"
    bad_date = good.replace("2026-02-28", "2026-02-30")
    bad_rate = good.replace("0.085", "0.0850001")
    folder.put("P01", "loans", [good, bad_date, bad_rate], control_sum=30)
    verdict = next(one for one in folder.judge() if one.file_kind == "loans")
    assert verdict.state == ACCEPTED
    assert {(fault.line_no, fault.column) for fault in faults_of(verdict)} == {(4, "disbursed_on"), (5, "annual_rate")}
    assert good_lines(verdict) == [3]


def test_the_sequence_rises_by_one_a_business_date(folder: Folder) -> None:
    stream = ("P01", "P01", "orders")
    assert folder.orders(control.History({stream: (DAY - timedelta(days=1), 30)})).state == ACCEPTED
    # the file of the day before was refused: the number rises by the days between
    assert folder.orders(control.History({stream: (DAY - timedelta(days=2), 29)})).state == ACCEPTED
    gap = folder.orders(control.History({stream: (DAY - timedelta(days=1), 28)}))
    assert (gap.state, gap.reason_code) == (REFUSED, "SEQUENCE")
    assert gap.reason == "sequence number 31 came, 29 was due (28 was accepted for 2026-08-30)"


def test_within_a_run_later_dates_continue_earlier_ones_and_a_refused_one_breaks_nothing(tmp_path: Path) -> None:
    days = [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]
    for number, day in enumerate(days, start=7):
        folder = Folder(tmp_path, day, number)
        folder.fill()
        if number == 8:
            folder.put("P01", "orders", GOOD_ROWS, sequence_no=10)
    asked, landing = possible(REGISTRY, days), scan(tmp_path, days, None)
    verdicts = control.judge(asked, landing, {file.path: inspect(file) for file in landing.files}, control.History())
    orders = [(one.state, one.reason_code) for one in verdicts if one.file_kind == "orders"]
    assert orders == [(ACCEPTED, None), (REFUSED, "SEQUENCE"), (ACCEPTED, None)]


def test_a_second_copy_is_refused_as_duplicate_and_the_first_stays(folder: Folder) -> None:
    first = folder.root / "2026-08-31" / "P01" / "P01.orders.csv.gz"
    (first.parent / "P01.orders.copy.csv.gz").write_bytes(first.read_bytes())
    states = {one.file_name: (one.state, one.reason_code, one.file_kind) for one in folder.judge() if "orders" in one.file_name}
    assert states == {
        "P01.orders.csv.gz": (ACCEPTED, None, "orders"),
        "P01.orders.copy.csv.gz": (REFUSED, "DUPLICATE", "orders"),
    }


def test_a_file_sent_again_for_a_later_date_is_a_duplicate(folder: Folder) -> None:
    digest = folder.orders().sha256
    assert digest is not None
    verdict = folder.orders(control.History(hashes={digest: "P01/P01.orders.csv.gz of 2026-08-30"}))
    assert (verdict.state, verdict.reason_code) == (REFUSED, "DUPLICATE")
    assert "the same bytes as P01/P01.orders.csv.gz of 2026-08-30" in (verdict.reason or "")


def test_files_nobody_expects_stay_out_and_disturb_nobody(folder: Folder) -> None:
    day = folder.root / "2026-08-31"
    for name in ("P01/notes.txt", "PC01/P01.orders.csv.gz", "P01/P77.orders.csv.gz", "MALLORY/P01.orders.csv.gz"):
        (day / name).parent.mkdir(exist_ok=True)
        (day / name).write_bytes(b"anything")
    verdicts = folder.judge()
    strange = {f"{one.sender_id}/{one.file_name}": one for one in verdicts if one.state != ACCEPTED}
    assert {one.reason_code for one in strange.values()} == {"UNEXPECTED"}
    assert len(strange) == 4
    assert sum(one.state == ACCEPTED for one in verdicts) == 12


def test_a_copy_under_the_name_of_a_file_nobody_expects_is_unexpected_and_no_duplicate(folder: Folder) -> None:
    day = folder.root / "2026-08-31" / "P01"
    original = (day / "P01.orders.csv.gz").read_bytes()
    (day / "P77.orders.csv.gz").write_bytes(original)
    (day / "copy.csv.gz").write_bytes(original)
    refused = {one.file_name: one.reason_code for one in folder.judge() if one.state != ACCEPTED}
    assert refused == {"P77.orders.csv.gz": "UNEXPECTED", "copy.csv.gz": "DUPLICATE"}


def test_a_file_that_is_still_being_written_is_not_there(folder: Folder) -> None:
    sender = folder.root / "2026-08-31" / "P01"
    (sender / "P01.orders.csv.gz").rename(sender / ".P01.orders.csv.gz")
    verdict = folder.orders()
    assert (verdict.state, verdict.reason_code) == (MISSING, "MISSING")
    assert verdict.reason == "P01/P01.orders.csv.gz of 2026-08-31 did not come, though the sender's manifest came"


def test_what_came_after_known_as_of_is_missing(folder: Folder) -> None:
    noon = datetime(2026, 9, 1, 4, 0, tzinfo=UTC)
    for path in folder.root.rglob("*.*"):
        os.utime(path, (noon.timestamp() - 60, noon.timestamp() - 60))
    late = folder.root / "2026-08-31" / "P01" / "P01.orders.csv.gz"
    os.utime(late, (noon.timestamp() + 1, noon.timestamp() + 1))
    states = {one.file_kind: one.state for one in folder.judge(known_as_of=noon)}
    assert states.pop("orders") == MISSING
    assert set(states.values()) == {ACCEPTED}
    received = next(one.received_at for one in folder.judge() if one.file_kind == "orders")
    assert received == noon + timedelta(seconds=1)


MANIFESTS = {
    "no manifest": (None, "MISSING", "the manifest of P01 did not come"),
    "manifest without the file": (
        "platform_id,file_kind,file_name,sha256,row_count,control_sum,sequence_no\n",
        "MISSING",
        "not name",
    ),
    "manifest of other columns": ("file,hash\n", "SCHEMA", "its first line is not platform_id"),
    "manifest of garbage": ("\udcff\udcfe", "ENCODING", "not UTF-8"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_without_a_promise_nothing_of_a_sender_is_proved(folder: Folder, name: str) -> None:
    text, code, sentence = MANIFESTS[name]
    path = folder.root / "2026-08-31" / "P01" / "manifest.csv"
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    verdicts = folder.judge()
    assert {one.reason_code for one in verdicts if one.sender_id == "P01"} <= {code, "SCHEMA"}
    assert {one.state for one in verdicts if one.sender_id == "P01"} == {REFUSED}
    assert sentence in (folder.orders().reason or "")
    assert {one.state for one in verdicts if one.sender_id != "P01"} == {ACCEPTED}


def test_the_manifest_must_say_the_same_figures_as_the_file(folder: Folder) -> None:
    for column, code in ((4, "ROW_COUNT"), (5, "CONTROL_TOTAL"), (6, "SEQUENCE")):
        folder.put("P01", "orders", GOOD_ROWS)
        folder.promises["P01"][-1][column] += "9"
        folder._write_manifest("P01")
        assert folder.orders().reason_code == code


def test_payments_are_read_only_when_a_manifest_names_them(folder: Folder) -> None:
    row = "PAY-1,L-1,1,P,BORROWERS,500,CNY,2026-07-01"
    folder.put("P01", "payments", [row], control_sum=500)
    assert next(one.state for one in folder.judge() if one.file_kind == "payments") == ACCEPTED
    folder.promises["P01"] = [line for line in folder.promises["P01"] if line[1] != "payments"]
    folder._write_manifest("P01")
    assert next(one.reason_code for one in folder.judge() if one.file_kind == "payments") == "UNEXPECTED"
    folder.put("P01", "payments", [row], control_sum=500)
    (folder.root / "2026-08-31" / "P01" / "P01.payments.csv.gz").unlink()
    assert next(one.state for one in folder.judge() if one.file_kind == "payments") == MISSING


def test_a_platform_is_waited_for_from_its_onboarding_date_on() -> None:
    days = [date(2026, 7, 31), date(2026, 8, 1)]
    assert {expected.business_date for expected in possible(REGISTRY, days)} == {date(2026, 8, 1)}


def test_a_refused_file_is_kept_as_it_came_beside_its_reason_once(folder: Folder, tmp_path: Path) -> None:
    folder.put("P01", "orders", GOOD_ROWS, control_sum=9)
    verdict = folder.orders()
    kept = quarantine.keep(tmp_path / "quarantine", verdict)
    assert quarantine.keep(tmp_path / "quarantine", verdict) == kept
    assert verdict.path is not None
    assert kept.read_bytes() == verdict.path.read_bytes()
    assert '"reason_code": "CONTROL_TOTAL"' in (kept.parent / "REASON.json").read_text()
    assert sorted(path.name for path in kept.parent.iterdir()) == ["P01.orders.csv.gz", "REASON.json"]


def test_a_large_file_is_read_in_blocks_with_the_right_line_numbers(folder: Folder) -> None:
    rows = [f"R-{number},RECHARGE,P01-L-000001,,7,CNY,SUCCESS,2026-08-31T10:00:00Z,{'L' * 60}" for number in range(60_000)]
    rows[59_990] = rows[59_990].replace(",7,", ",7.0,")
    folder.put("P01", "orders", rows, control_sum=7 * 60_000)
    verdict = folder.orders()
    assert (verdict.state, verdict.row_count, verdict.rows_quarantined) == (ACCEPTED, 60_000, 1), verdict.reason
    (fault,) = faults_of(verdict)
    assert (fault.line_no, fault.raw_text) == (59_993, rows[59_990])
    lines = good_lines(verdict)
    assert lines == [number for number in range(3, 60_003) if number != 59_993]


def test_a_file_that_changes_between_proof_and_landing_is_not_landed(folder: Folder) -> None:
    verdict = folder.orders()
    folder.put("P01", "orders", GOOD_ROWS[:1])
    with pytest.raises(Exception, match="changed while it was landed"):
        good_lines(verdict)
