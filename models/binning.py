"""Bins of one feature: optbinning finds monotone ranges, exact comparison counts them, WoE follows from the counts.

Policies, all stated in the artefact: *missing* is a bin of its own with the WoE that its own rows give, once it has
`MISSING_ROWS_MIN` of them; with fewer it is NEUTRAL (WoE 0, as if nothing were known). Codes that training never saw are NEUTRAL.
Numbers beyond those seen fall into the end ranges. What cannot be binned is left out, with the reason.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from models.artefact import CODE, NEUTRAL, NUMBER, SCORED, Bin, Feature
from models.metrics import auc, psi
from models.sample import Candidate, Sample
from models.scaling import information_value, woe
from models.score import bin_of

MISSING_ROWS_MIN = 25
BIN_ROWS_MIN, BIN_SHARE_MIN, BINS_MAX = 25, 0.05, 6
MERGE_PVALUE = 0.25
"""Neighbouring ranges whose bad rates do not differ at this level become one."""
IV_MIN, PSI_MAX, LEAK_AUC = 0.02, 0.25, 0.97


@dataclass(frozen=True)
class Binned:
    """A feature with its bins (coefficient and points still to come), the bin of every row, and what its choice goes by."""

    feature: Feature
    numbers: tuple[int, ...]
    information_value: float
    noise: float
    stability_psi: float
    order_kept: float

    def evidence(self, numbers: Sequence[int]) -> list[float]:
        """WoE of rows given as bin numbers."""
        return [self.feature.bins[number].woe for number in numbers]


@dataclass(frozen=True)
class LeftOut:
    """A feature that is not in the model, and why."""

    code: str
    reason: str


def binned(candidate: Candidate, sample: Sample) -> Binned | LeftOut:
    """The bins of a feature on a training sample, or why it has none."""
    values = sample.columns[candidate.code]
    present = [row for row, value in enumerate(values) if value is not None]
    if len(present) < BIN_ROWS_MIN:
        return LeftOut(candidate.code, f"only {len(present)} of {len(sample)} rows have a value")
    shape = _number_shape(candidate, sample, present) if candidate.kind == NUMBER else _code_shape(candidate, sample, present)
    if isinstance(shape, str):
        return LeftOut(candidate.code, shape)
    numbers = tuple(bin_of(shape, value) for value in values)
    feature = _with_evidence(shape, numbers, sample)
    if sum(one.policy == SCORED for one in feature.bins) < 2:
        return LeftOut(candidate.code, "its rows do not fall into two bins of different bad rate")
    return _judged(Binned(feature, numbers, *_worth(feature, sample), *_stability(feature, numbers, sample)), sample)


def _judged(one: Binned, sample: Sample) -> Binned | LeftOut:
    """The rules that a feature must pass by itself, with their thresholds."""
    code = one.feature.code
    ranking = auc([-evidence for evidence in one.evidence(one.numbers)], sample.is_bad) or 0.5
    if ranking >= LEAK_AUC:
        return LeftOut(code, f"its AUC alone is {ranking:.3f}, at least {LEAK_AUC}: it must have leaked")
    if one.information_value - one.noise < IV_MIN:
        return LeftOut(
            code, f"information value {one.information_value:.4f} less {one.noise:.4f} that chance gives is below {IV_MIN}"
        )
    if one.stability_psi > PSI_MAX:
        return LeftOut(
            code, f"its bins move between the halves of the training time: PSI {one.stability_psi:.3f} above {PSI_MAX}"
        )
    return one


def _number_shape(candidate: Candidate, sample: Sample, present: Sequence[int]) -> Feature | str:
    """Edges from optbinning on the rows with a value, moved up to the feature's own digits."""
    values = np.array([float(sample.columns[candidate.code][row]) for row in present])  # type: ignore[arg-type]
    labels = np.array([sample.is_bad[row] for row in present])
    if len(set(labels.tolist())) < 2:
        return "its rows with a value are all good or all bad"
    edges: list[Decimal] = []
    if len(np.unique(values)) > 1:
        found = _optimal(candidate.code, *_softened(values, labels), "numerical")
        if found.status != "OPTIMAL":
            return f"optbinning found no bins: {found.status}"
        step = Decimal(1).scaleb(-candidate.scale)
        # x < 2.5 is x < 3 where x has no digits: the edge in the feature's own digits compares exactly everywhere
        edges = sorted({Decimal(repr(float(edge))).quantize(step, ROUND_CEILING) for edge in found.splits})
    return _shape(candidate, edges=tuple(edges))


def _softened(values: Any, labels: Any) -> tuple[Any, Any]:
    """The rows, and one row of the other class at the inner edge of an end of the scale that is all good or all bad.

    optbinning has no bin of one class: it would give away a range in which nobody was ever bad. Counts are made of the real rows.
    """
    for of_class in (0, 1):
        others = values[labels != of_class]
        for tail, edge in ((values < others.min(), np.max), (values > others.max(), np.min)):
            if tail.sum() >= BIN_ROWS_MIN:
                values, labels = np.append(values, edge(values[tail])), np.append(labels, 1 - of_class)
                break
    return values, labels


