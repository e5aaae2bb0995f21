"""What a lender's outstanding principal earned over a period, as a yearly rate (spec 10 row 1.27b)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

DAYS_OF_YEAR = 365
_PLACES = Decimal("0.000001")


def received_yield(interest_minor: int, fees_minor: int, principal_days_minor: int) -> Decimal | None:
    """Interest received less fees paid, over the principal outstanding at the end of each day, for 365 days; six places.

    `principal_days_minor` is the sum over the days of the period of what was outstanding, in minor units. None when nothing was.

    >>> received_yield(1_000, 0, 100_000 * 31)  # 10.00 on 1,000.00 in a month of 31 days
    Decimal('0.117742')
    """
    if principal_days_minor <= 0:
        return None
    return (Decimal(interest_minor - fees_minor) * DAYS_OF_YEAR / Decimal(principal_days_minor)).quantize(
        _PLACES, ROUND_HALF_EVEN
    )
