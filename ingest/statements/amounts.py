"""Amounts as text to integer minor units: exactly, or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.money import MAX_AMOUNT_MINOR
from ingest.statements.currencies import DIGITS, DIGITS_MAX
from ingest.statements.refusal import Place, Refused

_DECIMAL = re.compile(r"([+-]?)([0-9]{0,16})(?:[.,]([0-9]{0,15}))?")
_WHOLE = re.compile(r"([+-]?)([0-9]{1,16})")
# what the columnar form reads: at most as many decimals as any currency has, zeros behind them apart
_COLUMN = r"^[+-]?([0-9]{1,16}(\.[0-9]{0,4})?|\.[0-9]{1,4})$"


def currency(text: str, place: Place) -> str:
    """The code when it is a currency of ISO 4217; refuses with CURRENCY."""
    if text not in DIGITS:
        raise Refused("CURRENCY", place, f"{text[:20]!r} is not a currency of ISO 4217")
    return text


def minor(text: str, code: str, place: Place) -> int:
    """Signed minor units of a decimal number in major units; point or comma, no thousands separators.

    >>> minor("1000,", "EUR", Place("a.sta")), minor("-0.5", "KWD", Place("a.sta"))
    (100000, -500)
    """
    found = _DECIMAL.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        raise Refused("SCHEMA", place, f"{text[:40]!r} is not an amount")
    decimals, digits = (found[3] or "").rstrip("0"), DIGITS[code]
    if len(decimals) > digits:
        raise Refused("SCHEMA", place, f"{text} has more decimals than {code} allows ({digits})")
    return _signed(found[1], int((found[2] or "0") + decimals.ljust(digits, "0")), text, place)


def whole(text: str, place: Place) -> int:
    """Signed minor units of a number that is minor units already (implied decimals).

    >>> whole("+12345", Place("a.bai"))
    12345
    """
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise Refused("SCHEMA", place, f"{text[:40]!r} is not an amount without a decimal point")
    return _signed(found[1], int(found[2]), text, place)


def _signed(sign: str, value: int, text: str, place: Place) -> int:
    if value > MAX_AMOUNT_MINOR:
        raise Refused("SCHEMA", place, f"{text} is more than the largest amount, {MAX_AMOUNT_MINOR} minor units")
    return -value if sign == "-" else value


def shown(amount_minor: int, code: str) -> str:
    """Minor units as a decimal number with thousands separators, in any currency of ISO 4217.

    >>> shown(-1234567, "KWD"), shown(5, "JPY")
    ('-1,234.567', '5')
    """
    digits = DIGITS[code]
    whole, part = divmod(abs(amount_minor), 10**digits)
    return f"{'-' if amount_minor < 0 else ''}{whole:,}" + (f".{part:0{digits}d}" if digits else "")


@dataclass(frozen=True)
class Column:
    """A column of amounts: signed minor units, null where the text is empty or bad, and the mask of the bad ones."""

    values: pa.Int64Array
    bad: pa.BooleanArray


def column(texts: pa.StringArray, codes: pa.StringArray | str, unit: str) -> Column:
    """Minor units of many texts at once, without a loop over rows.

    `unit` is "major" (decimals by the currency in `codes`) or "minor" (fen). A text that is not exact is bad, never rounded.
    """
    decimals = _decimals(texts)
    scaled, is_negative, is_small = _unscaled(decimals)
    divisor = _divisors(codes, len(texts)) if unit == "major" else np.full(len(texts), 10**DIGITS_MAX, dtype=np.uint64)
    known = divisor > 0
    values = scaled // np.maximum(divisor, 1)
    valid = decimals.is_valid().to_numpy(zero_copy_only=False)
    exact = valid & known & is_small & (values * divisor == scaled) & (values <= MAX_AMOUNT_MINOR)
    signed = np.where(exact, values, 0).astype(np.int64) * np.where(is_negative, -1, 1)
    missing = texts.is_null().to_numpy(zero_copy_only=False)
    return Column(pa.array(signed, pa.int64(), mask=~exact), pa.array(~exact & ~missing))


def _decimals(texts: pa.StringArray) -> pa.Decimal128Array:
    """Decimals with four places, null for what is none.

    Arrow's cast takes exponents too, and fails at the first text that is no number. Texts of digits, signs and points alone can
    be cast at once; any other column is sifted by the pattern first.
    """
    kind = pa.decimal128(24, DIGITS_MAX)
    if is_made_of(texts, b"0123456789.+-"):
        try:
            return pc.cast(texts, kind)
        except pa.ArrowInvalid:
            pass
    fits = pc.match_substring_regex(texts, _COLUMN)
    return pc.cast(pc.if_else(fits, texts, pa.scalar(None, pa.string())), kind)


def is_made_of(texts: pa.StringArray, letters: bytes) -> bool:
    """Whether all texts together hold no other bytes than these; a hundred times as quick as a pattern."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return True
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return not data.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pybytes().translate(None, letters)


def _unscaled(decimals: pa.Decimal128Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integers inside a decimal column: magnitudes, which are negative, which fit 64 bits."""
    if not len(decimals):
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
    words = np.frombuffer(decimals.buffers()[1], dtype=np.uint64)[2 * decimals.offset : 2 * (decimals.offset + len(decimals))]
    low, high = words[::2], words[1::2].astype(np.int64)
    is_negative = high < 0
    # two's complement over two words: a negative number that fits one word has nothing but ones above it
    return np.where(is_negative, ~low + np.uint64(1), low), is_negative, (high == 0) | (high == -1)


def _divisors(codes: pa.StringArray | str, count: int) -> np.ndarray:
    """Per row what turns four decimals into the currency's own; 0 is no currency (it makes every value inexact)."""
    if isinstance(codes, str):
        return np.full(count, 10 ** (DIGITS_MAX - DIGITS[codes]), dtype=np.uint64)
    known = pa.array(list(DIGITS), pa.string())
    at = pc.fill_null(pc.index_in(codes, value_set=known), len(known)).to_numpy(zero_copy_only=False)
    return np.array([10 ** (DIGITS_MAX - digits) for digits in DIGITS.values()] + [0], dtype=np.uint64)[at]
