"""What the payment company keeps of a settlement batch, by the terms that the registry is given."""

from __future__ import annotations

from datetime import date

from domain.channel_fees import FeeTerm, priced
from domain.errors import Failed
from simulator.parameters import FEE_TERMS, PAYMENT_COMPANY


def terms_of(platform_id: str) -> FeeTerm:
    """The payment company's terms for a platform, in force for ever."""
    prices = priced(FEE_TERMS)
    if prices is None:
        raise Failed("the world's fee terms do not price a batch")
    return FeeTerm(platform_id, PAYMENT_COMPANY, date(2000, 1, 1), date(9999, 12, 31), *prices)


_TERMS = terms_of("")


def channel_fee(gross_minor: int, order_count: int) -> int:
    """Fee of a batch, minor units."""
    return _TERMS.fee_minor(gross_minor, order_count)
