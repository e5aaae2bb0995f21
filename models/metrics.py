"""How well a score ranks and how true its probabilities are.

Every row has a bad and a good mass: an outcome is (1, 0) or (0, 1), a known probability p is (p, 1 - p). With masses the figure
is its expectation over all outcomes that the probabilities allow (pairs of rows with themselves left in), free of their luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Vector = NDArray[np.float64]
_Z95 = 1.959963984540054


def _vector(values: ArrayLike) -> Vector:
    return np.asarray(values, dtype=np.float64)


def _by_risk(risk: ArrayLike, bad: ArrayLike) -> tuple[Vector, Vector]:
    """Bad and good mass of every distinct risk, rising."""
    _, group = np.unique(_vector(risk), return_inverse=True)
    mass = _vector(bad)
    return _vector(np.bincount(group, mass)), _vector(np.bincount(group, 1.0 - mass))


def auc(risk: ArrayLike, bad: ArrayLike) -> float | None:
    """Chance that a bad has a higher risk than a good, ties counting half; None without bads or goods.

    >>> auc([0.1, 0.2, 0.3], [0, 0, 1]), auc([1, 1, 1], [0, 0, 1])
    (1.0, 0.5)
    """
    bads, goods = _by_risk(risk, bad)
    pairs = bads.sum() * goods.sum()
    if pairs <= 0:
        return None
    below = np.concatenate(([0.0], np.cumsum(goods)[:-1]))
    return float((bads * (below + goods / 2)).sum() / pairs)


def ks(risk: ArrayLike, bad: ArrayLike) -> float | None:
    """Largest distance between the distributions of risk among bads and goods, looked at between distinct risks only."""
    bads, goods = _by_risk(risk, bad)
    if bads.sum() <= 0 or goods.sum() <= 0:
        return None
    return float(np.abs(np.cumsum(bads) / bads.sum() - np.cumsum(goods) / goods.sum()).max())


def auc_interval(risk: ArrayLike, bad: ArrayLike) -> tuple[float, float] | None:
    """95 % interval of the AUC over outcomes of 0 and 1 (DeLong et al. 1988); None with fewer than two of each."""
    risks, labels = _vector(risk), _vector(bad)
    bads, goods = risks[labels == 1], risks[labels == 0]
    area = auc(risk, bad)
    if area is None or len(bads) < 2 or len(goods) < 2:
        return None
    # placements by ranks: a rank in all less the rank in one's own class counts the other class below, ties half
    ranks = stats.rankdata(np.concatenate([bads, goods]))
    placed_bad = (ranks[: len(bads)] - stats.rankdata(bads)) / len(goods)
    placed_good = 1.0 - (ranks[len(bads) :] - stats.rankdata(goods)) / len(bads)
    error = float(np.sqrt(placed_bad.var(ddof=1) / len(bads) + placed_good.var(ddof=1) / len(goods)))
    return max(0.0, area - _Z95 * error), min(1.0, area + _Z95 * error)


def brier(pd: ArrayLike, bad: ArrayLike) -> float:
    """Mean squared distance of the probability from what happened."""
    p, mass = _vector(pd), _vector(bad)
    return float((mass * (1 - p) ** 2 + (1 - mass) * p**2).mean())


def log_loss(pd: ArrayLike, bad: ArrayLike) -> float:
    """Mean surprise, natural logarithm; probabilities are kept 1e-15 away from 0 and 1."""
    p, mass = np.clip(_vector(pd), 1e-15, 1 - 1e-15), _vector(bad)
    return float(-(mass * np.log(p) + (1 - mass) * np.log(1 - p)).mean())


def calibration(pd: ArrayLike, bad: ArrayLike, groups: int = 10) -> list[dict[str, Any]]:
    """Groups of about equal count by rising probability, equal probabilities together: rows, mean pd, rate of bads."""
    p, mass = _vector(pd), _vector(bad)
    if not len(p):
        return []
    # a value's group is where the middle of its ties lies among all rows
    place = np.minimum(((stats.rankdata(p) - 0.5) / len(p) * groups).astype(int), groups - 1)
    found = []
    for group in range(groups):
        chosen = place == group
        if rows := int(chosen.sum()):
            found.append({"rows": rows, "mean_pd": float(p[chosen].mean()), "bad_rate": float(mass[chosen].mean())})
    return found


def ece(pd: ArrayLike, bad: ArrayLike, groups: int = 10) -> float:
    """Expected calibration error: mean distance of probability and rate over the groups, weighted by their rows."""
    table = calibration(pd, bad, groups)
    rows = sum(line["rows"] for line in table)
    return float(sum(line["rows"] * abs(line["mean_pd"] - line["bad_rate"]) for line in table) / rows) if rows else 0.0


def hosmer_lemeshow_p(pd: ArrayLike, bad: ArrayLike, groups: int = 10) -> float | None:
    """Chance of groups as far off as these when the probabilities are true; a degree of freedom a group (rows not fitted on)."""
    table = [line for line in calibration(pd, bad, groups) if 0 < line["mean_pd"] < 1]
    if not table:
        return None
    distance = sum(
        line["rows"] * (line["bad_rate"] - line["mean_pd"]) ** 2 / (line["mean_pd"] * (1 - line["mean_pd"])) for line in table
    )
    return float(stats.chi2.sf(distance, len(table)))


def psi(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Population stability index of two counts over the same bins; half a row is added to each bin, so that none is empty."""
    one, other = _vector(expected) + 0.5, _vector(actual) + 0.5
    one, other = one / one.sum(), other / other.sum()
    return float(((other - one) * np.log(other / one)).sum())


