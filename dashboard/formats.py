"""How numbers look to people: money with its cents, shares in per cent with two decimals, changes with their sign."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from domain.money import format_minor

NOTHING = "–"


def percent(share: Decimal | None) -> str:
    """A share as per cent with two decimals.

    >>> percent(Decimal("0.040609")), percent(None)
    ('4.06', '–')
    """
    if share is None:
        return NOTHING
    return f"{(share * 100).quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def shown(value: int | Decimal | None, unit: str, currency: str) -> str:
    """A value of a unit (MINOR, RATIO, COUNT) without the unit's sign.

    >>> shown(123456, "MINOR", "CNY"), shown(Decimal("0.05"), "RATIO", "CNY"), shown(1234, "COUNT", "CNY")
    ('1,234.56', '5.00', '1,234')
    """
    if value is None:
        return NOTHING
    if unit == "MINOR":
        return format_minor(int(value), currency)
    return percent(Decimal(value)) if unit == "RATIO" else f"{int(value):,}"


def signed(change: int | Decimal | None, unit: str, currency: str) -> str:
    """A change with its sign; no change is ±0.

    >>> signed(-5, "COUNT", "CNY"), signed(0, "COUNT", "CNY"), signed(Decimal("0.001"), "RATIO", "CNY")
    ('−5', '±0', '+0.10')
    """
    if change is None:
        return NOTHING
    if change == 0:
        return "±0"
    size = change if change > 0 else -change
    return ("+" if change > 0 else "−") + shown(size, unit, currency)


def unit_sign(unit: str, currency: str) -> str:
    """What stands behind a value: the currency or the per cent sign; counts have none."""
    return {"MINOR": currency, "RATIO": "%"}.get(unit, "")


def moment(at: datetime, zone: ZoneInfo) -> str:
    """A moment in a zone, which is named by its distance from UTC.

    >>> moment(datetime(2026, 8, 31, 17, 30, tzinfo=ZoneInfo("UTC")), ZoneInfo("Asia/Shanghai"))
    '2026-09-01 01:30 UTC+8'
    """
    there = at.astimezone(zone)
    hours = (there.utcoffset() or timedelta()) / timedelta(hours=1)
    return f"{there:%Y-%m-%d %H:%M} UTC{hours:+g}"


FORMATS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "percent": percent,
    "shown": shown,
    "signed": signed,
    "unit_sign": unit_sign,
}
