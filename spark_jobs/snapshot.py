"""Step `snapshot`: every loan and claim on every complete date: balances, days past due on both sides, compensation.

Spec 00 section 0.3 and 05 sections 5.1–5.2. A row of a plan is overdue when it was due before the date and more than τ of it is
missing; overdue amounts are of such rows only, so LD = 0 means nothing overdue. Outstanding principal is what was disbursed less
what lenders received as principal, whoever paid. LD > BD is the finding LD_GT_BD (CRITICAL), never an error of this step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from domain.buckets import BUCKETS
from domain.packs import Pack
from lake import store
from lake.steps import StepContext, StepResult
from lake.tables import TABLES
from spark_jobs.positions import complete_dates, cumulated, on_dates, payments, plan_versions, versions, with_sums

if TYPE_CHECKING:
    from datetime import date

    from pyspark.sql import Column, DataFrame

PACK = "CN_2017"
FINDING = "LD_GT_BD"
UNKNOWN_PERSON = "customer-"
"""How the token of a person begins whose customer row has not come."""
_LOAN = ("platform_id", "loan_no")
_ISSUE = (*_LOAN, "issue_no")
_CLAIM = ("platform_id", "claim_no")
_INPUTS = ("loan", "plan_row", "claim", "customer", "opening_payment", "ledger_movement")
_PAID = ("lender_principal", "lender_interest", "borrower_principal", "borrower_interest")


def run(context: StepContext) -> StepResult:
    """Write `loan_snapshot` and `claim_snapshot` of the run's complete dates; the detail holds the cross-checks."""
    dates = complete_dates(store.of_run(context, "file_control"), context.run.platform_id)
    inputs = {name: store.as_of(context, name) for name in _INPUTS}
    paid = payments(inputs["ledger_movement"], inputs["opening_payment"])
    first, run_id = context.run.first_date, context.run.run_id
    people = versions(inputs["customer"], ("platform_id", "customer_no"))
    loans = loan_snapshot(inputs["loan"], inputs["plan_row"], paid, people, dates, first)
    claims = claim_snapshot(inputs["claim"], paid, people, dates, first)
    frames = {"loan_snapshot": loans, "claim_snapshot": claims}
    tables = store.write_all(context, {name: _columns(frame, name, run_id) for name, frame in frames.items()})
    written, held = store.of_run(context, "loan_snapshot"), store.of_run(context, "claim_snapshot")
    rows_in = store.count_rows(inputs.values())
    return StepResult(rows_in, sum(tables.values()), tables, cross_checks(written, held))


def loan_snapshot(
    loans: DataFrame, plan_rows: DataFrame, paid: DataFrame, people: DataFrame, dates: DataFrame, first_date: date
) -> DataFrame:
    """One row a loan disbursed by the date: the columns of lake table `loan_snapshot` but run_id."""
    granted = on_dates(versions(loans, _LOAN), dates).where("disbursed_on <= business_date")
    issue_sums = cumulated(_by_side(paid), _ISSUE, (*_PAID, "compensated"), first_date)
    rows = with_sums(on_dates(plan_versions(plan_rows), dates), issue_sums, _ISSUE, _PAID)
    loan_sums = cumulated(_loan_events(paid, issue_sums, first_date), _LOAN, _LOAN_COLUMNS, first_date)
    state = with_sums(granted, loan_sums, _LOAN, _LOAN_COLUMNS).join(_overdue(rows), [*_LOAN, "business_date"], "left")
    named = with_ref(state, people, dates, "borrower_customer_no", "borrower_ref")
    return named.select(
        "business_date",
        "platform_id",
        "loan_no",
        "borrower_customer_no",
        "borrower_ref",
        "currency",
        "plan_type",
        "disbursed_on",
        "disbursed_minor",
        F.expr("greatest(disbursed_minor - principal_received, 0L)").alias("outstanding_principal_minor"),
        *(
            F.coalesce(name, F.lit(0)).cast("bigint").alias(name)
            for name in ("outstanding_interest_minor", "overdue_principal_minor", "overdue_interest_minor")
        ),
        F.col("compensated").alias("compensated_minor"),
        F.col("compensated_issues").alias("compensated_issue_count"),
        F.coalesce("lender_dpd", F.lit(0)).alias("lender_dpd"),
        F.coalesce("borrower_dpd", F.lit(0)).alias("borrower_dpd"),
        _bucket("lender_dpd").alias("lender_bucket"),
        _bucket("borrower_dpd").alias("borrower_bucket"),
        F.when(F.col("lender_dpd") > F.col("borrower_dpd"), FINDING).alias("finding"),
    )