def auc_by_chance_sd(truth: Sequence[float]) -> float:
    """How far from 0.5 the AUC of a score that knows nothing lies, as a standard deviation over all its orders of these rows.

    AUC = (Σ tᵢ(Rᵢ - ½) - ½(Σt)²) / (n²m(1 - m)) for probabilities t with mean m and ranks R; in a random order the sum has the
    variance n²(n + 1)·var(t)/12.
    """
    t = _vector(truth)
    mean, count = float(t.mean()), len(t)
    return float(t.std() * np.sqrt((count + 1) / 12) / (count * mean * (1 - mean)))


def against_outcomes(pd: Sequence[float], bad: Sequence[int]) -> dict[str, Any]:
    """All figures of a score on rows whose outcome is known."""
    interval = auc_interval(pd, bad)
    return {
        "rows": len(bad),
        "bads": int(sum(bad)),
        "auc": _digits(auc(pd, bad)),
        "auc_95": None if interval is None else [_digits(bound) for bound in interval],
        "ks": _digits(ks(pd, bad)),
        "brier": _digits(brier(pd, bad)),
        "log_loss": _digits(log_loss(pd, bad)),
        "ece": _digits(ece(pd, bad)),
        "hosmer_lemeshow_p": _digits(hosmer_lemeshow_p(pd, bad)),
        "mean_pd": _digits(float(np.mean(pd))),
        "bad_rate": _digits(float(np.mean(bad))),
        "calibration": _rounded(calibration(pd, bad)),
    }


def against_truth(pd: Sequence[float], truth: Sequence[float]) -> dict[str, Any]:
    """All figures of a score on rows whose true probability is known; `oracle_*` is what the truth itself would reach."""
    apart = len(set(pd)) > 1 and len(set(truth)) > 1
    return {
        "rows": len(truth),
        "auc": _digits(auc(pd, truth)),
        "oracle_auc": _digits(auc(truth, truth)),
        "ks": _digits(ks(pd, truth)),
        "oracle_ks": _digits(ks(truth, truth)),
        "rank_correlation": _digits(float(stats.spearmanr(pd, truth).statistic)) if apart else None,
        "ece": _digits(ece(pd, truth)),
        "mean_pd": _digits(float(np.mean(pd))),
        "mean_true_pd": _digits(float(np.mean(truth))),
        "calibration": _rounded(calibration(pd, truth)),
    }


def _digits(value: float | None) -> float | None:
    """Six digits: enough for people, too few for the last bit of a library's sum to show."""
    return None if value is None else round(value, 6)


def _rounded(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**line, "mean_pd": _digits(line["mean_pd"]), "bad_rate": _digits(line["bad_rate"])} for line in table]
