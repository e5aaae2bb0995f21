"""What a world is made from: everything else follows from these values and the seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from domain.errors import WrongUse

CURRENCY = "CNY"
PACK = "CN_2017"
PAYMENT_COMPANY = "PC01"
BANK = "BANK"
BUREAU = "BUREAU"
YUAN = 100
"""Minor units of one yuan."""
FEE_TERMS = ({"basis": "VOLUME_RECHARGE", "rate": "0.00025"}, {"basis": "COUNT_TXN", "unit_minor": 10})
"""What the payment company keeps of a settlement batch (spec 08 section 8.2)."""


@dataclass(frozen=True)
class WorldParameters:
    """Parameters of `fundwatch simulate`; the same parameters give byte-identical worlds.

    For example ``WorldParameters(days=30, end=date(2026, 8, 31)).opening_date`` is 2026-08-01: on it the opening book comes in,
    and 30 nights follow.
    """

    seed: int = 7
    platforms: int = 3
    customers: int = 2000
    history_months: int = 18
    days: int = 30
    end: date = date(2026, 8, 31)
    faults_per_code: int = 3

    def __post_init__(self) -> None:
        limits = {
            "platforms": (self.platforms, 1, 99),
            "customers": (self.customers, 20 * self.platforms, 999_999),
            "history-months": (self.history_months, 1, 120),
            "days": (self.days, 1, 366),
            "faults-per-code": (self.faults_per_code, 0, 500),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise WrongUse(f"--{name} must lie between {low} and {high}, not {value}")

    @property
    def opening_date(self) -> date:
        """Business date on which the opening book comes in; nothing else happens on it."""
        return self.end - timedelta(days=self.days)

    @property
    def nights(self) -> list[date]:
        """Business dates with daily life, in order."""
        return [self.opening_date + timedelta(days=day) for day in range(1, self.days + 1)]

    @property
    def dates(self) -> list[date]:
        """The opening date and the nights, in order."""
        return [self.opening_date, *self.nights]

    @property
    def platform_ids(self) -> list[str]:
        """``P01``, ``P02`` … in order."""
        return [f"P{number:02d}" for number in range(1, self.platforms + 1)]
