"""Step `reconcile`: books V, B and C compared, open items and balance equations written (spec 07)."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from lake import calendars, channel_fees, store
from lake.steps import StepContext, StepResult
from lake.tables import TABLES
from recon.engine import SparkEngine, run_statements
from recon.outputs import WRITTEN
from recon.pipeline import INPUTS, Scope, statements
from recon.rules import RuleSet, load_rules
from spark_jobs import few_records

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SETTLED_WITHIN_DAYS = 14
"""The longest time between the orders of a batch and its settlement, holidays included."""


def run(context: StepContext) -> StepResult:
    """Reconcile every date of the run in one pass and write the tables of `recon.outputs.WRITTEN`.

    Reads what this run landed and extracted, the carried items of each platform's last complete date, and the matches
    remembered. Detail: the engine, rows of the frames that were kept, open items by code.
    """
    earlier = store.published_before(context, "recon_carry", context.run.first_date)
    rules = load_rules()
    before = {
        "carried": last_carried(earlier),
        "match_history": remembered_matches(context, rules),
        "channel_history": earlier_channel_orders(context),
    }
    if (files := few_records.chosen(context)) is not None:
        found = few_records.run(context, rules, files, before, partial(scope, context))
    else:
        found = _on_spark(context, rules, before)
    return StepResult(found.rows_in, found.rows_out, found.tables, {**found.detail, **by_code(context)})


def _on_spark(context: StepContext, rules: RuleSet, before: dict[str, DataFrame]) -> StepResult:
    engine = SparkEngine(context.spark)
    try:
        for name in INPUTS:
            engine.provide(name, store.of_run(context, name))
        carried = engine.keep("carried", before["carried"])
        engine.provide("match_history", before["match_history"])
        engine.provide("channel_history", before["channel_history"])
        run_statements(engine, statements(rules, scope(context, oldest(carried))))
        tables = store.write_all(context, {name: engine.frame(f"out_{name}").select(*TABLES[name].columns) for name in WRITTEN})
        detail = {"engine": "spark", "rows": dict(engine.rows)}
        return StepResult(records_read(engine), sum(tables.values()), tables, detail)
    finally:
        engine.close()


def last_carried(carried: DataFrame) -> DataFrame:
    """Carried rows of each platform's last complete date (uncompared dates carry nothing, so they leave no gap)."""
    from pyspark.sql import functions as F

    last = carried.groupBy("platform_id").agg(F.max("business_date").alias("business_date"))
    return carried.join(F.broadcast(last), ["platform_id", "business_date"]).select(*TABLES["recon_carry"].columns)


def remembered_matches(context: StepContext, rules: RuleSet) -> DataFrame:
    """Matches of published dates that a repeated key is still compared with."""
    from pyspark.sql import functions as F

    since = context.run.first_date - timedelta(days=rules.match_memory_days)
    matches = store.published_before(context, "match_group", context.run.first_date)
    return matches.where(F.col("business_date") >= F.lit(since))


def earlier_channel_orders(context: StepContext) -> DataFrame:
    """Channel orders of published dates whose batch may be settled in this run."""
    from pyspark.sql import functions as F

    since = context.run.first_date - timedelta(days=SETTLED_WITHIN_DAYS)
    orders = store.published_before(context, "channel_order", context.run.first_date)
    return orders.where((F.col("business_date") >= F.lit(since)) & F.col("settlement_batch_no").isNotNull())


def oldest(carried: DataFrame) -> date | None:
    """The date on which the oldest carried item opened."""
    from pyspark.sql import functions as F

    row = carried.agg(F.min("opened_on").alias("opened_on")).first()
    return row["opened_on"] if row is not None else None


def scope(context: StepContext, opened: date | None) -> Scope:
    """Dates and clock of a run; the calendar reaches back to the oldest open item."""
    run, settings = context.run, context.settings
    start = min(run.first_date, opened or run.first_date)
    calendar, fee_terms = calendars.of_run(settings, run.run_id), channel_fees.of_run(settings, run)
    return Scope(run.run_id, run.first_date, run.last_date, start, settings.zone, calendar, settings.cutoff, fee_terms)


def records_read(engine: SparkEngine) -> int:
    """Records compared, both sides of all rules."""
    from pyspark.sql import functions as F

    row = engine.frame("key_group").agg(F.sum(F.col("n_left") + F.col("n_right")).alias("records")).first()
    return int(row["records"] or 0) if row is not None else 0


def by_code(context: StepContext) -> dict[str, dict[str, int]]:
    """Open items that the run wrote, one a date on which they are open, counted by code: a handful of rows."""
    counted = store.of_run(context, "open_item").groupBy("code").count().collect()
    return {"open_item_days": {row["code"]: row["count"] for row in sorted(counted)}}