def claim_snapshot(claims: DataFrame, paid: DataFrame, people: DataFrame, dates: DataFrame, first_date: date) -> DataFrame:
    """One row a claim opened by the date: its outstanding principal by book B, and whether it is open.

    `principal_minor` is what the platform last reported; `outstanding_principal_minor` is the principal of the claim's first row
    less the principal that book B paid on it on later dates, zero for a closed claim: two independent ways to one number.
    """
    rows = versions(claims, _CLAIM)
    first_rows = (
        rows.groupBy(*_CLAIM)
        .agg(F.min_by(F.struct("valid_from", "principal_minor", "loan_no", "lender_account_no"), "valid_from").alias("f"))
        .select(
            *_CLAIM,
            F.col("f.valid_from").alias("first_on"),
            F.col("f.principal_minor").alias("first_minor"),
            F.col("f.loan_no").alias("loan_no"),
            F.col("f.lender_account_no").alias("lender_account_no"),
        )
    )
    repaid = cumulated(_claim_events(paid, first_rows), _CLAIM, ("repaid",), first_date)
    held = on_dates(rows, dates).where("opened_on <= business_date")
    state = with_sums(held, repaid, _CLAIM, ("repaid",)).join(first_rows.select(*_CLAIM, "first_minor"), [*_CLAIM])
    is_open = F.expr("closed_on is null or closed_on > business_date")
    return with_ref(state, people, dates, "lender_customer_no", "lender_ref").select(
        "business_date",
        "platform_id",
        "claim_no",
        "loan_no",
        "lender_customer_no",
        "lender_ref",
        "currency",
        "principal_minor",
        F.when(is_open, F.expr("greatest(first_minor - repaid, 0L)")).otherwise(F.lit(0)).alias("outstanding_principal_minor"),
        is_open.alias("is_open"),
    )


def cross_checks(loans: DataFrame, claims: DataFrame) -> dict[str, Any]:
    """Counts for the manifest: findings, loans whose claims do not add up, claims reported otherwise than book B says."""
    per_loan = claims.groupBy("business_date", *_LOAN).agg(F.sum("outstanding_principal_minor").alias("claims_minor"))
    differs = F.expr("outstanding_principal_minor <> coalesce(claims_minor, 0L)")
    loan_row = loans.join(per_loan, ["business_date", *_LOAN], "left").agg(
        F.expr(f"count_if(finding = '{FINDING}')").alias("lender_dpd_above_borrower_dpd"),
        F.count_if(differs).alias("loans_whose_claims_differ"),
        F.expr(f"count_if(startswith(borrower_ref, '{UNKNOWN_PERSON}'))").alias("loans_without_customer"),
    )
    claim_row = claims.agg(
        F.expr("count_if(is_open and principal_minor <> outstanding_principal_minor)").alias("claims_reported_otherwise")
    )
    found = [*loan_row.collect(), *claim_row.collect()]
    return {name: int(value) for row in found for name, value in row.asDict().items()}


_LOAN_COLUMNS = ("principal_received", "compensated", "compensated_issues")


def _by_side(paid: DataFrame) -> DataFrame:
    """Payments of an issue, one column a side and component."""

    def part(column: str, component: str) -> Column:
        return F.expr(f"case when component = '{component}' then {column} else 0L end")

    return paid.select(
        *_ISSUE,
        "paid_on",
        part("to_lenders_minor", "P").alias("lender_principal"),
        part("to_lenders_minor", "I").alias("lender_interest"),
        part("by_borrower_minor", "P").alias("borrower_principal"),
        part("by_borrower_minor", "I").alias("borrower_interest"),
        F.col("by_guarantor_minor").alias("compensated"),
    )


