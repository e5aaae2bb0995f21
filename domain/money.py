"""Money: integer minor units plus a currency, and the two roundings that custody needs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from domain.errors import BadInput

MINOR_DIGITS = {"CNY": 2, "EUR": 2, "GBP": 2, "INR": 2, "USD": 2, "IDR": 2, "JPY": 0}
MAX_AMOUNT_MINOR = 10**15


@dataclass(frozen=True, order=True)
class Money:
    """An amount in minor units of one currency; immutable.

    For example ``Money(12345, "CNY")`` is 123.45 yuan.
    """

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount_minor) is not int:
            raise BadInput(f"amount_minor must be an integer of minor units, not {self.amount_minor!r}")
        if self.currency not in MINOR_DIGITS:
            raise BadInput(f"unknown currency {self.currency!r}")

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def _same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise BadInput(f"{self.currency} and {other.currency} cannot be added")

    def __str__(self) -> str:
        return f"{format_minor(self.amount_minor, self.currency)} {self.currency}"


def format_minor(amount_minor: int, currency: str) -> str:
    """Minor units as a decimal number with thousands separators.

    >>> format_minor(-123456789, "CNY")
    '-1,234,567.89'
    """
    digits = MINOR_DIGITS[currency]
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**digits)
    return f"{sign}{whole:,}" + (f".{part:0{digits}d}" if digits else "")


def parse_minor(text: str, currency: str) -> int:
    """Minor units of a decimal number in major units; refuses what cannot be exact.

    >>> parse_minor("888.49", "CNY")
    88849
    """
    try:
        value = Decimal(text).scaleb(MINOR_DIGITS[currency])
    except ArithmeticError:
        raise BadInput(f"{text!r} is not a decimal number") from None
    if not value.is_finite() or value != value.to_integral_value():
        raise BadInput(f"{text!r} has more digits than {currency} allows")
    return int(value)


def round_half_up(value: Decimal) -> int:
    """Nearest integer of minor units, halves away from zero (spec 05 section 5.1).

    >>> round_half_up(Decimal("0.5")), round_half_up(Decimal("-0.5"))
    (1, -1)
    """
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def largest_remainder(total_minor: int, weights: list[int]) -> list[int]:
    """Split a total in proportion to weights so that the parts add up exactly (spec 05 section 5.1).

    Ties go to the earlier part. Raises BadInput when all weights are zero or one is negative.

    >>> largest_remainder(100, [1, 1, 1])
    [34, 33, 33]
    """
    weight_sum = sum(weights)
    if weight_sum <= 0 or min(weights) < 0:
        raise BadInput("weights must be non-negative and not all zero")
    parts, remainders = [], []
    for index, weight in enumerate(weights):
        part, remainder = divmod(total_minor * weight, weight_sum)
        parts.append(part)
        remainders.append((-remainder, index))
    for _, index in sorted(remainders)[: total_minor - sum(parts)]:
        parts[index] += 1
    return parts
