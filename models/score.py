"""Score one observation in plain Python: what every other way of scoring must equal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.errors import BadInput
from models.artefact import CODE, Artefact, Feature
from models.scaling import band_of, pd_of

REASONS = 4


@dataclass(frozen=True)
class Score:
    """Points (the sum of the bins' whole points), log-odds of good and probability of bad (not rounded), band, why.

    `bins` gives the bin of every feature; `reasons` the up to four reason codes by points below the feature's best, most first,
    the earlier feature of the artefact first where they are equal.
    """

    points: int
    log_odds: float
    pd: float
    band: str
    bins: Mapping[str, int]
    reasons: tuple[str, ...]


def score(artefact: Artefact, values: Mapping[str, Any]) -> Score:
    """The score of features by code; None is missing, a code that training never saw has its own bin.

    BadInput: a feature of the model is not there, or its value is neither whole number, decimal nor code as the model says.
    """
    bins = {feature.code: bin_of(feature, _value(feature, values)) for feature in artefact.features}
    chosen = [(feature, feature.bins[bins[feature.code]]) for feature in artefact.features]
    points = sum(one.points for _, one in chosen)
    log_odds = artefact.intercept
    for _, one in chosen:
        # one after the other, from the intercept on: the order in which SQL adds, so that no last bit differs
        log_odds = log_odds + one.contribution
    below = [(feature.max_points - one.points, -place, feature.reason_code) for place, (feature, one) in enumerate(chosen)]
    reasons = tuple(code for lost, _, code in sorted(below, reverse=True)[:REASONS] if lost > 0)
    return Score(points, log_odds, pd_of(log_odds), band_of(points, artefact.bands), bins, reasons)


def bin_of(feature: Feature, value: int | Decimal | str | None) -> int:
    """Number of the bin that holds a value: an edge belongs to the range that begins at it."""
    if value is None:
        return 0
    if feature.kind == CODE:
        found = (number for number, group in enumerate(feature.groups, start=1) if value in group)
        return next(found, len(feature.groups) + 1)
    return bisect_right(feature.edges, value) + 1


def _value(feature: Feature, values: Mapping[str, Any]) -> int | Decimal | str | None:
    try:
        value = values[feature.code]
    except KeyError:
        raise BadInput(f"the model needs feature {feature.code}, which is not there") from None
    if value is None:
        return None
    if feature.kind == CODE:
        fits = isinstance(value, str)
    else:
        fits = (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, Decimal) and value.is_finite())
    if not fits:
        raise BadInput(f"feature {feature.code} is a {feature.kind} and {value!r} is none")
    return value  # type: ignore[no-any-return]
