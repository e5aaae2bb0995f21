"""Reading one file: once to find out whether it holds what it says, once more to land its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from domain.errors import Failed
from ingest.kinds import FORMAT_VERSION, KINDS, KNOWABLE_AT, Kind
from ingest.records import Arrived, Found
from ingest.rows import Block, parse
from ingest.stream import BLOCK_BYTES, FileFault, GzipLines

_INT64 = 2**63


@dataclass
class _Totals:
    """Counts and sums over the blocks of one file."""

    rows: int = 0
    bad: int = 0
    control_sum: int = 0
    unreadable: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)

    def add(self, block: Block) -> None:
        control_sum, unreadable = block.control_sum()
        self.rows += block.row_count
        self.bad += block.bad_count
        self.control_sum += control_sum
        self.unreadable += unreadable


def inspect(arrived: Arrived, closes_at: datetime | None = None) -> Found:
    """Read a file to its end and check it against itself: gzip, UTF-8, header, names, rows, trailer (spec 07 section 7.6).

    `closes_at` is when the file's business date closes: a row knowable only later makes it a file from the future.
    Never raises for what a file may hold; every fault is in the result. The manifest, the sequence and duplicates are judged
    later (`ingest.control`).
    """
    kind, totals = KINDS[arrived.kind], _Totals()
    sequence_no: int | None = None
    with GzipLines(arrived.path) as lines:
        try:
            sequence_no = _check_header(lines.line(1), arrived, totals.faults)
            _check_names(lines.line(2), kind)
            for first_line, block in lines.blocks():
                parsed = parse(kind, first_line, block)
                totals.add(parsed)
                _check_knowable(parsed, closes_at, totals.faults)
            _check_trailer(lines.last_line, totals)
        except FileFault as fault:
            totals.faults.append((fault.code, fault.sentence))
        sha256 = lines.sha256()
    return Found(
        arrived.path,
        sha256,
        sequence_no,
        totals.rows,
        totals.control_sum,
        totals.bad,
        totals.unreadable,
        tuple(totals.faults),
    )


def fingerprint(arrived: Arrived) -> Found:
    """The hash alone: all that is asked of a file which nobody expects."""
    digest = hashlib.sha256()
    with arrived.path.open("rb") as file:
        while data := file.read(BLOCK_BYTES):
            digest.update(data)
    return Found(arrived.path, digest.hexdigest(), None, 0, 0, 0, 0, ())


def blocks(path: Path, kind: str, sha256: str) -> Iterator[Block]:
    """The parsed blocks of a file that was accepted; raises Failed when it is no longer the file with that hash."""
    with GzipLines(path) as lines:
        lines.line(1)
        lines.line(2)
        for first_line, block in lines.blocks():
            yield parse(KINDS[kind], first_line, block)
        if lines.sha256() != sha256:
            raise Failed(f"{path} changed while it was landed: its hash is no longer {sha256}")


def _check_header(line: str, arrived: Arrived, faults: list[tuple[str, str]]) -> int | None:
    """The sequence number of the header line; other fields that differ from the file's name and folder are faults."""
    fields = line.split(",")
    expected = (
        ("mark", "#FUNDWATCH"),
        ("format version", str(FORMAT_VERSION)),
        ("sender", arrived.sender_id),
        ("platform", arrived.platform_id),
        ("kind", arrived.kind),
        ("business date", arrived.business_date.isoformat()),
    )
    if len(fields) != len(expected) + 1 or fields[0] != "#FUNDWATCH":
        raise FileFault(
            "HEADER", f"line 1 is not a header of {len(expected) + 1} fields that begins with #FUNDWATCH: {line[:80]!r}"
        )
    for (name, value), given in zip(expected, fields, strict=False):
        if value != given:
            faults.append(("HEADER", f"the header's {name} is {given!r}, the file lies as {value!r}"))
    return _integer(fields[-1], "HEADER", "the header's sequence number")


def _check_names(line: str, kind: Kind) -> None:
    given = line.split(",")
    if tuple(given) == kind.names:
        return
    for number, (name, value) in enumerate(zip_longest(kind.names, given, fillvalue="nothing"), start=1):
        if name != value:
            raise FileFault("SCHEMA", f"line 2: column {number} is {value!r}, {kind.kind} declares {name!r}")


def _check_knowable(block: Block, closes_at: datetime | None, faults: list[tuple[str, str]]) -> None:
    """The first row that was not knowable yet when the business date closed refuses the file; one is enough."""
    if closes_at is None or not block.kind.is_knowable or any(code == "FUTURE" for code, _ in faults):
        return
    later = block.first_later(KNOWABLE_AT, closes_at)
    if later:
        line_no, moment = later
        close = closes_at.astimezone(UTC).isoformat()
        faults.append(("FUTURE", f"line {line_no}: {KNOWABLE_AT} {moment.isoformat()} is later than the date's close {close}"))


def _check_trailer(line: str, totals: _Totals) -> None:
    """Rows and control sum of the trailer are those of the rows; the sum is unproved while an amount cannot be read."""
    fields = line.split(",")
    if fields[0] != "#TRAILER" or len(fields) != 3:
        raise FileFault("TRAILER", f"the last line is not a trailer of 3 fields that begins with #TRAILER: {line[:80]!r}")
    rows = _integer(fields[1], "TRAILER", "the trailer's row count")
    control_sum = _integer(fields[2], "TRAILER", "the trailer's control sum")
    if rows != totals.rows:
        totals.faults.append(("ROW_COUNT", f"the trailer says {rows} rows, the file has {totals.rows}"))
    if totals.unreadable == 0 and control_sum != totals.control_sum:
        totals.faults.append(("CONTROL_TOTAL", f"the trailer says {control_sum}, the rows add up to {totals.control_sum}"))
    totals.control_sum = control_sum


def _integer(text: str, code: str, what: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or abs(int(text)) >= _INT64:
        raise FileFault(code, f"{what} is not an integer: {text[:40]!r}")
    return int(text)
