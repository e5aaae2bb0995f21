"""The scorecard: binning policies, the sign of points, training that is honest and repeatable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import BadInput
from models import metrics
from models.artefact import NEUTRAL, SCORED
from models.binning import MISSING_ROWS_MIN, Binned, LeftOut, binned
from models.sample import Candidate, Sample
from models.scaling import Scaling, band_of, pd_of, woe
from models.score import score
from models.scorecard import fit, fold_of
from models.training import CROSS_VALIDATED, OUT_OF_TIME, out_of_time_from


def sample_of(values: list[Any], is_bad: list[int], code: str = "x", dates: list[date] | None = None) -> Sample:
    keys = tuple(f"P01|{number:06d}" for number in range(len(values)))
    days = tuple(dates or [date(2025, 1, 1) + timedelta(days=number % 10) for number in range(len(values))])
    return Sample(keys, keys, days, tuple(is_bad), {code: tuple(values)})


def two_bins() -> Sample:
    """x = 0: 90 good, 10 bad; x = 1: 60 good, 40 bad."""
    return sample_of([0] * 100 + [1] * 100, [0] * 90 + [1] * 10 + [0] * 60 + [1] * 40)


def test_in_the_two_bin_toy_case_the_better_bin_has_more_points_and_doubling_the_odds_adds_fifty() -> None:
    sample, scaling = two_bins(), Scaling()
    card = fit(sample, [Candidate("x")], scaling)
    (feature,) = card.features
    assert feature.edges == (Decimal(1),)
    _, better, worse = feature.bins
    assert (better.good, better.bad, worse.good, worse.bad) == (90, 10, 60, 40)
    assert better.woe > 0 > worse.woe and feature.coefficient > 0
    assert better.points > worse.points
    log_odds = [card.intercept + one.contribution for one in (better, worse)]
    assert pd_of(log_odds[0]) < 0.25 < pd_of(log_odds[1])
    assert (better.points, worse.points) == tuple(round(scaling.exact_points(one)) for one in log_odds)
    assert scaling.exact_points(math.log(20)) == pytest.approx(600) and scaling.exact_points(math.log(40)) == pytest.approx(650)
    # one feature carries offset and intercept alone: the example of spec 06 (600 at 60 to 1, 20 to double) has factor 28.85
    assert Scaling(600, 60, 20).factor == pytest.approx(28.85, abs=0.005)


def test_bands_begin_at_their_least_points() -> None:
    assert [band_of(points) for points in (700, 699, 660, 620, 580, 540, 500, 499)] == [
        "AAA",
        "AA",
        "AA",
        "A",
        "B",
        "C",
        "D",
        "E",
    ]


def test_missing_values_are_scored_from_their_own_rows_when_there_are_enough() -> None:
    one = binned(Candidate("x"), sample_of([0] * 300 + [None] * 100, [0] * 285 + [1] * 15 + [0] * 60 + [1] * 40))
    assert isinstance(one, Binned)
    missing = one.feature.bins[0]
    assert (missing.good, missing.bad, missing.policy) == (60, 40, SCORED)
    assert missing.woe == woe(60, 40, 345, 55, 2) < 0


def test_too_few_missing_values_are_neutral_and_say_so() -> None:
    few = MISSING_ROWS_MIN - 1
    one = binned(
        Candidate("x"), sample_of([0] * 100 + [1] * 100 + [None] * few, [0] * 95 + [1] * 5 + [0] * 50 + [1] * 50 + [1] * few)
    )
    assert isinstance(one, Binned)
    assert (one.feature.bins[0].policy, one.feature.bins[0].woe, one.feature.bins[0].bad) == (NEUTRAL, 0.0, few)


def test_a_bin_of_one_class_has_a_finite_weight() -> None:
    one = binned(Candidate("x"), sample_of([0] * 100 + [1] * 100, [0] * 100 + [0] * 60 + [1] * 40))
    assert isinstance(one, Binned)
    assert one.feature.bins[1].bad == 0 and math.isfinite(one.feature.bins[1].woe)


def test_codes_never_seen_are_neutral_and_rare_ones_join_no_group() -> None:
    values = ["A"] * 100 + ["B"] * 100 + ["R"] * 5
    one = binned(Candidate("x", "CODE"), sample_of(values, [0] * 95 + [1] * 5 + [0] * 50 + [1] * 50 + [0] * 5))
    assert isinstance(one, Binned)
    assert sorted(one.feature.groups) == [("A",), ("B",)]
    assert (one.feature.bins[-1].policy, one.feature.bins[-1].good) == (NEUTRAL, 5)


@pytest.mark.parametrize(
    ("values", "is_bad", "reason"),
    [
        ([None] * 200, [0] * 150 + [1] * 50, "only 0 of 200"),
        ([7] * 200, [0] * 150 + [1] * 50, "two bins"),
        ([n % 100 for n in range(200)], [int(n % 4 == 0) for n in range(200)], "(two bins|information value)"),
        ([0] * 150 + [1] * 50, [0] * 150 + [1] * 50, "must have leaked"),
        (["A"] * 190 + ["B"] * 10, [0] * 150 + [1] * 50, "two codes"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_the_reason(values: list[Any], is_bad: list[int], reason: str) -> None:
    kind = "CODE" if isinstance(values[0], str) else "NUMBER"
    found = binned(Candidate("x", kind), sample_of(values, is_bad))
    assert isinstance(found, LeftOut)
    assert re.search(reason, found.reason), found.reason


def test_a_feature_whose_bins_move_in_time_is_left_out() -> None:
    days = [date(2025, 1, 1)] * 400 + [date(2025, 6, 1)] * 400
    early, late = [0] * 380 + [1] * 20, [0] * 20 + [1] * 380
    is_bad = [int(number % 20 == 0) for number in range(380)] + [int(number % 2 == 0) for number in range(20)]
    is_bad += [int(number % 20 == 0) for number in range(20)] + [int(number % 2 == 0) for number in range(380)]
    found = binned(Candidate("x"), sample_of(early + late, is_bad, dates=days))
    assert isinstance(found, LeftOut) and "PSI" in found.reason


def test_of_two_like_features_only_the_better_one_stays() -> None:
    plain = two_bins()
    both = Sample(plain.keys, plain.subjects, plain.dates, plain.is_bad, {"a": plain.columns["x"], "b": plain.columns["x"]})
    card = fit(both, [Candidate("a"), Candidate("b")], Scaling())
    assert [one.code for one in card.features] == ["a"]
    assert [(one.code, "correlates" in one.reason) for one in card.left_out] == [("b", True)]


def test_too_few_bads_or_no_useful_feature_is_refused_in_one_sentence() -> None:
    with pytest.raises(BadInput, match="too few to train on"):
        fit(sample_of([0, 1] * 50, [0] * 95 + [1] * 5), [Candidate("x")], Scaling())
    with pytest.raises(BadInput, match="no feature passes"):
        fit(sample_of([1] * 200, [0] * 100 + [1] * 100), [Candidate("x")], Scaling())


def test_the_same_data_give_the_same_artefact_byte_for_byte(
    scorecard: Any, train_on: Callable[[Any], Any], loans_of_a_known_world: Callable[..., Sample]
) -> None:
    sample = loans_of_a_known_world(4000)
    turned = replace(sample, columns=dict(reversed(sample.columns.items())))
    assert train_on(turned).text == scorecard.text
    assert train_on(loans_of_a_known_world(4000, 2)).model_id != scorecard.model_id


def test_the_last_quarter_of_time_judges_and_is_not_learned_from(
    scorecard: Any, loans_of_a_known_world: Callable[..., Sample]
) -> None:
    sample = loans_of_a_known_world(4000)
    first_test = out_of_time_from(sample)
    assert first_test is not None
    training, figures = scorecard.content["training"], scorecard.content["metrics"]
    before = [bad for bad, day in zip(sample.is_bad, sample.dates, strict=True) if day < first_test]
    assert (figures["estimate"], training["split"]["first_test_date"]) == (OUT_OF_TIME, first_test.isoformat())
    assert training["fitted"] == {"rows": len(before), "goods": len(before) - sum(before), "bads": sum(before)}
    assert figures["held_out"]["rows"] == 4000 - len(before)


def test_with_few_bads_the_figures_are_cross_validated_by_person(
    train_on: Callable[[Any], Any], loans_of_a_known_world: Callable[..., Sample]
) -> None:
    small = train_on(loans_of_a_known_world(600))
    figures, training = small.content["metrics"], small.content["training"]
    assert figures["estimate"] == CROSS_VALIDATED and figures["held_out"]["rows"] == training["fitted"]["rows"] == 600
    # held-out figures are not those of the rows fitted
    assert figures["held_out"]["auc"] < figures["on_rows_fitted"]["auc"]
    assert len({fold_of(f"person {number}") for number in range(100)}) == 5


def test_on_a_known_world_the_score_comes_near_the_oracle(
    train_on: Callable[[Any], Any], loans_of_a_known_world: Callable[..., Sample]
) -> None:
    model = train_on(loans_of_a_known_world(20_000, 5))
    truth = model.content["metrics"]["against_truth"]
    # three of the features are the hidden risk with noise on it and the fourth is exact: most of what can be known is known
    assert truth["oracle_auc"] - truth["auc"] < 0.04
    assert truth["oracle_ks"] - truth["ks"] < 0.06
    assert truth["rank_correlation"] > 0.85 and truth["ece"] < 0.01
    assert model.content["metrics"]["held_out"]["hosmer_lemeshow_p"] > 0.001
    assert all(one["ok"] for one in model.content["metrics"]["gates"].values())
    assert "chance" not in {feature.code for feature in model.features}
    bands = model.content["metrics"]["bands"]
    assert [one["mean_pd"] for one in bands] == sorted(one["mean_pd"] for one in bands)


def test_points_rank_as_the_probability_does_but_for_rounding(
    scorecard: Any, loans_of_a_known_world: Callable[..., Sample]
) -> None:
    sample = loans_of_a_known_world(2000, 9)
    rows = [score(scorecard, {code: values[row] for code, values in sample.columns.items()}) for row in range(len(sample))]
    exact = [scorecard.scaling.exact_points(one.log_odds) for one in rows]
    assert all(abs(one.points - true) <= len(scorecard.features) / 2 for one, true in zip(rows, exact, strict=True))
    # unrounded, points and probability are one order: the same AUC and KS to the last digit
    probabilities = [one.pd for one in rows]
    assert metrics.auc([-points for points in exact], sample.is_bad) == metrics.auc(probabilities, sample.is_bad)
    assert metrics.ks([-points for points in exact], sample.is_bad) == metrics.ks(probabilities, sample.is_bad)
    rounded = metrics.auc([-one.points for one in rows], sample.is_bad)
    assert rounded == pytest.approx(metrics.auc(probabilities, sample.is_bad), abs=0.005)
