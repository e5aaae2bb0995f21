"""What a payment company takes for a settlement, by the terms it agreed with the bank (spec 08 section 8.2, break B15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.errors import BadInput

BILLION = 10**9
BASES = ("VOLUME_RECHARGE", "COUNT_TXN")
"""Bases that a settlement batch can be priced by: share of what was recharged, minor units an order."""


@dataclass(frozen=True)
class FeeTerm:
    """Terms of a payment company for a platform while they hold: billionths of the gross amount and minor units an order."""

    platform_id: str
    paycom_id: str
    valid_from: date
    valid_to: date
    rate_ppb: int
    each_minor: int

    def fee_minor(self, gross_minor: int, order_count: int) -> int:
        """Fee of a batch, the share rounded half up once.

        >>> FeeTerm("P01", "PC01", date(2026, 1, 1), date(2026, 12, 31), 250_000, 0).fee_minor(100_000, 3)
        25
        """
        return (gross_minor * self.rate_ppb + BILLION // 2) // BILLION + order_count * self.each_minor


def priced(terms: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Billionths and minor units an order of a list of terms as the registry holds them (`fee_terms`).

    Each has `basis` and, by it, `rate` (VOLUME_RECHARGE, decimal text of at most nine places) or `unit_minor` (COUNT_TXN).
    None when the list is empty or has a basis that a batch cannot be priced by: then there is no schedule to compare with.
    BadInput when a rate is not a number.
    """
    rate_ppb = each_minor = 0
    for term in terms:
        if term.get("basis") not in BASES or set(term) - {"basis", "rate", "unit_minor"}:
            return None
        try:
            share = Decimal(str(term.get("rate", "0"))) * BILLION
            each_minor += int(term.get("unit_minor", 0))
        except (InvalidOperation, ValueError) as error:
            raise BadInput(f"fee term {dict(term)} is not a rate") from error
        if share != int(share):
            raise BadInput(f"fee term {dict(term)}: a rate has at most nine places")
        rate_ppb += int(share)
    return (rate_ppb, each_minor) if terms else None
