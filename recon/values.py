"""Columns of a block to normalised text, integer minor units, dates and times: whole columns at once, nothing guessed.

Every parser gives the values, null where empty or bad, and the mask of the rows whose value may not be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from domain.money import MAX_AMOUNT_MINOR
from recon import reasons
from recon.reasons import Reason
from recon.spec import PPM, FieldSpec, Normaliser, Pattern, Rate

TIME = pa.timestamp("us", tz="UTC")
_FLOAT_EXACT = 2**53
_ISO = r"^(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?(?:Z|([+-])(\d{2}):?(\d{2}))?$"


@dataclass(frozen=True)
class Parsed:
    """A typed column, and the rows whose value is there and cannot be used, with the reason."""

    values: pa.Array
    bad: pa.Array
    reason: Reason


def text(values: pa.Array, normalisers: list[Normaliser]) -> pa.Array:
    """Text after the normalisers, in their order; empty text is null."""
    texts = values if pa.types.is_string(values.type) else pc.cast(values, pa.string())
    for normaliser in normalisers:
        texts = _normalised(texts, normaliser)
    empty = pc.equal(texts, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), texts) if pc.any(empty).as_py() else texts


def _normalised(texts: pa.Array, normaliser: Normaliser) -> pa.Array:
    if not isinstance(normaliser, Pattern):
        return _NORMALISERS[normaliser](texts)
    whole = f"(?s)^.*?(?:{normaliser.regex}).*$"
    kept = pc.replace_substring_regex(texts, whole, r"\1")
    return pc.if_else(pc.match_substring_regex(texts, normaliser.regex), kept, pa.scalar(None, pa.string()))


_NORMALISERS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "trim": pc.utf8_trim_whitespace,
    "upper": pc.utf8_upper,
    "lower": pc.utf8_lower,
    "nfkc": lambda texts: pc.utf8_normalize(texts, form="NFKC"),
    "digits": lambda texts: pc.replace_substring_regex(texts, "[^0-9]+", ""),
    "no_spaces": lambda texts: pc.replace_substring_regex(texts, r"\s+", ""),
    "strip_zeros": lambda texts: pc.replace_substring_regex(texts, "^0+(.)", r"\1"),
}


def amount(values: pa.Array, field: FieldSpec) -> Parsed:
    """Integer minor units of a column of text, whole numbers, decimals or floating point numbers that fit exactly."""
    decimals = field.decimals if field.unit == "major" else 0
    reason = reasons.not_an_amount(decimals)
    if pa.types.is_floating(values.type):
        return _from_float(pc.cast(values, pa.float64()), decimals, reason)
    if pa.types.is_integer(values.type):
        return _from_integer(values, decimals, reason)
    if pa.types.is_decimal(values.type):
        plain = FieldSpec(type="amount", column=field.column, decimals=decimals)
        return _from_text(pc.cast(values, pa.string()), plain, decimals, reason)
    return _from_text(text(values, ["trim"]), field, decimals, reason)


def _from_text(texts: pa.Array, field: FieldSpec, decimals: int, reason: Reason) -> Parsed:
    mark, grouping = _escaped(field.decimal_mark), _escaped(field.grouping)
    whole = rf"(?:\d+|\d{{1,3}}(?:{grouping}\d{{3}})+)" if grouping else r"\d+"
    fraction = rf"(?:{mark}\d{{0,{decimals}}}0*)?" if decimals else rf"(?:{mark}0*)?"
    readable = pc.fill_null(pc.match_substring_regex(texts, rf"^(?:[+-]?{whole}{fraction}|{whole}{fraction}-)$"), False)
    kept = pc.if_else(readable, texts, pa.scalar(None, pa.string()))
    negative = pc.match_substring(kept, "-")
    digits = pc.replace_substring_regex(kept, rf"[^0-9{mark}]", "")
    integer = pc.replace_substring_regex(digits, rf"{mark}.*$", "")
    part = pc.replace_substring_regex(digits, rf"^[0-9]*{mark}?", "")
    part = (
        pc.utf8_slice_codeunits(pc.utf8_rpad(part, decimals, "0"), 0, decimals)
        if decimals
        else pc.replace_substring_regex(part, ".", "")
    )
    joined = pc.replace_substring_regex(pc.binary_join_element_wise(integer, part, ""), "^0+(.)", r"\1")
    short = pc.less_equal(pc.utf8_length(joined), len(str(MAX_AMOUNT_MINOR)))
    minor = pc.cast(pc.if_else(short, joined, pa.scalar(None, pa.string())), pa.int64())
    minor = pc.if_else(negative, pc.negate(minor), minor)
    return _within(minor, pc.is_valid(texts), reason)


def _from_integer(values: pa.Array, decimals: int, reason: Reason) -> Parsed:
    wide = pc.cast(values, pa.int64(), safe=False)
    # unsigned values beyond 64 signed bits turn negative, and a product must not pass them either
    small = pc.less_equal(pc.abs(wide), MAX_AMOUNT_MINOR)
    sound = pc.and_(small, pc.equal(pc.cast(wide, values.type, safe=False), values))
    if pa.types.is_unsigned_integer(values.type):
        sound = pc.and_(sound, pc.greater_equal(wide, 0))
    kept = wide if pc.all(sound).as_py() else pc.if_else(sound, wide, pa.scalar(None, pa.int64()))
    return _within(pc.multiply(kept, 10**decimals), pc.is_valid(values), reason)


def _from_float(values: pa.Array, decimals: int, reason: Reason) -> Parsed:
    # a value fits when it is the nearest floating point number of some whole number of minor units
    scaled = pc.round(pc.multiply(values, float(10**decimals)))
    same = pc.equal(pc.divide(scaled, float(10**decimals)), values)
    fits = pc.and_(pc.less(pc.abs(scaled), float(_FLOAT_EXACT)), same)
    whole = pc.if_else(pc.fill_null(fits, False), scaled, pa.scalar(None, pa.float64()))
    return _within(pc.cast(whole, pa.int64()), pc.is_valid(values), reason)


def _within(minor: pa.Array, given: pa.Array, reason: Reason) -> Parsed:
    inside = pc.less_equal(pc.abs(minor), MAX_AMOUNT_MINOR)
    kept = pc.if_else(inside, minor, pa.scalar(None, pa.int64()))
    return Parsed(kept, pc.and_(given, pc.is_null(kept)), reason)


def _escaped(mark: str) -> str:
    return "\\" + mark if mark in ".'" else mark


def share(of: pa.Array, rate: Rate) -> pa.Array:
    """rate × |of| half up to one minor unit, between its floor and ceiling, with the sign of `of`."""
    size = pc.abs(of)
    # by parts: the product itself could pass 64 bits
    units, rest = pc.divide(size, PPM), pc.subtract(size, pc.multiply(pc.divide(size, PPM), PPM))
    cut = pc.divide(pc.add(pc.multiply(rest, rate.ppm), PPM // 2), PPM)
    fee = pc.max_element_wise(pc.add(pc.multiply(units, rate.ppm), cut), pa.scalar(rate.min_minor, pa.int64()), skip_nulls=False)
    if rate.max_minor is not None:
        fee = pc.min_element_wise(fee, pa.scalar(rate.max_minor, pa.int64()), skip_nulls=False)
    return pc.if_else(pc.less(of, 0), pc.negate(fee), fee)


def day(values: pa.Array, field: FieldSpec) -> Parsed:
    """Dates of a column of text by the first format that reads them, or of dates and times of a typed column."""
    reason = reasons.not_a_date(field.formats)
    if pa.types.is_date(values.type):
        found = pc.cast(values, pa.date32())
    elif pa.types.is_timestamp(values.type):
        found = pc.cast(pc.local_timestamp(values) if values.type.tz else values, pa.date32(), safe=False)
    else:
        texts = text(values, ["trim"])
        found = pa.nulls(len(texts), pa.date32())
        for form in field.formats:
            found = pc.coalesce(found, pc.cast(_strict(texts, form), pa.date32(), safe=False))
        return Parsed(found, pc.and_(pc.is_valid(texts), pc.is_null(found)), reason)
    return Parsed(found, pc.and_(pc.is_valid(values), pc.is_null(found)), reason)


def moment(values: pa.Array, field: FieldSpec, zone: str) -> Parsed:
    """UTC times; text by the formats (``iso`` reads RFC 3339 with or without an offset), local times are of `zone`."""
    reason = reasons.not_a_time(field.formats)
    if pa.types.is_timestamp(values.type):
        found = pc.cast(values, TIME) if values.type.tz else _utc(pc.cast(values, pa.timestamp("us")), zone)
        return Parsed(found, pc.and_(pc.is_valid(values), pc.is_null(found)), reason)
    texts = text(values, ["trim"])
    found = pa.nulls(len(texts), TIME)
    for form in field.formats:
        one = _iso(texts, zone) if form == "iso" else _utc(pc.cast(_strict(texts, form), pa.timestamp("us")), zone)
        found = pc.coalesce(found, one)
    return Parsed(found, pc.and_(pc.is_valid(texts), pc.is_null(found)), reason)


def _strict(texts: pa.Array, form: str) -> pa.Array:
    """Times that a format reads and writes back as they were: February 30 is no date."""
    read = pc.strptime(texts, format=form, unit="s", error_is_null=True)
    return pc.if_else(pc.equal(pc.strftime(read, format=form), texts), read, pa.scalar(None, read.type))


def _utc(local: pa.Array, zone: str) -> pa.Array:
    return pc.cast(pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest"), TIME)


def _iso(texts: pa.Array, zone: str) -> pa.Array:
    matched = pc.if_else(pc.match_substring_regex(texts, _ISO), texts, pa.scalar(None, pa.string()))
    base = pc.replace_substring(pc.utf8_slice_codeunits(matched, 0, 19), " ", "T")
    whole = pc.cast(_strict(base, "%Y-%m-%dT%H:%M:%S"), pa.timestamp("us"))
    fraction = pc.utf8_rpad(pc.replace_substring_regex(matched, _ISO, r"\2"), 6, "0")
    local = pc.add(whole, pc.cast(pc.cast(fraction, pa.int64()), pa.duration("us")))
    offset = pc.replace_substring_regex(matched, _ISO, r"\3\4\5")
    has_offset = pc.match_substring_regex(matched, r"(?:Z|[+-]\d{2}:?\d{2})$")
    signed = pc.cast(pc.if_else(pc.equal(offset, ""), "0000", pc.utf8_slice_codeunits(offset, 1, 5)), pa.int64())
    minutes = pc.add(pc.multiply(pc.divide(signed, 100), 60), pc.subtract(signed, pc.multiply(pc.divide(signed, 100), 100)))
    minutes = pc.if_else(pc.starts_with(offset, "-"), pc.negate(minutes), minutes)
    shifted = pc.subtract(local, pc.cast(pc.multiply(minutes, 60_000_000), pa.duration("us")))
    return pc.if_else(has_offset, pc.cast(shifted, TIME), _utc(local, zone))
