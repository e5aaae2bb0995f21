"""When the world comes to know what happened: a fact has a day on which it happened and a later moment when it is known."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from random import Random

from simulator.bank_day import ZONE, months_after
from simulator.parameters import WorldParameters

BUREAU_YEARS_BEFORE_HISTORY = 1
KNOWN_BY = 22 * 60
"""Facts become known at any minute of a day up to here, so that the day is also the business date."""
RISK_SHARE, NOISE_SHARE = 0.96, 0.28
"""What others see of a person: so much of the risk, so much noise; their squares add up to one."""


def first_day(parameters: WorldParameters) -> date:
    """First day of which the bureau may know anything: a year before the first loans."""
    return months_after(parameters.opening_date, -(parameters.history_months + 12 * BUREAU_YEARS_BEFORE_HISTORY))


def seen_risk(rng: Random, risk: float) -> float:
    """The risk as one source sees it."""
    return RISK_SHARE * risk + NOISE_SHARE * rng.gauss(0.0, 1.0)


def known_after(rng: Random, day: date, low: int, high: int) -> datetime:
    """A moment from `low` to `high` days after a day, both ends included."""
    later = day + timedelta(days=rng.randrange(low, high + 1))
    minutes = rng.randrange(1, KNOWN_BY)
    return datetime.combine(later, time(minutes // 60, minutes % 60, rng.randrange(60)), ZONE)


def days_until_next(rng: Random, per_month: float) -> int:
    """Days until the next event of a random stream with so many events a month (of 30 days)."""
    return 1 + int(rng.expovariate(per_month / 30))
