"""A block of lines to typed columns and the faults of its rows: good rows land, bad rows go to quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ingest.kinds import Kind
from ingest.values import TIME, Checked, check, reason


@dataclass(frozen=True)
class RowFault:
    """One reason why a line may not land; `column` is ``*`` when the line as a whole is bad."""

    line_no: int
    column: str
    reason: str
    raw_text: str


@dataclass(frozen=True)
class Block:
    """A parsed block: `columns` of its readable lines with `line_nos` and the mask `bad`.

    `broken` holds the lines that have no columns at all, by number, with the reason.
    """

    kind: Kind
    lines: bytes
    first_line: int
    columns: dict[str, Checked]
    texts: pa.Table
    line_nos: pa.Array
    bad: pa.BooleanArray
    broken: dict[int, str]

    @property
    def row_count(self) -> int:
        """Lines of the block, good and bad."""
        return len(self.line_nos) + len(self.broken)

    @property
    def bad_count(self) -> int:
        """Lines that may not land."""
        return (pc.sum(self.bad).as_py() or 0) + len(self.broken)

    def control_sum(self) -> tuple[int, int]:
        """Sum of the readable amounts of the kind's control column, and how many lines have no readable one."""
        if self.kind.sum_column is None:
            return 0, 0
        amounts = self.columns[self.kind.sum_column].values
        # |amount| ≤ 10¹⁵ and a block holds < 10⁷ lines: 64 bits could overflow, a decimal cannot
        total = pc.sum(pc.cast(amounts, pa.decimal128(38, 0)) if len(amounts) > 9000 else amounts).as_py()
        return int(total or 0), amounts.null_count + len(self.broken)

    def good(self) -> tuple[pa.Array, dict[str, pa.Array]]:
        """Line numbers and typed columns of the lines that land."""
        if not pc.any(self.bad).as_py():
            return self.line_nos, {name: column.values for name, column in self.columns.items()}
        keep = pc.invert(self.bad)
        return self.line_nos.filter(keep), {name: column.values.filter(keep) for name, column in self.columns.items()}

    def first_later(self, column: str, limit: datetime) -> tuple[int, datetime] | None:
        """Line number and value of the first line whose time in a column is later than a limit; None when there is none."""
        values = self.columns[column].values
        places = pc.indices_nonzero(pc.fill_null(pc.greater(values, pa.scalar(limit, TIME)), False))
        if not len(places):
            return None
        first = places[0].as_py()
        return self.line_nos[first].as_py(), values[first].as_py()

    def faults(self) -> Iterator[RowFault]:
        """Every fault of the block, by column; only bad lines are touched one by one."""
        if not self.bad_count:
            return
        lines = self.lines.split(b"\n")
        for number, problem in self.broken.items():
            yield RowFault(number, "*", problem, lines[number - self.first_line].decode("utf-8"))
        for column in self.kind.columns:
            for index in pc.indices_nonzero(self.columns[column.name].bad).to_pylist():
                number = self.line_nos[index].as_py()
                raw = lines[number - self.first_line].decode("utf-8")
                yield RowFault(number, column.name, reason(column, self.texts[column.name][index].as_py()), raw)


def parse(kind: Kind, first_line: int, lines: bytes) -> Block:
    """Parse whole lines of a file of `kind`; `first_line` is the number of the first one in its file."""
    count = lines.count(b"\n")
    broken = _open_quotes(lines, first_line)
    readable, numbers = lines, pa.array(np.arange(first_line, first_line + count, dtype=np.int64))
    if broken:
        parts = lines.splitlines(keepends=True)
        kept = [index for index in range(count) if first_line + index not in broken]
        readable, numbers = b"".join(parts[index] for index in kept), numbers.take(pa.array(kept, pa.int64()))
    texts, skipped = _split(kind, readable)
    for index, problem in skipped.items():
        broken[numbers[index].as_py()] = problem
    if skipped:
        gone = set(skipped)
        numbers = numbers.take(pa.array([index for index in range(len(numbers)) if index not in gone], pa.int64()))
    columns = {column.name: check(column, texts[column.name].combine_chunks()) for column in kind.columns}
    bad = pa.array(np.zeros(len(numbers), dtype=bool))
    for column in columns.values():
        bad = pc.or_(bad, column.bad)
    return Block(kind, lines, first_line, columns, texts, numbers, bad, broken)


def _split(kind: Kind, lines: bytes) -> tuple[pa.Table, dict[int, str]]:
    """Columns as text, and the lines (by index) that have another number of fields."""
    skipped: dict[int, str] = {}

    def skip(row: Any) -> str:
        skipped[row.number - 1] = f"the line has {row.actual_columns} fields, {row.expected_columns} are declared"
        return "skip"

    if not lines:
        return pa.table({name: pa.array([], pa.string()) for name in kind.names}), skipped
    table = csv.read_csv(
        pa.BufferReader(lines),
        read_options=csv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=list(kind.names)),
        parse_options=csv.ParseOptions(
            newlines_in_values=False,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
            quote_char='"' if b'"' in lines else False,
        ),
        convert_options=csv.ConvertOptions(
            check_utf8=False,
            column_types={name: pa.string() for name in kind.names},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return table, skipped


def _open_quotes(lines: bytes, first_line: int) -> dict[int, str]:
    """Lines with an odd number of quotes: they would swallow the lines behind them."""
    if b'"' not in lines:
        return {}
    return {
        first_line + index: "the line has an unclosed quote"
        for index, line in enumerate(lines.split(b"\n"))
        if line.count(b'"') % 2
    }
