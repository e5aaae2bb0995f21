"""Features of a borrower's own past on the platform: loans, instalments, payments (spec 00 section 0.3, 06 section 6.4).

The past is told by events with dates: a loan paid out, an instalment due, a payment. An observation counts events up to the last
business date that had closed. Days past due are the borrower's own (BD): what guarantors paid does not cure them, and a day
counts when something was overdue at its close, as in `loan_snapshot`.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from domain.packs import Pack
from spark_jobs.feature_bureau import KEY, YEAR_DAYS, ratio
from spark_jobs.positions import cumulated, on_dates, payments, plan_versions, versions
from spark_jobs.snapshot import PACK, with_ref

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BEGINNING = date(1900, 1, 1)
_LOAN = ("platform_id", "loan_no")
_ISSUE = (*_LOAN, "issue_no")
_CUSTOMER = ("platform_id", "customer_no")


def known_dates(observations: DataFrame) -> DataFrame:
    """(platform_id, business_date) of every `known_on`: the dates on which positions are looked up."""
    return observations.select("platform_id", F.col("known_on").alias("business_date")).distinct()


def people(customers: DataFrame, dates: DataFrame) -> DataFrame:
    """platform_id, known_on, borrower_ref, customer_no, opened_on: whose customer numbers are whose, as known on the dates."""
    return on_dates(versions(customers, _CUSTOMER), dates).select(
        "platform_id",
        F.col("business_date").alias("known_on"),
        F.col("id_hash").alias("borrower_ref"),
        "customer_no",
        "opened_on",
    )


def own_features(
    observations: DataFrame, loans: DataFrame, plan_rows: DataFrame, customers: DataFrame, paid: DataFrame
) -> DataFrame:
    """KEY, the features of group OWN and own_known_on, one row an observation.

    `loans`, `plan_rows`, `customers` are rows of the lake tables, `paid` what `spark_jobs.positions.payments` gives.
    """
    dates = known_dates(observations)
    theirs = _loans_of(observations, loans, customers, dates)
    sums = _loan_sums(theirs, paid)
    issues = _issues(plan_rows)
    late = _late(theirs, _late_periods(issues, paid))
    joined = people(customers, dates).where("opened_on is not null")
    age = (
        observations.join(joined, ["platform_id", "known_on", "borrower_ref"])
        .where("opened_on <= as_of_date")
        .groupBy(*KEY)
        .agg(F.expr("max(datediff(as_of_date, opened_on))").alias("own_age_days"))
    )
    found = observations.select(*KEY, "as_of_date")
    for part in (age, sums, _due(theirs, issues), late):
        found = found.join(part, [*KEY], "left")
    issue_known = "coalesce(due_issue_cnt, 0) > 0"
    return found.select(
        *KEY,
        "own_age_days",
        F.coalesce("own_loan_cnt", F.lit(0)).alias("own_loan_cnt"),
        ratio("due_issue_cnt - coalesce(late_issue_cnt, 0)", "due_issue_cnt").alias("own_on_time_ratio"),
        F.expr(f"case when {issue_known} then coalesce(late_dpd_365, 0) end").alias("own_max_dpd_365"),
        F.expr(f"case when {issue_known} then coalesce(late_issue_cnt_365, 0) end").alias("own_late_issue_cnt_365"),
        "own_outstanding_minor",
        ratio("repaid_minor", "disbursed_minor").alias("own_repaid_share"),
        F.greatest("loans_known_on", "issues_known_on", "late_known_on").alias("own_known_on"),
    )


def _loans_of(observations: DataFrame, loans: DataFrame, customers: DataFrame, dates: DataFrame) -> DataFrame:
    """An observation beside each loan that had been paid out to its borrower by then."""
    held = on_dates(versions(loans, _LOAN), dates).where("disbursed_on is not null")
    named = with_ref(held, versions(customers, _CUSTOMER), dates, "borrower_customer_no", "borrower_ref")
    known = named.select(
        "platform_id", F.col("business_date").alias("known_on"), "borrower_ref", "loan_no", "disbursed_on", "disbursed_minor"
    )
    joined = observations.join(known, ["platform_id", "known_on", "borrower_ref"])
    return joined.where("disbursed_on <= as_of_date").select(*KEY, "as_of_date", "loan_no", "disbursed_on", "disbursed_minor")


def _loan_sums(theirs: DataFrame, paid: DataFrame) -> DataFrame:
    """Per observation: number and amount of loans, what lenders have not got back, what the borrower repaid of principal."""
    principal = paid.where("component = 'P'")
    running = cumulated(principal, _LOAN, ("to_lenders_minor", "by_borrower_minor"), BEGINNING)
    sums = running.select(
        *(F.col(name).alias(f"_{name}") for name in (*_LOAN, "valid_from", "valid_to")), "to_lenders_minor", "by_borrower_minor"
    )
    in_force = (
        (F.col("platform_id") == F.col("_platform_id"))
        & (F.col("loan_no") == F.col("_loan_no"))
        & (F.col("_valid_from") <= F.col("as_of_date"))
        & (F.col("_valid_to").isNull() | (F.col("as_of_date") < F.col("_valid_to")))
    )
    state = theirs.join(sums, in_force, "left")
    return state.groupBy(*KEY).agg(
        F.expr("cast(count(*) as int)").alias("own_loan_cnt"),
        F.sum("disbursed_minor").alias("disbursed_minor"),
        F.expr("sum(greatest(disbursed_minor - coalesce(to_lenders_minor, 0L), 0L))").alias("own_outstanding_minor"),
        F.expr("sum(greatest(least(coalesce(by_borrower_minor, 0L), disbursed_minor), 0L))").alias("repaid_minor"),
        F.expr("greatest(max(disbursed_on), max(_valid_from))").alias("loans_known_on"),
    )


def _issues(plan_rows: DataFrame) -> DataFrame:
    """Instalments with the day the row came, the days [row_from, row_to) on which it holds, and the first day it can be overdue.

    The first plan of a loan that ever came holds from the beginning: a loan older than its first file had it too.
    """
    offset = Pack.of(PACK).parameters["overdue_day_offset"]
    first = F.min("valid_from").over(Window.partitionBy(*_LOAN))
    return plan_versions(plan_rows).select(
        *_ISSUE,
        "due_principal_minor",
        "due_interest_minor",
        "due_on",
        F.date_add("due_on", 1 + offset).alias("overdue_from"),
        F.col("valid_from").alias("came_on"),
        F.when(F.col("valid_from") == first, F.lit(BEGINNING)).otherwise(F.col("valid_from")).alias("row_from"),
        F.col("valid_to").alias("row_to"),
    )


def _in_force(rows: DataFrame, observed: DataFrame) -> DataFrame:
    """Observations beside the rows of their loans (with came_on, row_from, row_to) that were in force and in hand."""
    holds = "came_on <= known_on and row_from <= as_of_date and (row_to is null or as_of_date < row_to)"
    return observed.select(*KEY, "as_of_date", "loan_no").join(rows, [*_LOAN]).where(holds)


def _due(theirs: DataFrame, issues: DataFrame) -> DataFrame:
    """Per observation: instalments whose lateness could be seen by then."""
    due = _in_force(issues, theirs).where("overdue_from <= as_of_date")
    return due.groupBy(*KEY).agg(F.expr("cast(count(*) as int)").alias("due_issue_cnt"), F.max("due_on").alias("issues_known_on"))


def _late_periods(issues: DataFrame, paid: DataFrame) -> DataFrame:
    """Days [late_from, late_to] at whose close an instalment was overdue for its borrower (late_to null: still); few rows."""
    tau = Pack.of(PACK).parameters["tau_minor"]
    by_issue = paid.select(
        *_ISSUE,
        "paid_on",
        F.expr("case when component = 'P' then by_borrower_minor else 0L end").alias("principal"),
        F.expr("case when component = 'I' then by_borrower_minor else 0L end").alias("interest"),
    )
    nothing = issues.select(*_ISSUE).distinct().selectExpr(*_ISSUE, f"date'{BEGINNING}' paid_on", "0L principal", "0L interest")
    sums = cumulated(by_issue.unionByName(nothing), _ISSUE, ("principal", "interest"), BEGINNING)
    missing = "greatest(due_principal_minor - principal, 0L) + greatest(due_interest_minor - interest, 0L)"
    periods = issues.join(sums, [*_ISSUE]).where(f"{missing} > {tau}")
    return periods.select(
        *_ISSUE,
        "due_on",
        "came_on",
        "row_from",
        "row_to",
        F.greatest("valid_from", "overdue_from").alias("late_from"),
        F.date_sub("valid_to", 1).alias("late_to"),
    ).where("late_to is null or late_from <= late_to")


def _late(theirs: DataFrame, periods: DataFrame) -> DataFrame:
    """Per observation: instalments ever overdue, overdue within the last year, and the most days past due within it."""
    seen = _in_force(periods, theirs).where("late_from <= as_of_date")
    last = seen.withColumn("last_late_on", F.expr("least(coalesce(late_to, as_of_date), as_of_date)"))
    recent = f"last_late_on > date_sub(as_of_date, {YEAR_DAYS})"
    return last.groupBy(*KEY).agg(
        F.expr("size(collect_set(struct(loan_no, issue_no)))").alias("late_issue_cnt"),
        F.expr(f"size(collect_set(case when {recent} then struct(loan_no, issue_no) end))").alias("late_issue_cnt_365"),
        F.expr(f"max(case when {recent} then datediff(last_late_on, due_on) end)").alias("late_dpd_365"),
        F.max("last_late_on").alias("late_known_on"),
    )


def paid_by(movements: DataFrame, opening_payments: DataFrame) -> DataFrame:
    """Repayments of book B and of the opening book (`spark_jobs.positions.payments`)."""
    return payments(movements, opening_payments)
