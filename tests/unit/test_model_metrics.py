"""Metrics against slow definitions and against scikit-learn, ties included."""

from __future__ import annotations

import random
import statistics
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from models import metrics

labelled = st.lists(st.tuples(st.sampled_from([0.05, 0.1, 0.2, 0.5, 0.9]), st.integers(0, 1)), min_size=4, max_size=40).filter(
    lambda rows: 0 < sum(bad for _, bad in rows) < len(rows)
)


@given(labelled)
def test_figures_equal_scikit_learns(rows: list[tuple[float, int]]) -> None:
    pd, bad = [row[0] for row in rows], [row[1] for row in rows]
    assert metrics.auc(pd, bad) == pytest.approx(roc_auc_score(bad, pd))
    assert metrics.brier(pd, bad) == pytest.approx(brier_score_loss(bad, pd))
    assert metrics.log_loss(pd, bad) == pytest.approx(sklearn_log_loss(bad, pd))


@given(labelled)
def test_ks_is_the_largest_distance_at_any_threshold(rows: list[tuple[float, int]]) -> None:
    pd, bad = [row[0] for row in rows], [row[1] for row in rows]
    bads, goods = sum(bad), len(bad) - sum(bad)
    slow = max(abs(sum(b for p, b in rows if p <= at) / bads - sum(1 - b for p, b in rows if p <= at) / goods) for at in set(pd))
    assert metrics.ks(pd, bad) == pytest.approx(slow)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.01, 0.99)), min_size=2, max_size=6))
def test_with_probabilities_the_auc_is_the_expected_share_of_pairs_in_order(rows: list[tuple[int, float]]) -> None:
    risk, truth = [row[0] for row in rows], [row[1] for row in rows]
    pairs = list(product(range(len(rows)), repeat=2))
    weight = sum(truth[i] * (1 - truth[j]) for i, j in pairs)
    ordered = sum(truth[i] * (1 - truth[j]) * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2) for i, j in pairs)
    assert metrics.auc(risk, truth) == pytest.approx(ordered / weight)


def test_calibration_keeps_equal_probabilities_together_and_ece_is_zero_when_rates_are_met() -> None:
    pd = [0.1] * 50 + [0.5] * 50
    table = metrics.calibration(pd, [1] * 5 + [0] * 45 + [1] * 25 + [0] * 25)
    assert [(line["rows"], round(line["mean_pd"], 9), line["bad_rate"]) for line in table] == [(50, 0.1, 0.1), (50, 0.5, 0.5)]
    assert metrics.ece(pd, [1] * 5 + [0] * 45 + [1] * 25 + [0] * 25) == pytest.approx(0)
    assert (metrics.hosmer_lemeshow_p(pd, [1] * 50 + [0] * 50) or 0) < 1e-6


def test_the_interval_of_the_auc_holds_it_and_narrows_with_rows() -> None:
    pd, bad = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 0, 1, 0, 1, 1]
    small, large = metrics.auc_interval(pd, bad), metrics.auc_interval(pd * 50, bad * 50)
    assert small is not None and large is not None
    assert small[0] <= large[0] < (metrics.auc(pd, bad) or 0) < large[1] <= small[1]


def test_psi_is_zero_for_equal_shares_and_large_for_others() -> None:
    assert metrics.psi([100, 200], [500, 1000]) == pytest.approx(0, abs=1e-5)
    assert metrics.psi([90, 10], [10, 90]) > 1


def test_a_score_that_knows_nothing_strays_from_one_half_as_far_as_said() -> None:
    numbers = random.Random(4)
    truth = [numbers.betavariate(1, 8) for _ in range(150)]
    found = [metrics.auc(numbers.sample(range(150), 150), truth) or 0.0 for _ in range(2000)]
    assert statistics.mean(found) == pytest.approx(0.5, abs=0.003)
    assert statistics.stdev(found) == pytest.approx(metrics.auc_by_chance_sd(truth), rel=0.06)


def test_without_both_classes_nothing_ranks() -> None:
    assert (
        metrics.auc([1, 2], [0, 0]) is None
        and metrics.ks([1, 2], [1, 1]) is None
        and metrics.auc_interval([1, 2], [0, 1]) is None
    )
