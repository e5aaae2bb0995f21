"""Step `features`: what was knowable of every borrower at a moment, as numbers (spec 06 sections 6.2 and 6.4, `models.features`).

Two clocks keep a feature honest. `as_of` is the moment of the observation: a fact counts when it was knowable before it.
`known_on` is the last business date whose files may be read: nightly it is the date itself, so that one pass and date by date
see the same; in training it is the training date, so that the history brought in with the first files counts too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from expectations.suites import run_suite
from lake import store
from lake.steps import StepContext, StepResult
from lake.tables import TABLES
from models.features import FEATURES, FLAG_OF
from spark_jobs.feature_books import known_dates, own_features, paid_by, people
from spark_jobs.feature_bureau import KEY, industry_features, reputation_features
from spark_jobs.feature_ledger import LOOKED_BACK_DAYS, ledger_features
from spark_jobs.snapshot import UNKNOWN_PERSON

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from fundwatch.settings import Settings

OBSERVATION = ("platform_id", "borrower_ref", "subject_hash", "as_of", "as_of_date", "known_on")
"""Columns of an observation; `as_of_date` is the last business date that has closed at `as_of`."""


@dataclass(frozen=True)
class Sources:
    """The lake tables that features are made of, as `lake.store.as_of` reads them; more columns than needed do no harm."""

    loan: DataFrame
    plan_row: DataFrame
    customer: DataFrame
    opening_payment: DataFrame
    ledger_movement: DataFrame
    ledger_balance: DataFrame
    industry_record: DataFrame
    reputation_hit: DataFrame


def run(context: StepContext) -> StepResult:
    """Write `person_feature`: one row a complete date, platform and borrower with a loan that is not finished.

    Raises Failed when a row knows something too late, is there twice, or says 0 where nothing is known (suite `features`).
    """
    loans = store.of_run(context, "loan_snapshot")
    sources = read_sources(context, balances_from=context.run.first_date - timedelta(days=LOOKED_BACK_DAYS))
    # every part joins the observations again: without a cut each would make them anew
    observed = observations_at_close(loans, context.settings).localCheckpoint()
    found = person_features(observed, sources)
    rows = found.withColumn("business_date", F.col("as_of_date")).withColumn("run_id", F.lit(context.run.run_id).cast("bigint"))
    written = store.write(context, "person_feature", rows.select(*TABLES["person_feature"].columns))
    suite = run_suite(context.spark, "features", {"feature": store.of_run(context, "person_feature")})
    return StepResult(loans.count(), written, {"person_feature": written}, {"expectations": [suite.to_json()]})


def read_sources(context: StepContext, balances_from: date | None = None) -> Sources:
    """The sources as published before the run and as of the run; balances only from a date on, where it is given."""
    tables = {one.name: store.as_of(context, one.name) for one in fields(Sources)}
    if balances_from is not None:
        tables["ledger_balance"] = tables["ledger_balance"].where(F.col("business_date") >= F.lit(balances_from))
    return Sources(**tables)


def observations_at_close(loans: DataFrame, settings: Settings) -> DataFrame:
    """OBSERVATION of every borrower with an unfinished loan in `loan_snapshot` rows, at the close of each business date."""
    unfinished = loans.where("outstanding_principal_minor > 0 or outstanding_interest_minor > 0 or borrower_dpd > 0")
    return unfinished.select(
        "platform_id",
        "borrower_ref",
        _subject(),
        _close("business_date", settings).alias("as_of"),
        F.col("business_date").alias("as_of_date"),
        F.col("business_date").alias("known_on"),
    ).distinct()


def observations_at_disbursement(loans: DataFrame, settings: Settings, known_on: date) -> DataFrame:
    """One row a loan: loan_no and OBSERVATION at its disbursement, for training with what had come by `known_on`.

    `loans`: platform_id, loan_no, borrower_ref, disbursed_on (for example `loan_snapshot` of the training date). Only the day is
    known, so `as_of` is the opening of that business date (the close of the day before): the loan itself does not count.
    """
    before = loans.withColumn("as_of_date", F.date_sub("disbursed_on", 1))
    return before.select(
        "platform_id",
        "loan_no",
        "borrower_ref",
        _subject(),
        _close("as_of_date", settings).alias("as_of"),
        "as_of_date",
        F.lit(known_on).alias("known_on"),
    )


def person_features(observations: DataFrame, sources: Sources) -> DataFrame:
    """OBSERVATION, the columns of `models.features.FEATURES` in order, bureau_known_at and books_known_on.

    One row for every distinct observation (other columns of `observations` are dropped: join back on platform_id, borrower_ref
    and as_of). `bureau_known_at` is the latest `knowable_at` of a bureau record used, `books_known_on` the latest business date
    of a fact of the books used (null: none).
    """
    observed = observations.select(*OBSERVATION).distinct()
    parts = (
        industry_features(observed, sources.industry_record),
        reputation_features(observed, sources.reputation_hit),
        own_features(
            observed,
            sources.loan,
            sources.plan_row,
            sources.customer,
            paid_by(sources.ledger_movement, sources.opening_payment),
        ),
        ledger_features(
            observed,
            sources.ledger_balance,
            sources.ledger_movement,
            people(sources.customer, known_dates(observed)),
        ),
    )
    joined = observed
    for part in parts:
        joined = joined.join(part, [*KEY], "left")
    flags = frozenset(FLAG_OF.values())
    return joined.select(
        *OBSERVATION,
        *(
            (F.coalesce(code, F.lit(0)) if code in flags else F.col(code)).cast(feature.ddl).alias(code)
            for code, feature in FEATURES.items()
        ),
        F.greatest("industry_known_at", "reputation_known_at").alias("bureau_known_at"),
        F.greatest("own_known_on", "ledger_known_on").alias("books_known_on"),
    )


def _subject() -> Column:
    """The bureau's name of a person; null for one whose customer row has not come."""
    return F.expr(f"case when not startswith(borrower_ref, '{UNKNOWN_PERSON}') then borrower_ref end").alias("subject_hash")


def _close(day: str, settings: Settings) -> Column:
    """When a business date closes: its cut-off in the bank's zone."""
    wall_clock = F.concat_ws(" ", F.col(day).cast("string"), F.lit(settings.cutoff.isoformat())).cast("timestamp")
    return F.to_utc_timestamp(wall_clock, settings.zone.key)