def _loan_events(paid: DataFrame, issue_sums: DataFrame, first_date: date) -> DataFrame:
    """Changes of a loan: principal received, amount compensated, number of issues compensated."""
    amounts = _by_side(paid).select(
        *_LOAN,
        "paid_on",
        F.col("lender_principal").alias("principal_received"),
        "compensated",
        F.lit(0).cast("bigint").alias("compensated_issues"),
    )
    # an issue counts while the guarantor's payments on it, less what was reversed, are above zero
    started = issue_sums.where("compensated > 0").select(*_LOAN, F.col("valid_from").alias("paid_on"), F.lit(1).alias("one"))
    ended = issue_sums.where("compensated > 0 and valid_to is not null").select(
        *_LOAN, F.col("valid_to").alias("paid_on"), F.lit(-1).alias("one")
    )
    counts = started.unionByName(ended).select(
        *_LOAN,
        "paid_on",
        F.lit(0).cast("bigint").alias("principal_received"),
        F.lit(0).cast("bigint").alias("compensated"),
        F.col("one").cast("bigint").alias("compensated_issues"),
    )
    return amounts.unionByName(counts)


def _overdue(rows: DataFrame) -> DataFrame:
    """Per loan and date from its plan rows: interest to come, overdue amounts, LD and BD."""
    parameters = Pack.of(PACK).parameters
    tau, offset = parameters["tau_minor"], parameters["overdue_day_offset"]
    unpaid = rows.select(
        *_LOAN,
        "business_date",
        "due_on",
        F.expr("greatest(due_principal_minor - lender_principal, 0L)").alias("up"),
        F.expr("greatest(due_interest_minor - lender_interest, 0L)").alias("ui"),
        F.expr(
            "greatest(due_principal_minor - borrower_principal, 0L) + greatest(due_interest_minor - borrower_interest, 0L)"
        ).alias("ub"),
        F.expr(f"due_on < date_sub(business_date, {offset})").alias("is_due"),
    )
    late, late_for_borrower = f"is_due and up + ui > {tau}", f"is_due and ub > {tau}"
    return unpaid.groupBy(*_LOAN, "business_date").agg(
        F.sum("ui").alias("outstanding_interest_minor"),
        F.expr(f"sum(case when {late} then up else 0L end)").alias("overdue_principal_minor"),
        F.expr(f"sum(case when {late} then ui else 0L end)").alias("overdue_interest_minor"),
        F.expr(f"coalesce(max(case when {late} then datediff(business_date, due_on) end), 0)").alias("lender_dpd"),
        F.expr(f"coalesce(max(case when {late_for_borrower} then datediff(business_date, due_on) end), 0)").alias("borrower_dpd"),
    )


def _claim_events(paid: DataFrame, first_rows: DataFrame) -> DataFrame:
    """Principal that book B paid on each claim after its first row; a payment without claim_no goes by loan and account."""
    principal = paid.where("component = 'P' and lender_account_no is not null").select(
        "platform_id", "loan_no", "lender_account_no", "claim_no", "paid_on", F.col("to_lenders_minor").alias("repaid")
    )
    by_account = first_rows.groupBy("platform_id", "loan_no", "lender_account_no").agg(F.min("claim_no").alias("_held"))
    named = principal.join(by_account, ["platform_id", "loan_no", "lender_account_no"], "left").select(
        "platform_id", F.coalesce("claim_no", "_held").alias("claim_no"), "paid_on", "repaid"
    )
    return named.join(first_rows.select(*_CLAIM, "first_on"), [*_CLAIM]).where("paid_on > first_on")


def with_ref(frame: DataFrame, people: DataFrame, dates: DataFrame, customer: str, ref: str) -> DataFrame:
    """The token of a person: `id_hash` of the customer row in force on the date, else one made of the customer number."""
    refs = on_dates(people, dates).select(
        "platform_id", "business_date", F.col("customer_no").alias(customer), F.col("id_hash").alias("_id_hash")
    )
    fallback = F.concat(F.lit(UNKNOWN_PERSON), F.expr(f"substring(sha2(concat_ws('|', platform_id, {customer}), 256), 1, 32)"))
    joined = frame.join(refs, ["platform_id", "business_date", customer], "left")
    return joined.withColumn(ref, F.coalesce("_id_hash", fallback)).drop("_id_hash")


def _bucket(days: str) -> Column:
    """Name of the bucket of a column of days past due (null counts as none)."""
    whens = " ".join(
        f"when coalesce({days}, 0) <= {bucket.last_day} then '{bucket.name}'" for bucket in BUCKETS if bucket.last_day is not None
    )
    return F.expr(f"case {whens} else '{BUCKETS[-1].name}' end")


def _columns(frame: DataFrame, table: str, run_id: int) -> DataFrame:
    return frame.withColumn("run_id", F.lit(run_id).cast("bigint")).select(*TABLES[table].columns)
