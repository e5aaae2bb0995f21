"""Columns of a delimited file: texts to typed Arrow arrays by a layout, without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.statements import amounts
from ingest.statements.currencies import DIGITS
from ingest.statements.layout import Column, Layout
from ingest.statements.source import Limits
from ingest.values import RATE, cast_or_null

_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
_RATE = r"^[0-9]{1,3}(\.[0-9]{1,6})?$"
_INT = r"^[0-9]{1,18}$"
# where year, month and day lie in a form
_DATE_SLICES = {
    "YYYY/MM/DD": ((0, 4), (5, 7), (8, 10)),
    "YYYYMMDD": ((0, 4), (4, 6), (6, 8)),
    "DD.MM.YYYY": ((6, 10), (3, 5), (0, 2)),
    "DD/MM/YYYY": ((6, 10), (3, 5), (0, 2)),
    "MM/DD/YYYY": ((6, 10), (0, 2), (3, 5)),
}
_DATE_PATTERNS = {
    "YYYY/MM/DD": r"^[0-9]{4}/[0-9]{2}/[0-9]{2}$",
    "YYYYMMDD": r"^[0-9]{8}$",
    "DD.MM.YYYY": r"^[0-9]{2}\.[0-9]{2}\.[0-9]{4}$",
    "DD/MM/YYYY": r"^[0-9]{2}/[0-9]{2}/[0-9]{4}$",
    "MM/DD/YYYY": r"^[0-9]{2}/[0-9]{2}/[0-9]{4}$",
}


@dataclass(frozen=True)
class Typed:
    """A column typed, null where empty or bad, and the mask of what is bad (a required text that is missing, too)."""

    values: pa.Array
    bad: pa.BooleanArray


def typed(layout: Layout, column: Column, texts: pa.StringArray, codes: pa.StringArray | str, limits: Limits) -> Typed:
    """One column by its type; `codes` are the currencies of the rows, or of all."""
    kind = layout.type_of(column)
    if kind == "amount":
        if layout.thousands:
            texts = pc.replace_substring(texts, layout.thousands, "")
        made = amounts.column(texts, codes, layout.unit)
        values, bad = made.values, made.bad
    elif kind in {"date", "word", "currency"}:
        values, bad = _by_distinct(texts, lambda distinct: _distinct(kind, column, distinct, limits))
    elif kind == "time":
        values, bad = _lost(texts, _time(column.form or "", texts, layout.zone))
    elif kind == "rate":
        values, bad = _lost(texts, pc.cast(_only(texts, pc.match_substring_regex(texts, _RATE)), RATE))
    elif kind == "int":
        values, bad = _lost(texts, pc.cast(_only(texts, pc.match_substring_regex(texts, _INT)), pa.int64()))
    else:
        values, bad = texts, pa.array(np.zeros(len(texts), dtype=bool))
    if column.one_of:
        strange = pc.and_(pc.is_valid(texts), pc.invert(pc.is_in(texts, value_set=pa.array(column.one_of, pa.string()))))
        bad = pc.or_(bad, strange)
    if column.required:
        bad = pc.or_(bad, pc.is_null(texts))
    return Typed(values, bad)


def type_of(layout: Layout, column: Column) -> pa.DataType:
    """Arrow type of a column once typed."""
    types = {"amount": pa.int64(), "int": pa.int64(), "rate": RATE, "date": pa.date32(), "time": pa.timestamp("us", tz="UTC")}
    return types.get(layout.type_of(column), pa.string())


def reason(layout: Layout, column: Column, text: str | None) -> str:
    """Why a value may not land, in one sentence."""
    if text is None:
        return f"{column.name} is required and empty"
    kinds = {
        "amount": "an amount in fen" if layout.unit == "minor" else "an amount with the currency's decimals",
        "date": f"a date of the calendar ({column.form}) near the day of reading",
        "time": f"a time of the calendar ({column.form})",
        "currency": "a currency of ISO 4217",
        "int": "a whole number",
        "rate": "a rate with at most six decimals",
        "word": f"one of {', '.join(column.words or ())}",
    }
    should = f"one of {', '.join(column.one_of)}" if column.one_of else kinds.get(layout.type_of(column), "a text")
    return f"{column.name} is not {should}: {text[:64]!r}"


def _by_distinct(texts: pa.StringArray, parse: Callable[[pa.StringArray], pa.Array]) -> tuple[pa.Array, pa.BooleanArray]:
    """Parse each distinct text once: dates, currencies and words repeat in every row."""
    encoded = pc.dictionary_encode(texts)
    return _lost(texts, pc.take(parse(encoded.dictionary), encoded.indices))


def _lost(texts: pa.StringArray, values: pa.Array) -> tuple[pa.Array, pa.BooleanArray]:
    return values, pc.and_(pc.is_valid(texts), pc.is_null(values))


def _only(texts: pa.StringArray, fits: pa.BooleanArray) -> pa.StringArray:
    return pc.if_else(fits, texts, pa.scalar(None, pa.string()))


def _distinct(kind: str, column: Column, texts: pa.StringArray, limits: Limits) -> pa.Array:
    if kind == "date":
        return _date(column.form or "", texts, limits)
    words = {code: code for code in DIGITS} if kind == "currency" else column.words or {}
    at = pc.index_in(texts, value_set=pa.array(list(words), pa.string()))
    return pc.take(pa.array(list(words.values()), pa.string()), at)


def _date(form: str, texts: pa.StringArray, limits: Limits | None) -> pa.Array:
    """Dates of the calendar, near the day of reading when limits are given."""
    if form in _DATE_SLICES:
        fits = _only(texts, pc.match_substring_regex(texts, _DATE_PATTERNS[form]))
        texts = pc.binary_join_element_wise(*(pc.utf8_slice_codeunits(fits, *at) for at in _DATE_SLICES[form]), "-")
    days = (
        cast_or_null(_only(texts, pc.match_substring_regex(texts, _ISO_DATE)), pa.date32())
        if len(texts)
        else pa.nulls(0, pa.date32())
    )
    if limits is None:
        return days
    years = pc.year(days)
    first, last = limits.as_of.year - limits.years_back_max, limits.as_of.year + limits.years_ahead_max
    near = pc.and_(pc.greater_equal(years, first), pc.less_equal(years, last))
    return pc.if_else(near, days, pa.scalar(None, pa.date32()))


def _time(form: str, texts: pa.StringArray, zone: str) -> pa.Array:
    """UTC moments of local times."""
    if form == "YYYYMMDDHHMMSS":
        return _utc(_digits(texts), zone)
    if form == "YYYY/MM/DD HH:MM:SS":
        texts = pc.replace_substring(texts, "/", "-")
    elif form == "YYYY-MM-DDTHH:MM:SS":
        texts = pc.replace_substring(texts, "T", " ", max_replacements=1)
    fits = _only(texts, pc.match_substring_regex(texts, _ISO_TIME))
    local = cast_or_null(fits, pa.timestamp("us")) if len(fits) else pa.nulls(0, pa.timestamp("us"))
    return _utc(local, zone)


def _utc(local: pa.TimestampArray, zone: str) -> pa.TimestampArray:
    return pc.cast(pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest"), pa.timestamp("us", tz="UTC"))


def _digits(texts: pa.StringArray) -> pa.TimestampArray:
    """Local times of fourteen digits by arithmetic: cutting texts into slices costs ten times as much."""
    if amounts.is_made_of(texts, b"0123456789"):
        fits = pc.equal(pc.binary_length(texts), 14)
    else:
        fits = pc.match_substring_regex(texts, r"^[0-9]{14}$")
    numbers = pc.fill_null(pc.cast(_only(texts, fits), pa.int64()), 0).to_numpy()
    encoded = pc.dictionary_encode(pa.array(numbers // 10**6))
    dates = _date("YYYYMMDD", pc.cast(encoded.dictionary, pa.string()), None)
    days = pc.take(pc.cast(pc.cast(dates, pa.int32()), pa.int64()), encoded.indices)
    clock = numbers % 10**6
    hours, minutes, seconds = clock // 10000, clock // 100 % 100, clock % 100
    is_time = (hours < 24) & (minutes < 60) & (seconds < 60)
    micros = (hours * 3600 + minutes * 60 + seconds) * 10**6
    moments = pc.add(pc.multiply(days, 86400 * 10**6), pa.array(micros, mask=~is_time))
    return pc.cast(moments, pa.timestamp("us"))
