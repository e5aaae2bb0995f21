"""The artefact as SQL text, the same for Spark and DuckDB: points, log-odds, pd, band and reasons of every row of a relation.

Three layers: the bin of each feature (one CASE each, comparing exactly), what the bins give, the reasons. Additions stand in the
order of `models.score`, doubles are written with all their digits, so both give the same bits; only exp() may differ in its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from models.artefact import CODE, Artefact, Feature
from models.score import REASONS

COLUMNS = ("points", "log_odds", "pd", "band", *(f"reason_{number}" for number in range(1, REASONS + 1)))


def score_select(artefact: Artefact, source: str, keep: Sequence[str]) -> str:
    """SELECT over relation `source`: its columns `keep`, then `COLUMNS`; `source` has a column for every feature of the model."""
    kept = ", ".join(keep)
    front = f"{kept}, " if keep else ""
    features = list(enumerate(artefact.features, start=1))
    bins = ", ".join(f"{_bin(feature)} as bin_{place}" for place, feature in features)
    points = ", ".join(f"{_of_bin(place, [one.points for one in f.bins])} as points_{place}" for place, f in features)
    parts = ", ".join(f"{_of_bin(place, [_double(one.contribution) for one in f.bins])} as part_{place}" for place, f in features)
    inner = f"select {front}{points}, {parts} from (select {front}{bins} from {source}) binned"
    total = " + ".join(f"points_{place}" for place, _ in features)
    log_odds = " + ".join((_double(artefact.intercept), *(f"part_{place}" for place, _ in features)))
    lost = ", ".join(f"{_lost(place, feature, len(features))} as lost_{place}" for place, feature in features)
    scored = f"select {front}{total} as points, {log_odds} as log_odds, {lost} from ({inner}) valued"
    for rank in range(1, REASONS + 1):
        scored = f"select *, {_next_lost(rank, len(features))} as rank_{rank} from ({scored}) ranked_{rank}"
    reasons = ", ".join(f"{_reason(rank, artefact.features)} as reason_{rank}" for rank in range(1, REASONS + 1))
    pd = f"{_double(1.0)} / ({_double(1.0)} + exp(log_odds))"
    return f"select {front}points, log_odds, {pd} as pd, {_band(artefact)} as band, {reasons} from ({scored}) ranked"


def _bin(feature: Feature) -> str:
    whens = [f"when {feature.code} is null then 0"]
    if feature.kind == CODE:
        for number, group in enumerate(feature.groups, start=1):
            whens.append(f"when {feature.code} in ({', '.join(_text(code) for code in group)}) then {number}")
    else:
        for number, edge in enumerate(feature.edges, start=1):
            whens.append(f"when {feature.code} < {_exact(edge, feature.scale)} then {number}")
    return f"case {' '.join(whens)} else {len(feature.bins) - 1} end"


def _of_bin(place: int, values: Sequence[int | str]) -> str:
    """A value by the number of the feature's bin; the last bin is the ELSE."""
    whens = " ".join(f"when {number} then {value}" for number, value in enumerate(values[:-1]))
    return f"case bin_{place} {whens} else {values[-1]} end"


def _lost(place: int, feature: Feature, features: int) -> str:
    """Points below the feature's best and, in the digits below, its place: one number that ranks as the reasons do; 0 = none."""
    below = f"({feature.max_points} - points_{place})"
    return f"case when {below} > 0 then {below} * {features + 1} + {features + 1 - place} else 0 end"


def _next_lost(rank: int, features: int) -> str:
    """The greatest `lost` below that of the rank before."""
    names = [f"lost_{place}" for place in range(1, features + 1)]
    if rank > 1:
        names = [f"case when {name} < rank_{rank - 1} then {name} else 0 end" for name in names]
    return f"greatest({', '.join(names)})" if features > 1 else names[0]


def _reason(rank: int, features: Sequence[Feature]) -> str:
    count = len(features)
    whens = " ".join(
        f"when {count + 1 - place} then {_text(feature.reason_code)}" for place, feature in enumerate(features, start=1)
    )
    return f"case when rank_{rank} > 0 then case rank_{rank} % {count + 1} {whens} end end"


def _band(artefact: Artefact) -> str:
    *upper, (last, _) = artefact.bands
    return _case((f"points >= {least}" for _, least in upper), (_text(name) for name, _ in upper), _text(last))


def _case(conditions: Iterable[str], values: Iterable[str], otherwise: str) -> str:
    pairs = [f"when {condition} then {value}" for condition, value in zip(conditions, values, strict=True)]
    return f"case {' '.join(pairs)} else {otherwise} end" if pairs else otherwise


def _exact(edge: Decimal, scale: int) -> str:
    """An edge in the feature's own kind of number: comparing it with the column loses nothing."""
    if scale == 0 and abs(edge) < 2**63:
        return f"cast({int(edge)} as bigint)"
    return f"cast({_text(f'{edge:f}')} as decimal({20 + scale}, {scale}))"


def _double(value: float) -> str:
    return f"cast({_text(repr(value))} as double)"


def _text(value: str) -> str:
    """A literal; the artefact's schema admits no character that would need escaping."""
    return f"'{value}'"