def _code_shape(candidate: Candidate, sample: Sample, present: Sequence[int]) -> Feature | str:
    """Groups of codes of like bad rate; codes seen in fewer rows than a bin needs go with no group."""
    values = np.array([str(sample.columns[candidate.code][row]) for row in present], dtype=object)
    labels = np.array([sample.is_bad[row] for row in present])
    codes, counts = np.unique(values.astype(str), return_counts=True)
    common = {str(code) for code, count in zip(codes, counts, strict=True) if count >= BIN_ROWS_MIN}
    chosen = np.array([value in common for value in values])
    if len(common) < 2 or len(set(labels[chosen].tolist())) < 2:
        return "it has not two codes with enough rows and both outcomes"
    found = _optimal(candidate.code, values[chosen], labels[chosen], "categorical")
    if found.status != "OPTIMAL":
        return f"optbinning found no bins: {found.status}"
    return _shape(candidate, groups=tuple(tuple(sorted(str(code) for code in group)) for group in found.splits))


def _shape(candidate: Candidate, edges: tuple[Decimal, ...] = (), groups: tuple[tuple[str, ...], ...] = ()) -> Feature:
    bins = len(edges) + 2 if candidate.kind == NUMBER else len(groups) + 2
    empty = tuple(Bin(0, 0, 0.0, 0.0, 0, NEUTRAL) for _ in range(bins))
    text = {"zh": candidate.zh, "en": candidate.en}
    return Feature(candidate.code, candidate.kind, candidate.scale, candidate.code.upper(), text, 0.0, edges, groups, empty)


def _with_evidence(shape: Feature, numbers: Sequence[int], sample: Sample) -> Feature:
    """The feature with counts, policy and WoE of its bins."""
    bads, rows = [0] * len(shape.bins), [0] * len(shape.bins)
    for number, is_bad in zip(numbers, sample.is_bad, strict=True):
        rows[number] += 1
        bads[number] += is_bad
    last = len(shape.bins) - 1
    neutral = {0} if rows[0] < MISSING_ROWS_MIN else set()
    if shape.kind == CODE:
        neutral.add(last)
    scored = len(shape.bins) - len(neutral)
    bins = []
    for number, (count, bad) in enumerate(zip(rows, bads, strict=True)):
        good = count - bad
        is_neutral = number in neutral
        evidence = 0.0 if is_neutral else woe(good, bad, sample.goods, sample.bads, scored)
        bins.append(Bin(good, bad, evidence, 0.0, 0, NEUTRAL if is_neutral else SCORED))
    return Feature(
        shape.code, shape.kind, shape.scale, shape.reason_code, shape.text, 0.0, shape.edges, shape.groups, tuple(bins)
    )


def _worth(feature: Feature, sample: Sample) -> tuple[float, float]:
    """Information value, and what pure chance gives bins of these counts on average: (bins - 1)(1/goods + 1/bads)."""
    bins = [(one.good, one.bad, one.woe) for one in feature.bins]
    scored = sum(one.policy == SCORED for one in feature.bins)
    return information_value(bins, sample.goods, sample.bads), (scored - 1) * (1 / sample.goods + 1 / sample.bads)


def _stability(feature: Feature, numbers: Sequence[int], sample: Sample) -> tuple[float, float]:
    """PSI of the bins between the halves of the training time, and the share of neighbours whose bad rates keep their order.

    The order is looked at in each half among scored bins that have rows there; 1 means that no half contradicts the whole.
    """
    middle = sorted(sample.dates)[len(sample) // 2]
    rows = [[0.0] * len(feature.bins), [0.0] * len(feature.bins)]
    bads = [[0.0] * len(feature.bins), [0.0] * len(feature.bins)]
    for number, day, is_bad in zip(numbers, sample.dates, sample.is_bad, strict=True):
        rows[day >= middle][number] += 1
        bads[day >= middle][number] += is_bad
    if not all(sum(half) for half in rows):
        return 0.0, 1.0
    kept = []
    for count, bad in zip(rows, bads, strict=True):
        filled = [n for n, one in enumerate(feature.bins) if one.policy == SCORED and count[n]]
        by_evidence = sorted(filled, key=lambda n: -feature.bins[n].woe)
        kept += [bad[low] / count[low] <= bad[high] / count[high] for low, high in pairwise(by_evidence)]
    return psi(*rows), sum(kept) / len(kept) if kept else 1.0


def _optimal(code: str, values: Any, labels: Any, kind: str) -> Any:
    """optbinning's solver, one thread and a fixed seed: monotone in the bad rate for numbers."""
    rows = len(values)
    share = min(0.5, max(BIN_SHARE_MIN, BIN_ROWS_MIN / rows))
    trend = "auto_asc_desc" if kind == "numerical" else None
    found = _optbinning()(
        name=code, dtype=kind, solver="cp", monotonic_trend=trend, max_n_bins=BINS_MAX, min_prebin_size=share, min_bin_size=share,
        max_pvalue=MERGE_PVALUE, time_limit=60,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.fit(values, labels)
    return found


@cache
def _optbinning() -> Any:
    """optbinning's class: it loads solvers that print while they load, and takes seconds, so only training imports it."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from optbinning import OptimalBinning

    return OptimalBinning
