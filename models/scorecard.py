"""The scorecard: which features stay, and a logistic regression with L2 on their WoE (spec 06 section 6.5).

The regression models the odds of *good*, so that every coefficient of a sound feature is positive (more evidence of good, more
points); a feature that gets none is dropped and the rest fitted again. Everything is in a fixed order, on one thread, and
coefficients are kept to `DIGITS` digits, so that the same data give the same artefact byte for byte.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from domain.errors import BadInput
from models.artefact import Bin, Feature
from models.binning import Binned, LeftOut, binned
from models.metrics import log_loss
from models.sample import Candidate, Sample
from models.scaling import Scaling, pd_of
from models.score import bin_of

FEATURES_MAX = 10
BADS_PER_FEATURE = 8
CORRELATION_MAX = 0.8
ONE_CLASS_MIN = 20
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of L2 to choose among, the strongest first."""
FOLDS = 5
DIGITS = 10


@dataclass(frozen=True)
class Scorecard:
    """A fitted scorecard: intercept and features of the log-odds of good, what was left out, the penalty chosen."""

    intercept: float
    features: tuple[Feature, ...]
    worth: tuple[Binned, ...]
    left_out: tuple[LeftOut, ...]
    inverse_penalty: float

    def pd(self, sample: Sample) -> list[float]:
        """Probability of bad of every observation of a sample."""
        odds = [self.intercept] * len(sample)
        for feature in self.features:
            values = sample.columns[feature.code]
            odds = [sum_ + feature.bins[bin_of(feature, value)].contribution for sum_, value in zip(odds, values, strict=True)]
        return [pd_of(one) for one in odds]

    def points(self, sample: Sample) -> list[int]:
        """Points of every observation of a sample."""
        total = [0] * len(sample)
        for feature in self.features:
            values = sample.columns[feature.code]
            total = [sum_ + feature.bins[bin_of(feature, value)].points for sum_, value in zip(total, values, strict=True)]
        return total


def fit(sample: Sample, candidates: Sequence[Candidate], scaling: Scaling) -> Scorecard:
    """The scorecard of a training sample; BadInput when it has too few of one class or no feature passes the rules."""
    if min(sample.goods, sample.bads) < ONE_CLASS_MIN:
        raise BadInput(f"{sample.goods} goods and {sample.bads} bads are too few to train on: {ONE_CLASS_MIN} of each are needed")
    tried = [binned(candidate, sample) for candidate in sorted(candidates, key=lambda one: one.code)]
    left_out = [one for one in tried if isinstance(one, LeftOut)]
    chosen, crowded = _chosen([one for one in tried if isinstance(one, Binned)], sample)
    left_out += crowded
    if not chosen:
        raise BadInput("no feature passes the rules: " + "; ".join(f"{one.code}: {one.reason}" for one in left_out)[:1500])
    penalty = _penalty(chosen, sample)
    while True:
        intercept, coefficients = _regression(_matrix(chosen), sample.is_bad, penalty)
        worst = int(np.argmin(coefficients))
        if coefficients[worst] > 0:
            break
        wrong = chosen.pop(worst)
        left_out.append(
            LeftOut(wrong.feature.code, f"its coefficient beside the others has the wrong sign: {coefficients[worst]}")
        )
        if not chosen:
            raise BadInput("no feature has a coefficient of the right sign")
    features = tuple(
        _with_points(one.feature, coefficient, intercept, len(chosen), scaling)
        for one, coefficient in zip(chosen, coefficients, strict=True)
    )
    return Scorecard(intercept, features, tuple(chosen), tuple(sorted(left_out, key=lambda one: one.code)), penalty)


def fold_of(subject: str) -> int:
    """Fold of a person, by a hash: all observations of one person are in one fold."""
    return int.from_bytes(sha256(subject.encode()).digest()[:4], "big") % FOLDS


def _chosen(passed: list[Binned], sample: Sample) -> tuple[list[Binned], list[LeftOut]]:
    """The best by information value, none too like a better one, no more than the bads carry."""
    limit = max(1, min(FEATURES_MAX, sample.bads // BADS_PER_FEATURE))
    chosen: list[Binned] = []
    left_out = []
    for one in sorted(passed, key=lambda each: (each.noise - each.information_value, each.feature.code)):
        alike = next((other for other in chosen if abs(_correlation(one, other)) > CORRELATION_MAX), None)
        if alike is not None:
            reason = f"its WoE correlates with that of {alike.feature.code} by more than {CORRELATION_MAX}"
            left_out.append(LeftOut(one.feature.code, reason))
        elif len(chosen) == limit:
            left_out.append(LeftOut(one.feature.code, f"{limit} features with more information are in already"))
        else:
            chosen.append(one)
    return chosen, left_out


def _correlation(one: Binned, other: Binned) -> float:
    left, right = np.array(one.evidence(one.numbers)), np.array(other.evidence(other.numbers))
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def _matrix(chosen: Sequence[Binned]) -> Any:
    return np.column_stack([one.evidence(one.numbers) for one in chosen])


def _penalty(chosen: Sequence[Binned], sample: Sample) -> float:
    """The inverse penalty with the least log-loss on held-out persons; the stronger one where two are equal."""
    matrix, labels = _matrix(chosen), np.array(sample.is_bad)
    folds = np.array([fold_of(subject) for subject in sample.subjects])
    losses = []
    for penalty in PENALTIES:
        held_out = np.full(len(sample), labels.mean())
        for fold in range(FOLDS):
            rest, held = folds != fold, folds == fold
            if held.any() and len(set(labels[rest].tolist())) == 2:
                intercept, coefficients = _regression(matrix[rest], labels[rest], penalty)
                held_out[held] = 1 / (1 + np.exp(intercept + matrix[held] @ np.array(coefficients)))
        losses.append(round(log_loss(held_out, labels), 9))
    return PENALTIES[int(np.argmin(losses))]


def _regression(matrix: Any, is_bad: Any, inverse_penalty: float) -> tuple[float, list[float]]:
    """Intercept and coefficients of the log-odds of good."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LogisticRegression(C=inverse_penalty, solver="newton-cholesky", tol=1e-12, max_iter=200)
        model.fit(matrix, 1 - np.asarray(is_bad))
    return round(float(model.intercept_[0]), DIGITS), [round(float(value), DIGITS) for value in model.coef_[0]]


def _with_points(feature: Feature, coefficient: float, intercept: float, features: int, scaling: Scaling) -> Feature:
    bins = []
    for one in feature.bins:
        contribution = coefficient * one.woe
        points = scaling.attribute_points(contribution, intercept, features)
        bins.append(Bin(one.good, one.bad, one.woe, contribution, points, one.policy))
    return replace(feature, coefficient=coefficient, bins=tuple(bins))
