"""Readers of one side's files into blocks of columns with line numbers; bad lines are set apart, never the good ones with them.

A format is a word in `READERS`; a reader gets a file, the source's spec and the columns it must find.
"""

from __future__ import annotations

import codecs
import csv as csv_lines
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from domain.errors import BadInput
from recon import reasons
from recon.reasons import Reason
from recon.spec import SourceSpec

BLOCK_BYTES = 32 * 2**20
LINE_BYTES_MAX = 4 * 2**20
BATCH_ROWS = 262_144
RAW_MAX = 2000
_SAMPLE_BYTES = 2**20
_PRESSED = 5
"""How many times a compressed text of records is usually smaller than itself."""


@dataclass(frozen=True)
class RowFault:
    """Why a line was set apart: 1-based line, column (``*`` = the line as a whole), reason in both
    languages, the line as it came."""

    file: str
    line: int
    column: str
    reason: str
    reason_zh: str
    raw: str

    @staticmethod
    def of(file: str, line: int, column: str, reason: Reason, raw: str) -> RowFault:
        """A fault whose reason is known in both languages."""
        return RowFault(file, line, column, reason.en, reason.zh, raw)


@dataclass(frozen=True)
class Block:
    """Readable rows: columns by name, their line numbers, how to show a row as it came; and the lines that were not readable."""

    table: pa.Table
    lines: pa.Array
    raw: Callable[[int], str]
    broken: list[RowFault] = field(default_factory=list)


Reader = Callable[[Path, SourceSpec, tuple[str, ...]], Iterator[Block]]


def read_csv(path: Path, source: SourceSpec, wanted: tuple[str, ...]) -> Iterator[Block]:
    """Rows of a delimited text file (plain or .gz) in any encoding; a value may be quoted but not span lines."""
    with _opened(path) as stream:
        first_line, names = 1, source.columns
        for _ in range(source.skip_lines):
            stream.readline(LINE_BYTES_MAX)
            first_line += 1
        if source.header:
            head = _decoded_header(stream.readline(LINE_BYTES_MAX), source, path)
            names = source.columns or head
            first_line += 1
        _require(path, wanted, tuple(names or ()))
        for lines in _line_blocks(path, stream, source.trailer_lines):
            yield _csv_block(path, source, tuple(names or ()), wanted, first_line, lines)
            first_line += lines.count(b"\n")


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _decoded_header(line: bytes, source: SourceSpec, path: Path) -> list[str]:
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode(source.encoding).strip("\r\n")
    except UnicodeDecodeError:
        raise BadInput(f"{path.name}: the header is not {source.encoding}") from None
    names = [name.strip() for name in next(csv_lines.reader([text], delimiter=source.delimiter), [])]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BadInput(f"{path.name}: the header repeats {', '.join(repeated)}")
    return names


