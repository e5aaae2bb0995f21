"""One column of a block: text values checked against its declaration and cast, without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import WrongUse
from domain.money import MAX_AMOUNT_MINOR
from ingest.kinds import Column

TIME = pa.timestamp("us", tz="UTC")
RATE = pa.decimal128(9, 6)
TEXT_MAX = 512
INT_MAX = 2**31 - 1
DIGITS_MAX = len(str(-MAX_AMOUNT_MINOR))


@dataclass(frozen=True)
class Checked:
    """A typed column, null where a value is missing or bad, and the mask of the rows that may not land."""

    values: pa.Array
    bad: pa.BooleanArray


def check(column: Column, texts: pa.StringArray) -> Checked:
    """Check and cast one column of texts; a null text is an empty field.

    For example ``check(Column("amount_minor", "minor", True), pa.array(["1250", "12.50"])).bad`` is ``[false, true]``.
    """
    values = _PARSERS[column.type](column, texts)
    lost = pc.and_(pc.is_valid(texts), pc.is_null(values))
    bad = pc.or_(lost, pc.is_null(texts)) if column.required else lost
    return Checked(values, bad)


def reason(column: Column, text: str | None) -> str:
    """Why a value may not land, in one sentence for people."""
    if text is None:
        return f"{column.name} is required and empty"
    problem = f"one of {', '.join(column.words)}" if column.words else _SHOULD_BE[column.type]
    shown = text if len(text) <= 64 else text[:64] + "…"
    return f"{column.name} is not {problem}: {shown!r}"


_SHOULD_BE: Mapping[str, str] = {
    "id": "an identifier of 1–64 letters, digits and ._:#-",
    "code": "a code of 1–32 capitals, digits, _ and -",
    "text": f"text of at most {TEXT_MAX} characters without control characters",
    "word": "an allowed word",
    "minor": f"an integer of minor units from 0 to {MAX_AMOUNT_MINOR}",
    "signed": f"an integer of minor units within ±{MAX_AMOUNT_MINOR}",
    "int": f"an integer from 0 to {INT_MAX}",
    "count": f"an integer from 0 to {MAX_AMOUNT_MINOR}",
    "date": "a date of the calendar (YYYY-MM-DD)",
    "time": "a time of RFC 3339 with an offset",
    "percent": "an integer from 0 to 100",
    "polarity": "an integer from -100 to 100",
    "tier": "an integer from 1 to 4",
    "rate": "a decimal number with at most 3 digits before and 6 behind the point",
}


def _only(texts: pa.StringArray, fits: pa.BooleanArray) -> pa.StringArray:
    """The texts that fit; null for the others."""
    return pc.if_else(fits, texts, pa.scalar(None, pa.string()))


def _pattern(pattern: str, length_max: int) -> Callable[[Column, pa.StringArray], pa.Array]:
    def parse(_: Column, texts: pa.StringArray) -> pa.Array:
        # the length apart from the pattern: a bounded repetition costs milliseconds to compile, for every block
        short = pc.less_equal(pc.utf8_length(texts), length_max)
        return _only(texts, pc.and_(short, pc.match_substring_regex(texts, pattern)))

    return parse


def _word(column: Column, texts: pa.StringArray) -> pa.Array:
    return _only(texts, pc.is_in(texts, value_set=pa.array(column.words, pa.string())))


def _integer(pattern: str, low: int, high: int, value_type: pa.DataType) -> Callable[[Column, pa.StringArray], pa.Array]:
    def parse(_: Column, texts: pa.StringArray) -> pa.Array:
        # the pattern first: Arrow's own cast also takes hexadecimal
        fits = pc.and_(pc.less_equal(pc.binary_length(texts), DIGITS_MAX), pc.match_substring_regex(texts, pattern))
        numbers = pc.cast(_only(texts, fits), pa.int64())
        within = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
        return pc.cast(pc.if_else(within, numbers, pa.scalar(None, pa.int64())), value_type)

    return parse


def _calendar(pattern: str, value_type: pa.DataType) -> Callable[[Column, pa.StringArray], pa.Array]:
    def parse(_: Column, texts: pa.StringArray) -> pa.Array:
        return cast_or_null(_only(texts, pc.match_substring_regex(texts, pattern)), value_type)

    return parse


def cast_or_null(texts: pa.StringArray, value_type: pa.DataType) -> pa.Array:
    """Cast every value that can be cast; the others become null.

    Halves the array around a bad value, so that a clean block costs one cast.
    """
    try:
        return pc.cast(texts, value_type)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, value_type)
        middle = len(texts) // 2
        return pa.concat_arrays([cast_or_null(texts[:middle], value_type), cast_or_null(texts[middle:], value_type)])


def arrow_type(column: Column) -> pa.DataType:
    """Arrow type of a column once cast (the lake's type of the same column)."""
    types: Mapping[str, pa.DataType] = {
        "minor": pa.int64(),
        "signed": pa.int64(),
        "count": pa.int64(),
        "int": pa.int32(),
        "percent": pa.int32(),
        "polarity": pa.int32(),
        "tier": pa.int32(),
        "date": pa.date32(),
        "time": TIME,
        "rate": RATE,
    }
    if column.type not in _PARSERS:
        raise WrongUse(f"column {column.name} is declared with the unknown type {column.type!r}")
    return types.get(column.type, pa.string())


_WHOLE = r"^(0|[1-9][0-9]*)$"
_SIGNED = r"^(0|-?[1-9][0-9]*)$"
_PARSERS: Mapping[str, Callable[[Column, pa.StringArray], pa.Array]] = {
    "id": _pattern(r"^[A-Za-z0-9._:#-]+$", 64),
    "code": _pattern(r"^[A-Z0-9_-]+$", 32),
    "text": _pattern(r"^[^\x00-\x1f\x7f]+$", TEXT_MAX),
    "word": _word,
    "minor": _integer(_WHOLE, 0, MAX_AMOUNT_MINOR, pa.int64()),
    "signed": _integer(_SIGNED, -MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR, pa.int64()),
    "int": _integer(_WHOLE, 0, INT_MAX, pa.int32()),
    "count": _integer(_WHOLE, 0, MAX_AMOUNT_MINOR, pa.int64()),
    "percent": _integer(_WHOLE, 0, 100, pa.int32()),
    "polarity": _integer(_SIGNED, -100, 100, pa.int32()),
    "tier": _integer(_WHOLE, 1, 4, pa.int32()),
    "date": _calendar(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", pa.date32()),
    "time": _calendar(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$", TIME),
    "rate": _calendar(r"^(0|[1-9][0-9]{0,2})(\.[0-9]{1,6})?$", RATE),
}
