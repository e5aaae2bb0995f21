"""Positions as of many dates in one pass: versions in force, and payments accumulated into intervals (spec 00 section 0.3).

An interval holds from `valid_from` until before `valid_to` (null: open). Joining intervals with the dates of a run gives the
state of every date without looking at any other date, so many dates in one pass equal single runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from lake import completeness

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_SIGNED = (
    "case when {credit} = '{role}' then amount_minor else 0L end - case when {debit} = '{role}' then amount_minor else 0L end"
)
REPAYMENT_TYPES = ("PRINCIPAL", "INTEREST", "COMPENSATORY", "COMPENSATORY_REPAYMENT")


def complete_dates(file_control: DataFrame, platform_id: str | None) -> DataFrame:
    """(platform_id, business_date) that are complete by `lake.completeness`, of one platform where it is given.

    The few pairs are computed here: SQL over a frame puts a view of one name behind every use of the result, and of two uses at
    once in one Connect session the first to end drops it under the other.

    >>> complete_dates(store.of_run(context, "file_control"), context.run.platform_id)  # doctest: +SKIP
    """
    dates = file_control.sparkSession.sql(completeness.complete_dates("{file_control}"), file_control=file_control)
    wanted = dates.where(F.col("platform_id") == platform_id) if platform_id else dates
    return file_control.sparkSession.createDataFrame(wanted.collect(), wanted.schema)


def versions(frame: DataFrame, key: Sequence[str]) -> DataFrame:
    """Position rows with the interval in which each is the newest of its key by business date (last line of a file wins)."""
    same_date = Window.partitionBy(*key, "business_date").orderBy(F.desc("line_no"))
    newest = frame.withColumn("_rank", F.row_number().over(same_date)).where("_rank = 1")
    renamed = newest.drop("_rank").withColumnRenamed("business_date", "valid_from")
    return renamed.withColumn("valid_to", F.lead("valid_from").over(Window.partitionBy(*key).orderBy("valid_from")))


def plan_versions(plan_rows: DataFrame) -> DataFrame:
    """Rows of repayment plans with their interval: of a loan's plan versions the highest that has come is in force."""
    rows = versions(plan_rows, ("platform_id", "loan_no", "plan_version", "issue_no"))
    version = Window.partitionBy("platform_id", "loan_no", "plan_version")
    later = Window.partitionBy("platform_id", "loan_no").orderBy("plan_version").rangeBetween(1, Window.unboundedFollowing)
    return (
        rows.withColumn("_version_from", F.min("valid_from").over(version))
        .withColumn("_version_to", F.min("_version_from").over(later))
        .withColumn("valid_to", F.least("valid_to", "_version_to"))
    )


def on_dates(intervals: DataFrame, dates: DataFrame) -> DataFrame:
    """What is in force on each date of its platform: one row an interval and date, with `business_date`."""
    days = F.broadcast(dates.withColumnRenamed("platform_id", "_platform"))
    holds = (
        (F.col("platform_id") == F.col("_platform"))
        & (F.col("valid_from") <= F.col("business_date"))
        & (F.col("valid_to").isNull() | (F.col("business_date") < F.col("valid_to")))
    )
    return intervals.join(days, holds).drop("_platform", "valid_from", "valid_to")


def payments(movements: DataFrame, opening_payments: DataFrame) -> DataFrame:
    """Repayments of book B and of the opening book: signed minor units that lenders received, and of whom.

    Columns platform_id, loan_no, issue_no, component, paid_on, claim_no, lender_account_no, to_lenders_minor, by_borrower_minor,
    by_guarantor_minor. A reversal, having its accounts swapped, takes back what its original gave.
    """
    to_lenders = F.expr(_SIGNED.format(credit="credit_role", debit="debit_role", role="INVESTOR"))
    by_borrower = F.expr(_SIGNED.format(credit="debit_role", debit="credit_role", role="BORROWERS"))
    posted = movements.where(F.col("movement_type").isin(*REPAYMENT_TYPES)).select(
        "platform_id",
        "loan_no",
        "issue_no",
        F.expr("coalesce(component, case movement_type when 'INTEREST' then 'I' else 'P' end)").alias("component"),
        F.col("business_date").alias("paid_on"),
        "claim_no",
        F.expr("case when debit_role = 'INVESTOR' then debit_account_no else credit_account_no end").alias("lender_account_no"),
        to_lenders.alias("to_lenders_minor"),
        by_borrower.alias("by_borrower_minor"),
        F.when(F.col("movement_type") == "COMPENSATORY", to_lenders)
        .otherwise(F.lit(0))
        .cast("bigint")
        .alias("by_guarantor_minor"),
    )
    history = opening_payments.select(
        "platform_id",
        "loan_no",
        "issue_no",
        "component",
        "paid_on",
        F.lit(None).cast("string").alias("claim_no"),
        F.lit(None).cast("string").alias("lender_account_no"),
        F.col("amount_minor").alias("to_lenders_minor"),
        F.expr("case when payer_role = 'BORROWERS' then amount_minor else 0L end").alias("by_borrower_minor"),
        F.expr("case when payer_role = 'GUARANTEECORP' then amount_minor else 0L end").alias("by_guarantor_minor"),
    )
    return posted.unionByName(history)


def cumulated(events: DataFrame, key: Sequence[str], columns: Sequence[str], first_date: date) -> DataFrame:
    """Running sums of signed events per key as intervals; events before `first_date` count as one on it.

    `events` has the key, `paid_on` and the columns to add up.
    """
    day = F.greatest("paid_on", F.lit(first_date)).alias("valid_from")
    by_day = events.groupBy(*key, day).agg(*(F.sum(column).alias(column) for column in columns))
    so_far = Window.partitionBy(*key).orderBy("valid_from")
    running = so_far.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    return by_day.select(
        *key,
        "valid_from",
        F.lead("valid_from").over(so_far).alias("valid_to"),
        *(F.sum(column).over(running).alias(column) for column in columns),
    )


def with_sums(frame: DataFrame, sums: DataFrame, key: Sequence[str], columns: Sequence[str]) -> DataFrame:
    """`frame` (one row a key and date) with the running sums in force on its date, zero where nothing happened yet."""
    renamed = sums.select(*(F.col(name).alias(f"_{name}") for name in (*key, "valid_from", "valid_to", *columns)))
    condition = (F.col("_valid_from") <= F.col("business_date")) & (
        F.col("_valid_to").isNull() | (F.col("business_date") < F.col("_valid_to"))
    )
    for name in key:
        condition = condition & (F.col(name) == F.col(f"_{name}"))
    joined = frame.join(renamed, condition, "left")
    filled = [F.coalesce(F.col(f"_{name}"), F.lit(0)).cast("bigint").alias(name) for name in columns]
    return joined.select(*(F.col(name) for name in frame.columns), *filled)
