"""What a credit model is trained on: features at every loan's disbursement and its outcome, both as known on the training date.

The sample that leaves Spark is bounded: at most `SAMPLE_CAP` loans, chosen by a hash of their keys, so the same ones every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from domain.errors import BadInput, CheckFailed
from fundwatch.settings import Settings
from lake import store
from lake.steps import Run, StepContext
from models.features import FEATURES
from models.leak import KNOWS_TOO_MUCH
from models.outcomes import Outcome
from models.sample import Candidate, Sample
from spark_jobs.features import observations_at_disbursement, person_features, read_sources
from spark_jobs.outcomes import outcomes
from spark_jobs.positions import payments

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SAMPLE_CAP = 200_000
LOOKED_BACK_DAYS = 31
"""A platform's newest snapshot is looked for so many days back."""
_LOAN = ("platform_id", "loan_no")
_PERSON = ("platform_id", "borrower_ref", "as_of")
_FITTED = (str(Outcome.GOOD), str(Outcome.BAD))


@dataclass(frozen=True)
class Frame:
    """The bounded sample, and how many loans had which outcome before it was bounded."""

    sample: Sample
    outcomes: Mapping[str, int]


def candidates() -> list[Candidate]:
    """Every declared feature as a model may use it."""
    return [Candidate(one.code, "NUMBER", one.scale, one.zh, one.en) for one in FEATURES.values()]


def training_frame(settings: Settings, spark: SparkSession, known_on: date, true_pd: Mapping[str, float]) -> Frame:
    """The sample as known on a published date; `true_pd` by ``PLATFORM|LOAN`` goes along for judging, never for fitting.

    BadInput: nothing is published on the date, or no loan is mature. CheckFailed: a feature knows something too late.
    """
    context = StepContext(Run(0, known_on + timedelta(days=1), known_on + timedelta(days=1), None, None, 0), settings, spark)
    loans = _loans(context, known_on)
    if loans.isEmpty():
        raise BadInput(f"no loan is published in the {LOOKED_BACK_DAYS} days up to {known_on}")
    rows = labelled(context, loans, known_on).persist()
    try:
        counts = {row["outcome"]: int(row["count"]) for row in rows.groupBy("outcome").count().collect()}
        late = rows.where(KNOWS_TOO_MUCH).count()
        if late:
            raise CheckFailed(f"{late} training rows use what was not yet known at disbursement: nothing was trained")
        sample = bounded_sample(rows.where(F.col("outcome").isin(*_FITTED)), true_pd)
    finally:
        rows.unpersist()
    if not len(sample):
        raise BadInput(f"no loan has been out for its 12 months on {known_on}: there is nothing to learn from yet")
    return Frame(sample, {str(outcome): counts.get(str(outcome), 0) for outcome in Outcome})


def labelled(context: StepContext, loans: DataFrame, known_on: date) -> DataFrame:
    """One row a loan disbursed by `known_on`: key, subject, disbursed_on, outcome, observation, features and when known."""
    books = {
        name: store.published_before(context, name, context.run.first_date)
        for name in ("plan_row", "ledger_movement", "opening_payment")
    }
    paid = payments(books["ledger_movement"], books["opening_payment"])
    known = outcomes(loans, books["plan_row"], paid, known_on)
    observed = observations_at_disbursement(loans, context.settings, known_on)
    features = person_features(observed, read_sources(context)).select(*_PERSON, *FEATURES, "bureau_known_at", "books_known_on")
    return (
        known.select(*_LOAN, "disbursed_on", "max_dpd", "outcome")
        .join(observed, [*_LOAN])
        .join(features, [*_PERSON])
        .withColumn("key", F.concat_ws("|", *_LOAN))
        .withColumn("subject", F.coalesce("subject_hash", F.concat_ws("|", "platform_id", "borrower_ref")))
    )


def bounded_sample(rows: DataFrame, true_pd: Mapping[str, float], cap: int = SAMPLE_CAP) -> Sample:
    """Rows of `labelled` with outcome GOOD or BAD as a sample of at most `cap`."""
    chosen = rows.orderBy(F.sha2("key", 256), "key").limit(cap)
    table = chosen.select("key", "subject", "disbursed_on", "outcome", *FEATURES).toArrow().sort_by("key")
    keys = tuple(table.column("key").to_pylist())
    return Sample(
        keys,
        tuple(table.column("subject").to_pylist()),
        tuple(table.column("disbursed_on").to_pylist()),
        tuple(int(outcome == Outcome.BAD) for outcome in table.column("outcome").to_pylist()),
        {code: tuple(table.column(code).to_pylist()) for code in FEATURES},
        tuple(true_pd.get(key) for key in keys) if true_pd else (),
    )


def _loans(context: StepContext, known_on: date) -> DataFrame:
    """Every platform's loans as its newest snapshot up to the date has them."""
    since = known_on - timedelta(days=LOOKED_BACK_DAYS)
    rows = store.published_before(context, "loan_snapshot", context.run.first_date).where(F.col("business_date") >= F.lit(since))
    newest = rows.groupBy("platform_id").agg(F.max("business_date").alias("business_date"))
    return rows.join(F.broadcast(newest), ["platform_id", "business_date"]).select(*_LOAN, "borrower_ref", "disbursed_on")
