"""What became of every loan, as known on a date: the most days its borrower was past due in its first months (spec 06 6.4).

An instalment is past due on a day when it fell due before it and more than τ of it was unpaid by the borrower at its end, so its
most days past due are those of the last such day. Rows of a plan hold over the days on which they were in force, sums paid over
the days between payments: joining the two gives that day without looking at any date in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from domain.packs import Pack
from models.outcomes import DEFINITION, Definition
from spark_jobs.positions import plan_versions

if TYPE_CHECKING:
    from datetime import date

    from pyspark.sql import Column, DataFrame

PACK = "CN_2017"
_LOAN = ("platform_id", "loan_no")
_ISSUE = (*_LOAN, "issue_no")
_PAID = ("principal", "interest")
_FIRST = "date'1900-01-01'"
_NEVER = "date'9999-12-31'"


def outcomes(
    loans: DataFrame, plan_rows: DataFrame, paid: DataFrame, known_on: date, definition: Definition = DEFINITION
) -> DataFrame:
    """One row a loan: platform_id, loan_no, disbursed_on, matures_on, max_dpd (up to both matures_on and `known_on`), outcome.

    `loans` are rows with platform_id, loan_no, disbursed_on; `plan_rows` those of lake table `plan_row`; `paid` what
    `spark_jobs.positions.payments` gives: all as they had come by `known_on`.
    """
    judged = loans.select(
        *_LOAN, "disbursed_on", F.expr(f"add_months(disbursed_on, {definition.months})").alias("matures_on")
    ).distinct()
    rows = _plan_in_force(plan_rows).join(judged, [*_LOAN])
    sums = _borrower_sums(paid.where(F.col("paid_on") <= F.lit(known_on)), rows.select(*_ISSUE).distinct())
    looked_until = F.least("matures_on", F.lit(known_on))
    last_on = F.least(F.date_sub("row_to", 1), F.date_sub("sum_to", 1), looked_until)
    past_due = rows.join(sums, [*_ISSUE]).withColumn("last_on", last_on).where(_is_past_due())
    worst = past_due.groupBy(*_LOAN).agg(F.expr("max(datediff(last_on, due_on))").alias("max_dpd"))
    known = judged.join(worst, [*_LOAN], "left").withColumn("max_dpd", F.coalesce("max_dpd", F.lit(0)))
    return known.withColumn("outcome", F.expr(definition.outcome_sql("max_dpd", "matures_on", f"date'{known_on}'")))


def _plan_in_force(plan_rows: DataFrame) -> DataFrame:
    """Rows of plans with the days [row_from, row_to) on which they were in force.

    The first plan of a loan that ever came holds from the beginning: loans older than their first file had it too.
    """
    rows = plan_versions(plan_rows)
    first = F.min("valid_from").over(Window.partitionBy(*_LOAN))
    return rows.select(
        *_ISSUE,
        "due_on",
        "due_principal_minor",
        "due_interest_minor",
        F.when(F.col("valid_from") == first, F.expr(_FIRST)).otherwise(F.col("valid_from")).alias("row_from"),
        F.coalesce("valid_to", F.expr(_NEVER)).alias("row_to"),
    )


def _borrower_sums(paid: DataFrame, issues: DataFrame) -> DataFrame:
    """What the borrower himself had paid of each instalment, over days [sum_from, sum_to); nothing before the first payment."""
    signed = paid.select(
        *_ISSUE,
        "paid_on",
        F.expr("case when component = 'P' then by_borrower_minor else 0L end").alias("principal"),
        F.expr("case when component = 'I' then by_borrower_minor else 0L end").alias("interest"),
    )
    nothing = issues.select(
        *_ISSUE, F.expr(_FIRST).alias("paid_on"), F.expr("0L").alias("principal"), F.expr("0L").alias("interest")
    )
    by_day = signed.unionByName(nothing).groupBy(*_ISSUE, "paid_on").agg(*(F.sum(name).alias(name) for name in _PAID))
    in_order = Window.partitionBy(*_ISSUE).orderBy("paid_on")
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    return by_day.select(
        *_ISSUE,
        F.col("paid_on").alias("sum_from"),
        F.coalesce(F.lead("paid_on").over(in_order), F.expr(_NEVER)).alias("sum_to"),
        *(F.sum(name).over(so_far).alias(f"paid_{name}") for name in _PAID),
    )


def _is_past_due() -> Column:
    """The row and the sum hold together up to `last_on`, it is past due there, and more than τ is missing."""
    parameters = Pack.of(PACK).parameters
    return F.expr(
        f"""last_on >= greatest(row_from, sum_from) and due_on < date_sub(last_on, {parameters["overdue_day_offset"]})
        and greatest(due_principal_minor - paid_principal, 0L) + greatest(due_interest_minor - paid_interest, 0L)
            > {parameters["tau_minor"]}"""
    )
