"""What the columns of an unknown file look like: amounts, dates, times, currencies, signs, or text with so many distinct
values."""

from __future__ import annotations

import csv as csv_lines
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.errors import BadInput
from domain.money import MINOR_DIGITS
from recon import values
from recon.sources import READERS
from recon.spec import FieldSpec, SourceSpec

ROWS_READ_MAX = 200_000
SHARE = 0.9
ENCODINGS = ("utf-8", "gb18030")
DELIMITERS = ",;|\t"
DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%y%m%d")
TIME_FORMATS = ("iso", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%d.%m.%Y %H:%M:%S")
SIGN_WORDS = {
    "D": "debit",
    "C": "credit",
    "DR": "debit",
    "CR": "credit",
    "借": "debit",
    "贷": "credit",
    "DEBIT": "debit",
    "CREDIT": "credit",
}
_HEAD_BYTES = 2**16

Kind = Literal["amount", "date", "time", "currency", "sign", "text", "empty"]


@dataclass(frozen=True)
class Shape:
    """One column: its kind, what to say of it in a spec, and how many of its values are given and distinct."""

    name: str
    kind: Kind
    options: dict[str, Any]
    values: pa.Array
    given: int
    distinct: int

    @property
    def uniqueness(self) -> float:
        """Distinct values over given ones."""
        return self.distinct / self.given if self.given else 0.0


@dataclass(frozen=True)
class FileShape:
    """A file: how it is read, and its columns by name, from its first ROWS_READ_MAX rows."""

    options: dict[str, Any]
    rows: int
    columns: dict[str, Shape] = field(default_factory=dict)

    def of(self, *kinds: Kind) -> list[Shape]:
        """Columns of some kinds."""
        return [shape for shape in self.columns.values() if shape.kind in kinds]


def look_at(path: Path) -> FileShape:
    """The shape of a CSV or Parquet file; BadInput when it is neither."""
    if path.suffix == ".parquet":
        options: dict[str, Any] = {"format": "parquet"}
        try:
            names = pq.ParquetFile(path).schema_arrow.names
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{path.name} is not a Parquet file: {error}") from None
    else:
        options, names = _csv_options(path)
    source = SourceSpec.model_validate(options | {"fields": {}})
    tables, rows = [], 0
    for block in READERS[source.format](path, source, tuple(names)):
        tables.append(block.table.slice(0, ROWS_READ_MAX - rows))
        rows += len(tables[-1])
        if rows >= ROWS_READ_MAX:
            break
    if not rows:
        raise BadInput(f"{path.name} has no readable rows")
    table = pa.concat_tables(tables)
    return FileShape(options, rows, {name: _shape(name, table[name].combine_chunks()) for name in names})


def _csv_options(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Encoding and delimiter of a delimited text file with a header, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    whole = head[: head.rfind(b"\n") + 1] or head
    for encoding in ENCODINGS:
        try:
            text = whole.decode(encoding)
        except UnicodeDecodeError:
            continue
        first = text.splitlines()[0].removeprefix("\ufeff") if text.strip() else ""
        delimiter = max(DELIMITERS, key=first.count)
        names = [name.strip() for name in next(csv_lines.reader([first], delimiter=delimiter), [])]
        if len(names) > 1:
            return {"format": "csv", "encoding": encoding, "delimiter": delimiter}, names
    raise BadInput(f"{path.name} is no delimited text with a header in {' or '.join(ENCODINGS)}")


def _shape(name: str, column: pa.Array) -> Shape:
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    texts = values.text(plain, ["trim"])
    given = len(texts) - texts.null_count
    kind, options = _kind(plain, texts, given)
    return Shape(
        name, kind, options, plain if kind == "amount" else texts, given, pc.count_distinct(texts, mode="only_valid").as_py()
    )


def _kind(column: pa.Array, texts: pa.Array, given: int) -> tuple[Kind, dict[str, Any]]:
    if not given:
        return "empty", {}
    words = set(pc.unique(texts).drop_null().to_pylist()[:50])
    if words <= set(MINOR_DIGITS):
        return "currency", {}
    if words <= set(SIGN_WORDS) and len(words) == 2:
        return "sign", {"negative": sorted(word for word in words if SIGN_WORDS[word] == "debit")}
    for form in TIME_FORMATS:
        if _reads(values.moment(column, FieldSpec(type="time", column="c", formats=[form]), "UTC").values, given):
            return "time", {"formats": [form]}
    for form in DATE_FORMATS:
        if not pa.types.is_integer(column.type) and _reads(
            values.day(column, FieldSpec(type="date", column="c", formats=[form])).values, given
        ):
            return "date", {"formats": [form]}
    options = _amount(column, texts, given)
    return ("amount", options) if options is not None else ("text", {})


def _amount(column: pa.Array, texts: pa.Array, given: int) -> dict[str, Any] | None:
    """How amounts are written, or None: text needs decimals or a sign somewhere, else whole numbers could be ids."""
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type) or pa.types.is_integer(column.type):
        return {"unit": "minor" if pa.types.is_integer(column.type) else "major"}
    for mark, grouping in ((".", ","), (",", ".")):
        declared = FieldSpec(type="amount", column="c", decimal_mark=mark, grouping=grouping)  # type: ignore[arg-type]
        if not _reads(values.amount(texts, declared).values, given):
            continue
        marked = pc.any(pc.match_substring(texts, mark)).as_py()
        if marked:
            return {"unit": "major", "decimal_mark": mark, "grouping": grouping}
        short = (pc.max(pc.utf8_length(texts)).as_py() or 0) <= 12
        zeros = pc.any(pc.match_substring_regex(texts, "^0[0-9]")).as_py()
        if short and not zeros:
            return {"unit": "minor"}
    return None


def _reads(parsed: pa.Array, given: int) -> bool:
    return len(parsed) - parsed.null_count >= SHARE * given


def pattern_of(texts: Iterable[str]) -> str | None:
    """A pattern of one group that most ids have, such as ``(ORD\\d+)``; None when they share no lettered beginning."""
    starts = {match.group(0) for text in texts if (match := re.match(r"[A-Za-z]+[-_]?(?=\d)", text))}
    if len(starts) != 1:
        return None
    return f"({re.escape(starts.pop())}\\d+)"
