"""Step `indicators`: the figures of a rule pack per platform, currency and date, from the run's snapshots (spec 01 section 1.3).

The definitions are data (`domain/packs`): measures are integer aggregates, indicators sums of them or quotients of two sums,
rounded half-up by integer arithmetic: shares to six digits, averages to the minor unit. A quotient whose denominator is zero has
no value. What a pack cannot give yet and what is metadata of a report is not computed here.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from domain.packs import Indicator, Pack, Rounding, Source
from lake import store
from lake.steps import StepContext, StepResult
from lake.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PACK = "CN_2017"
_GROUP = ("business_date", "platform_id", "currency")
_UNITS = {Rounding.HALF_UP_0: 1, Rounding.HALF_UP_6: 1_000_000}


def run(context: StepContext) -> StepResult:
    """Write table `indicator` from `loan_snapshot` and `claim_snapshot` of the run."""
    loans, claims = store.of_run(context, "loan_snapshot"), store.of_run(context, "claim_snapshot")
    figures = indicators(Pack.of(PACK), loans, claims).withColumn("run_id", F.lit(context.run.run_id).cast("bigint"))
    written = store.write(context, "indicator", figures.select(*TABLES["indicator"].columns))
    return StepResult(store.count_rows([loans, claims]), written, {"indicator": written})


def indicators(pack: Pack, loans: DataFrame, claims: DataFrame) -> DataFrame:
    """What `pack` computes, one row a date, platform, currency and code: the columns of lake table `indicator` but run_id."""
    frames = {
        Source.LOAN: loans.withColumn("overdue_minor", F.expr("overdue_principal_minor + overdue_interest_minor")),
        Source.BORROWER: _ranked(loans, "borrower_ref"),
        Source.CLAIM: _claims(claims, loans),
        Source.LENDER: _ranked(claims, "lender_ref"),
    }
    measured = reduce(
        lambda left, right: left.join(right, [*_GROUP], "left"),
        (_measured(pack, source, frame) for source, frame in frames.items()),
    )
    rows = F.explode(F.array(*(_figure(pack, indicator) for indicator in pack.computed))).alias("figure")
    return measured.select(*_GROUP, rows).select("business_date", "platform_id", "currency", "figure.*")


def _measured(pack: Pack, source: Source, frame: DataFrame) -> DataFrame:
    """Measures of one source, and of how many rows each is made (`CODE__rows`)."""
    columns: list[Column] = []
    for measure in pack.measures.values():
        if measure.source is source:
            columns.append(F.expr(measure.sql).cast("bigint").alias(measure.code))
            columns.append(F.expr(measure.rows_sql).cast("bigint").alias(f"{measure.code}__rows"))
    return frame.groupBy(*_GROUP).agg(*columns)


def _ranked(rows: DataFrame, person: str) -> DataFrame:
    """People with their balance over all their loans or claims and its rank from the largest."""
    balances = rows.groupBy(*_GROUP, person).agg(F.sum("outstanding_principal_minor").alias("balance_minor"))
    largest_first = Window.partitionBy(*_GROUP).orderBy(F.desc("balance_minor"), person)
    return balances.withColumn("balance_rank", F.row_number().over(largest_first))


def _claims(claims: DataFrame, loans: DataFrame) -> DataFrame:
    """Claims with the interest their loan still owes."""
    interest = loans.select(
        "business_date", "platform_id", "loan_no", F.col("outstanding_interest_minor").alias("loan_interest_minor")
    )
    return claims.join(interest, ["business_date", "platform_id", "loan_no"], "left")


def _figure(pack: Pack, indicator: Indicator) -> Column:
    numerator = _total(indicator.numerator)
    denominator = _total(indicator.denominator) if indicator.denominator else F.lit(None).cast("bigint")
    return F.struct(
        F.lit(pack.pack_id).alias("pack_id"),
        F.lit(indicator.code).alias("code"),
        F.lit(indicator.version).alias("definition_version"),
        F.lit(indicator.unit.value).alias("unit"),
        _value(indicator).cast("decimal(38,6)").alias("value"),
        numerator.alias("numerator"),
        denominator.alias("denominator"),
        _total(tuple(f"{code}__rows" for code in indicator.numerator)).alias("evidence_rows"),
    )


def _total(columns: tuple[str, ...]) -> Column:
    """Sum of measures; a source without rows gives zero."""
    return F.expr(" + ".join(f"coalesce({column}, 0L)" for column in columns)).cast("bigint")


def _value(indicator: Indicator) -> Column:
    above = " + ".join(f"coalesce({column}, 0L)" for column in indicator.numerator)
    if indicator.rounding is Rounding.NONE:
        return F.expr(above)
    below = " + ".join(f"coalesce({column}, 0L)" for column in indicator.denominator)
    above, below = f"cast({above} as decimal(28,0))", f"cast({below} as decimal(28,0))"
    units = _UNITS[indicator.rounding]
    # floor((2·n·units + d) / 2d): half-up without a rounded intermediate
    rounded = f"({above} * {2 * units} + {below}) div (2 * {below})"
    return F.expr(f"case when {below} > 0 then cast({rounded} as decimal(31,0)) / cast({units} as decimal(7,0)) end")
