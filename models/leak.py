"""The leak test: a feature may not know what was not knowable yet (architecture section 8, spec 06 section 6.4).

Two nets. Every row of features says how late its latest fact was (`bureau_known_at`, `books_known_on`): `KNOWS_TOO_MUCH` finds
rows that used one too late. And a feature that hides its sources is caught by cutting them: `KNOWABLE_BY` keeps of every source
what was knowable at a moment; whoever computes other values from all than from the kept facts has looked into the future.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

KNOWS_TOO_MUCH = "(bureau_known_at >= as_of or books_known_on > as_of_date)"
"""Condition on a row of features with its observation; null (nothing was used) is not too much."""

KNOWABLE_BY: Mapping[str, str] = {
    "loan": "disbursed_on <= {as_of_date}",
    "plan_row": "plan_version = 1 or business_date <= {as_of_date}",
    "customer": "true",
    "opening_payment": "paid_on <= {as_of_date}",
    "ledger_movement": "business_date <= {as_of_date}",
    "ledger_balance": "business_date <= {as_of_date}",
    "industry_record": "knowable_at < {as_of}",
    "reputation_hit": "knowable_at < {as_of}",
}
"""By lake table, which rows were knowable at a moment: `as_of` and `as_of_date` are SQL literals. Who a customer is stays."""


def leaking(full: DataFrame, cut: DataFrame, key: Sequence[str], features: Sequence[str]) -> dict[str, int]:
    """Features whose values differ between the two frames, with the number of observations that differ; empty: no leak.

    `full` was computed from all sources, `cut` from those of `KNOWABLE_BY`, for the same observations.
    """
    left = full.select(*key, *(F.col(name).alias(f"full_{name}") for name in features))
    right = cut.select(*key, *(F.col(name).alias(f"cut_{name}") for name in features))
    counts = left.join(right, [*key], "full").agg(
        *(F.count_if(~F.col(f"full_{name}").eqNullSafe(F.col(f"cut_{name}"))).alias(name) for name in features)
    )
    row = counts.collect()[0]
    return {name: int(row[name]) for name in features if row[name]}