def _require(path: Path, wanted: tuple[str, ...], names: tuple[str, ...]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadInput(f"{path.name} has no column {', '.join(map(repr, missing))}; it has {', '.join(names[:40]) or 'none'}")


def _line_blocks(path: Path, stream: IO[bytes], held_back: int) -> Iterator[bytes]:
    """Whole lines, each ended by a line feed; the last `held_back` lines of the file are the trailer and left out."""
    rest = b""
    while True:
        try:
            data = stream.read(BLOCK_BYTES)
        except (OSError, EOFError) as error:
            raise BadInput(f"{path.name} cannot be read: {error}") from None
        rest += data
        if not data and rest and not rest.endswith(b"\n"):
            rest += b"\n"
        end = len(rest) if not data else rest.rfind(b"\n") + 1
        for _ in range(held_back if end else 0):
            end = rest.rfind(b"\n", 0, end - 1) + 1 if end else 0
        if end:
            yield rest[:end]
            rest = rest[end:]
        if not data:
            return
        if len(rest) > BLOCK_BYTES + LINE_BYTES_MAX:
            raise BadInput(f"{path.name} has a line of more than {LINE_BYTES_MAX} bytes: is it text?")


def _csv_block(
    path: Path, source: SourceSpec, names: tuple[str, ...], wanted: tuple[str, ...], first_line: int, lines: bytes
) -> Block:
    count = lines.count(b"\n")
    problems = _undecodable(lines, source.encoding) | _open_quotes(lines) | _blank(lines)
    numbers = np.arange(first_line, first_line + count, dtype=np.int64)
    readable = lines
    if problems:
        parts = lines.splitlines(keepends=True) if b"\r" not in lines else [part + b"\n" for part in lines.split(b"\n")[:-1]]
        kept = [index for index in range(count) if index not in problems]
        readable, numbers = b"".join(parts[index] for index in kept), numbers[kept]
    if source.encoding.lower().replace("_", "-") not in {"utf-8", "utf8", "ascii"}:
        readable = readable.decode(source.encoding).encode()
    table, skipped = _split(readable, source.delimiter, names, wanted)
    raw_lines: list[bytes] = []

    def raw(index: int) -> str:
        if not raw_lines:
            raw_lines.extend(readable.split(b"\n"))
        return raw_lines[good[index]].decode("utf-8", "replace").strip("\r")[:RAW_MAX]

    all_lines = lines.split(b"\n") if problems else []
    broken = [
        RowFault.of(
            path.name, first_line + index, "*", reason, all_lines[index].decode(source.encoding, "replace")[:RAW_MAX].strip("\r")
        )
        for index, reason in sorted(problems.items())
        if reason is not None
    ]
    good = np.arange(len(numbers))
    if skipped:
        texts = readable.split(b"\n")
        broken += [
            RowFault.of(
                path.name, int(numbers[index]), "*", reason, texts[index].decode("utf-8", "replace").strip("\r")[:RAW_MAX]
            )
            for index, reason in skipped.items()
        ]
        good = np.delete(good, list(skipped))
    return Block(table, pa.array(numbers[good]), raw, broken)


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip("\r")[:RAW_MAX]


def _undecodable(lines: bytes, encoding: str) -> dict[int, Reason]:
    try:
        lines.decode(encoding)
    except UnicodeDecodeError:
        return {
            index: reasons.not_encoded(encoding) for index, line in enumerate(lines.split(b"\n")) if not _decodes(line, encoding)
        }
    return {}


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _open_quotes(lines: bytes) -> dict[int, Reason]:
    """Lines with an odd number of quotes: they would swallow the lines behind them."""
    if b'"' not in lines:
        return {}
    return {index: reasons.OPEN_QUOTE for index, line in enumerate(lines.split(b"\n")) if line.count(b'"') % 2}


def _blank(lines: bytes) -> dict[int, None]:
    """Empty lines, without a reason: they hold no record and no fault."""
    if b"\n\n" not in lines and b"\n\r\n" not in lines and not lines.startswith((b"\n", b"\r\n")):
        return {}
    return {index: None for index, line in enumerate(lines.split(b"\n")[:-1]) if not line.strip()}


def _split(lines: bytes, delimiter: str, names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[pa.Table, dict[int, Reason]]:
    skipped: dict[int, Reason] = {}

    def skip(row: csv.InvalidRow) -> str:
        skipped[row.number - 1] = reasons.field_count(row.actual_columns, row.expected_columns)
        return "skip"

    if not lines:
        return pa.table({name: pa.array([], pa.string()) for name in wanted}), skipped
    table = csv.read_csv(
        pa.BufferReader(lines),
        read_options=csv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=list(names)),
        parse_options=csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=False,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
            quote_char='"' if b'"' in lines else False,
        ),
        convert_options=csv.ConvertOptions(
            check_utf8=False,
            include_columns=list(wanted),
            column_types={name: pa.string() for name in wanted},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return table, skipped


def read_parquet(path: Path, source: SourceSpec, wanted: tuple[str, ...]) -> Iterator[Block]:
    """Rows of a Parquet file, streamed; a line number is the row's place in the file."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path.name} is not a Parquet file: {error}") from None
    _require(path, wanted, tuple(file.schema_arrow.names))
    first_line = 1
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(wanted)):
        table = pa.Table.from_batches([batch])
        lines = pa.array(np.arange(first_line, first_line + len(table), dtype=np.int64))
        yield Block(table, lines, lambda index, table=table: str(table.slice(index, 1).to_pylist()[0])[:RAW_MAX])  # type: ignore[misc]
        first_line += len(table)


def rows_of(path: Path, source: SourceSpec) -> int:
    """About how many rows a file holds: said by a Parquet file, for text its size over the length of its first lines."""
    try:
        if source.format == "parquet":
            return int(pq.read_metadata(path).num_rows)
        with _opened(path) as stream:
            head = stream.read(_SAMPLE_BYTES)
        size = path.stat().st_size * (_PRESSED if path.suffix == ".gz" else 1)
    except (pa.ArrowInvalid, OSError, EOFError):
        # the reader says what is wrong with it
        return 0
    return int(size * head.count(b"\n") / len(head)) if head else 0


READERS: dict[str, Reader] = {"csv": read_csv, "parquet": read_parquet}
"""By the word a spec's `format` has; other rooms' formats are added by who knows them."""
