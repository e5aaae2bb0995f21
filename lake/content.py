"""What a table holds, as a number: rows and a hash per date that do not depend on the run, its clock or the partitioning.

Architecture section 4: re-running, re-partitioning, one pass or many give the same hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from hashlib import sha256
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from lake.steps import StepContext
from lake.store import of_run
from lake.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# `received_at` is when a file came, which a second delivery of the same bytes changes
NOT_CONTENT = frozenset({"run_id", "received_at"})
_PIECES = (1, 16, 31, 46)
_PIECE_DIGITS = 15
_TEXT_OPTIONS = {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}

Content = dict[str, dict[str, int | str]]


def content_columns(name: str) -> tuple[str, ...]:
    """The columns of a table that count as its content, in their order."""
    return tuple(column for column in TABLES[name].columns if column not in NOT_CONTENT)


def content(context: StepContext, name: str) -> Content:
    """``{"2026-08-31": {"rows": 12, "hash": "…"}}`` of the rows this run wrote to table `name`; dates without rows are absent.

    A row is its JSON text (numbers and nulls written out, microseconds kept); its sha256 is cut into 60-bit pieces, and a
    date's hash is sha256 over its row count and the sums of the pieces: sums do not depend on the order, and unlike XOR
    they count a doubled row.
    """
    return contents(context, [name])[name]


def contents(context: StepContext, names: Sequence[str]) -> dict[str, Content]:
    """`content` of several tables, computed in one pass: one Spark action instead of one a table."""
    found: dict[str, Content] = {name: {} for name in names}
    if names:
        rows = (
            reduce(lambda one, other: one.unionByName(other), (_sums(context, name) for name in names))
            .orderBy("name", "business_date")
            .collect()
        )
        for row in rows:
            digest = _date_hash(row["rows"], [row[f"sum_{start}"] for start in _PIECES])
            found[row["name"]][row["business_date"].isoformat()] = {"rows": row["rows"], "hash": digest}
    return found


def _sums(context: StepContext, name: str) -> DataFrame:
    text = F.to_json(F.struct(*content_columns(name)), _TEXT_OPTIONS)
    rows = of_run(context, name).select(F.lit(name).alias("name"), "business_date", F.sha2(text, 256).alias("digest"))
    sums = (F.sum(_piece(start)).cast("string").alias(f"sum_{start}") for start in _PIECES)
    return rows.groupBy("name", "business_date").agg(F.count(F.lit(1)).alias("rows"), *sums)


def _piece(start: int) -> Column:
    return F.conv(F.substring("digest", start, _PIECE_DIGITS), 16, 10).cast("decimal(20,0)")


def _date_hash(rows: int, sums: list[str]) -> str:
    return sha256("|".join((str(rows), *sums)).encode()).hexdigest()
