"""CSV for people and programs: money in major units, text that no spreadsheet runs, lines gathered into blocks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from domain.money import MINOR_DIGITS, format_minor

BLOCK_BYTES = 65_536
BOM = b"\xef\xbb\xbf"


def column(name: str, kind: str, currency: str) -> str:
    """One column as SQL: money in major units with its cents, text that no spreadsheet takes for a formula."""
    if kind == "text":
        return f"CASE WHEN {name} ~ '^[=+@\\t\\r-]' THEN '''' || {name} ELSE {name} END AS {name}"
    if kind.endswith("_minor"):
        digits = MINOR_DIGITS.get(currency, 0)
        return f"round({kind} / {10**digits}::numeric, {digits}) AS {name}"
    return name


def format_plain(amount_minor: int, currency: str) -> Decimal:
    """Minor units as a decimal number of major units, for files.

    >>> format_plain(-123456, "CNY")
    Decimal('-1234.56')
    """
    return Decimal(format_minor(amount_minor, currency).replace(",", ""))


def safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers and dates stay what they are.

    >>> safe("=1+1"), safe("plain"), safe(Decimal("-1.50"))
    ("'=1+1", 'plain', Decimal('-1.50'))
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value.isoformat() if isinstance(value, date | datetime) else value


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows as CSV with their header line."""

    def lines() -> Iterator[bytes]:
        for cells in (names, *([safe(row[name]) for name in names] for row in rows)):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(cells)
            yield text.getvalue().encode()

    return in_blocks(lines())


def in_blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines gathered into blocks: each block that leaves costs a change of threads."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
