"""From log-odds to points and back (spec 06 section 6.5), rounding included: the one place that does this arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

SMOOTHING = 0.5
"""Rows added to the goods and the bads of every scored bin, so that a bin of one class has a finite WoE."""
WOE_DIGITS = 12

BANDS: tuple[tuple[str, int | None], ...] = (
    ("AAA", 700), ("AA", 660), ("A", 620), ("B", 580), ("C", 540), ("D", 500), ("E", None),
)  # fmt: skip
"""Grade bands from the best down: name and least points; the last takes the rest."""


@dataclass(frozen=True)
class Scaling:
    """Score = offset + factor · ln(odds of good): `base_points` at `base_odds` goods a bad, doubled every `pdo` points.

    >>> scaling = Scaling()
    >>> round(scaling.factor, 6), round(scaling.exact_points(math.log(20)), 9), round(scaling.exact_points(math.log(40)), 9)
    (72.134752, 600.0, 650.0)
    """

    base_points: int = 600
    base_odds: int = 20
    pdo: int = 50

    @property
    def factor(self) -> float:
        """Points a unit of log-odds."""
        return self.pdo / math.log(2)

    @property
    def offset(self) -> float:
        """Points at even odds."""
        return self.base_points - self.factor * math.log(self.base_odds)

    def exact_points(self, log_odds: float) -> float:
        """Points of log-odds of good, not rounded."""
        return self.offset + self.factor * log_odds

    def attribute_points(self, contribution: float, intercept: float, features: int) -> int:
        """Whole points of one bin: its share of offset and intercept and its own contribution, rounded half away from zero."""
        exact = self.offset / features + self.factor * (intercept / features + contribution)
        return int(Decimal(exact).quantize(Decimal(1), ROUND_HALF_UP))


def woe(good: int, bad: int, goods: int, bads: int, scored_bins: int) -> float:
    """Weight of evidence of a bin, ln of its share of the goods over its share of the bads, smoothed; 0 says nothing.

    >>> woe(50, 5, 100, 10, 2), woe(90, 2, 100, 10, 2) > 0 > woe(10, 8, 100, 10, 2)
    (0.0, True, True)
    """
    good_share = (good + SMOOTHING) / (goods + SMOOTHING * scored_bins)
    bad_share = (bad + SMOOTHING) / (bads + SMOOTHING * scored_bins)
    return round(math.log(good_share / bad_share), WOE_DIGITS) + 0.0


def information_value(bins: Sequence[tuple[int, int, float]], goods: int, bads: int) -> float:
    """IV of bins given as (good, bad, woe): the sum of the differences of shares times WoE."""
    return sum((good / goods - bad / bads) * evidence for good, bad, evidence in bins)


def pd_of(log_odds: float) -> float:
    """Probability of bad of log-odds of good."""
    return 1.0 / (1.0 + math.exp(log_odds))


def band_of(points: int, bands: Sequence[tuple[str, int | None]] = BANDS) -> str:
    """Band of a number of points.

    >>> band_of(700), band_of(699), band_of(-40)
    ('AAA', 'AA', 'E')
    """
    return next(name for name, least in bands if least is None or points >= least)
