"""From a sample to an artefact: the split in time, the fit, the figures that go with the model."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from models.artefact import SCHEMA, Artefact, Feature, sealed
from models.metrics import against_outcomes, against_truth, psi
from models.outcomes import DEFINITION
from models.sample import Candidate, Sample
from models.scaling import BANDS, SMOOTHING, Scaling, band_of
from models.scorecard import FOLDS, Scorecard, fit, fold_of

OUT_OF_TIME, CROSS_VALIDATED = "OUT_OF_TIME", "CROSS_VALIDATED"
TEST_SHARE = 0.25
TEST_CLASS_MIN, TRAIN_BADS_MIN = 30, 60
AUC_GATE, KS_GATE, PSI_GATE = 0.65, 0.25, 0.1
_PACKAGES = ("fundwatch", "numpy", "optbinning", "ortools", "scikit-learn", "scipy")


@dataclass(frozen=True)
class Origin:
    """Where a sample came from: training date, loans by outcome, cap on its rows, earliest and latest moment of its features."""

    trained_to: date
    outcomes: Mapping[str, int]
    sample_cap: int


def train(sample: Sample, candidates: Sequence[Candidate], origin: Origin, scaling: Scaling | None = None) -> Artefact:
    """Fit, judge and seal a model.

    Judged out of time where the last quarter of the disbursement dates has enough goods and bads: then the model is fitted on
    the dates before and tested on those. Otherwise it is fitted on everything and its figures are cross-validated by person.
    """
    scaling = scaling or Scaling()
    first_test = out_of_time_from(sample)
    if first_test is not None:
        train_part = sample.part([row for row, day in enumerate(sample.dates) if day < first_test])
        test = sample.part([row for row, day in enumerate(sample.dates) if day >= first_test])
        card = fit(train_part, candidates, scaling)
        pd = card.pd(test)
    else:
        train_part, test = sample, sample
        card = fit(sample, candidates, scaling)
        pd = cross_validated_pd(sample, candidates, scaling)
    estimate = OUT_OF_TIME if first_test else CROSS_VALIDATED
    split = {
        "estimate": estimate,
        "first_test_date": first_test.isoformat() if first_test else None,
        "folds_by_person": None if first_test else FOLDS,
    }
    return sealed(
        {
            "schema": SCHEMA,
            "definition_of_bad": DEFINITION.to_json(),
            "scaling": {**vars(scaling), "factor": scaling.factor, "offset": scaling.offset},
            "intercept": card.intercept,
            "bands": [{"band": name, "least_points": least} for name, least in BANDS],
            "features": [_entry(feature, card) for feature in card.features],
            "left_out": [vars(one) for one in card.left_out],
            "training": _training(sample, train_part, card, origin, split),
            "metrics": _metrics(card, train_part, test, pd, estimate),
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        }
    )


def out_of_time_from(sample: Sample) -> date | None:
    """First disbursement date of the test part; None when too few goods or bads would be on either side."""
    days = sorted(sample.dates)
    if not days:
        return None
    first = days[int(len(days) * (1 - TEST_SHARE))]
    test = [bad for bad, day in zip(sample.is_bad, sample.dates, strict=True) if day >= first]
    bads_before = sample.bads - sum(test)
    enough = min(sum(test), len(test) - sum(test)) >= TEST_CLASS_MIN and bads_before >= TRAIN_BADS_MIN
    return first if enough else None


def cross_validated_pd(sample: Sample, candidates: Sequence[Candidate], scaling: Scaling) -> list[float]:
    """Probability of every observation by a model that was fitted, bins and choice of features included, without its person."""
    folds = [fold_of(subject) for subject in sample.subjects]
    pd = [0.0] * len(sample)
    for fold in range(FOLDS):
        held = [row for row, each in enumerate(folds) if each == fold]
        if held:
            card = fit(sample.part([row for row, each in enumerate(folds) if each != fold]), candidates, scaling)
            for row, value in zip(held, card.pd(sample.part(held)), strict=True):
                pd[row] = value
    return pd


def _training(sample: Sample, fitted: Sample, card: Scorecard, origin: Origin, split: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trained_to": origin.trained_to.isoformat(),
        "first_disbursed_on": min(sample.dates).isoformat(),
        "last_disbursed_on": max(sample.dates).isoformat(),
        "outcomes": dict(origin.outcomes),
        "sample_cap": origin.sample_cap,
        "fitted": {"rows": len(fitted), "goods": fitted.goods, "bads": fitted.bads},
        "data_sha256": sample.content_sha256(),
        "inverse_penalty": card.inverse_penalty,
        "woe_smoothing": SMOOTHING,
        "split": dict(split),
        "not_excluded": "confirmed fraud is not told apart: no file says so at loan level",
    }


def _metrics(card: Scorecard, fitted: Sample, test: Sample, pd: list[float], estimate: str) -> dict[str, Any]:
    """Figures on held-out rows; those on the rows fitted are named so and are no proof."""
    held_out = against_outcomes(pd, test.is_bad)
    points, fitted_points = card.points(test), card.points(fitted)
    names = [name for name, _ in BANDS]
    counts = [[[band_of(one) for one in part].count(name) for name in names] for part in (fitted_points, points)]
    shift = round(psi(*counts), 6) if estimate == OUT_OF_TIME else None
    found = {
        "estimate": estimate,
        "held_out": held_out,
        "on_rows_fitted": against_outcomes(card.pd(fitted), fitted.is_bad),
        "bands": _bands(points, pd, test.is_bad),
        "score_psi": shift,
        "gates": {
            "auc": {"least": AUC_GATE, "ok": (held_out["auc"] or 0) >= AUC_GATE},
            "ks": {"least": KS_GATE, "ok": (held_out["ks"] or 0) >= KS_GATE},
            "score_psi": {"below": PSI_GATE, "ok": None if shift is None else shift < PSI_GATE},
        },
        "against_truth": None,
    }
    known = [row for row, value in enumerate(test.true_pd) if value is not None]
    if known:
        truth = [float(test.true_pd[row] or 0.0) for row in known]
        oracle = against_outcomes(truth, [test.is_bad[row] for row in known])
        found["against_truth"] = against_truth([pd[row] for row in known], truth)
        found["oracle_against_outcomes"] = {key: oracle[key] for key in ("rows", "auc", "auc_95", "ks", "brier", "log_loss")}
    return found


def _bands(points: Sequence[int], pd: Sequence[float], bad: Sequence[int]) -> list[dict[str, Any]]:
    """Held-out rows by grade: count, mean probability, rate of bads."""
    table = []
    for name, _ in BANDS:
        rows = [row for row, one in enumerate(points) if band_of(one) == name]
        if rows:
            mean = sum(pd[row] for row in rows) / len(rows)
            rate = sum(bad[row] for row in rows) / len(rows)
            table.append({"band": name, "rows": len(rows), "mean_pd": round(mean, 6), "bad_rate": round(rate, 6)})
    return table


def _entry(feature: Feature, card: Scorecard) -> dict[str, Any]:
    worth = next(one for one in card.worth if one.feature.code == feature.code)
    return {
        "code": feature.code,
        "kind": feature.kind,
        "scale": feature.scale,
        "reason_code": feature.reason_code,
        "text": dict(feature.text),
        "coefficient": feature.coefficient,
        "edges": [f"{edge:f}" for edge in feature.edges],
        "groups": [list(group) for group in feature.groups],
        "bins": [vars(one) for one in feature.bins],
        "information_value": round(worth.information_value, 6),
        "stability_psi": round(worth.stability_psi, 6),
        "order_kept": round(worth.order_kept, 6),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
