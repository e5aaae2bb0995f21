"""Reading and writing the lake's tables from a step: a run's own rows, and rows as published (contracts section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from domain.errors import Failed, WrongUse
from lake.published import Winner, winners_before
from lake.steps import StepContext
from lake.tables import GROWN, NAMESPACE, TABLES, Table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# most of a small write is planning and commit, not work: a few at a time keep two cores busy
WRITES_AT_ONCE = 3
_WINNER_DDL = "business_date date, platform_id string, run_id bigint"
# a plain filter on run_id prunes files; above this many runs the dates alone prune
_PRUNE_RUNS_MAX = 1000


def ensure_tables(spark: SparkSession) -> None:
    """Create the namespace and every table of `lake.tables` that does not exist yet, and columns that came later; idempotent."""
    spark.sql(f"create namespace if not exists {NAMESPACE}")
    present = {row.tableName for row in spark.sql(f"show tables in {NAMESPACE}").collect()}
    for table in TABLES.values():
        if table.name not in present:
            spark.sql(
                f"create table if not exists {table.identifier} ({table.ddl}) using iceberg "
                "partitioned by (business_date, run_id) tblproperties "
                "('format-version' = '2', 'write.delete.mode' = 'copy-on-write', 'write.metadata.delete-after-commit.enabled' = "
                "'true', 'write.metadata.previous-versions-max' = '20')"
            )
        elif table.name in GROWN:
            there = spark.table(table.identifier).columns
            lacking = [column for column in table.declared if column.split(" ")[0] not in there]
            if lacking:
                spark.sql(f"alter table {table.identifier} add columns ({', '.join(lacking)})")


def write(context: StepContext, name: str, frame: DataFrame) -> int:
    """Replace this run's rows of table `name` by `frame`; returns the number of rows written.

    `frame` must have the table's columns, and every row the run's id, one of its dates and, where the run is of one
    platform, that platform: a row that has not fails the write before anything is committed (Failed). An empty frame
    clears the run's rows.
    """
    table = _table(name)
    try:
        checked = frame.select(_checked_run_id(context, name).alias("run_id"), *(c for c in table.columns if c != "run_id"))
        checked.select(*table.columns).writeTo(table.identifier).overwrite(F.col("run_id") == F.lit(context.run.run_id))
    except Exception as error:
        # the error itself, not a plan that an error of another kind shows
        if f"[USER_RAISED_EXCEPTION] {_FOREIGN}" in str(error):
            raise Failed(
                f"a row for {name} is not of run {context.run.run_id}, its dates or its platform: nothing written"
            ) from error
        # asked only now: to list the columns of a large plan is to analyse it once more
        unresolved = "UNRESOLVED_COLUMN" in str(error)
        if unresolved and (missing := [column for column in table.columns if column not in frame.columns]):
            raise WrongUse(f"rows for {name} lack the columns {', '.join(missing)}") from error
        raise
    return of_run(context, name).count()


def write_all(context: StepContext, frames: Mapping[str, DataFrame]) -> dict[str, int]:
    """`write` of several tables that do not read each other, a few at a time; returns rows written by table."""
    with ThreadPoolExecutor(WRITES_AT_ONCE) as writers:
        return dict(zip(frames, writers.map(lambda name: write(context, name, frames[name]), frames), strict=True))


def count_rows(frames: Iterable[DataFrame]) -> int:
    """Rows of several frames together, counted in one action."""
    counts = [frame.agg(F.count(F.lit(1)).alias("rows")) for frame in frames]
    row = reduce(lambda one, other: one.unionByName(other), counts).agg(F.sum("rows").alias("rows")).first()
    return int(row["rows"]) if row is not None else 0


def of_run(context: StepContext, name: str) -> DataFrame:
    """The rows this run has written to table `name`."""
    run = context.run
    rows = context.spark.table(_table(name).identifier)
    return rows.where((F.col("run_id") == F.lit(run.run_id)) & F.col("business_date").between(run.first_date, run.last_date))


def published_before(context: StepContext, name: str, before: date) -> DataFrame:
    """The rows of table `name` that count for dates before `before`: those of the winning version of each date and platform.

    The highest COMPLETE version wins. A date that has none is read in its highest INCOMPLETE version: it holds the rows of
    the files that were accepted and book B, so a later night reads the same whether both dates ran in one pass or not.
    """
    winners = winners_before(context.settings, context.run, before)
    rows = context.spark.table(_table(name).identifier)
    if not winners:
        return rows.where(F.lit(False))
    chosen = context.spark.createDataFrame(
        [(winner.business_date, winner.platform_id, winner.run_id) for winner in winners], _WINNER_DDL
    )
    return rows.where(_prune(winners)).join(F.broadcast(chosen), ["business_date", "platform_id", "run_id"], "left_semi")


def as_of(context: StepContext, name: str) -> DataFrame:
    """The rows of table `name` up to the run's last date: its own for its dates, the published ones before."""
    return published_before(context, name, context.run.first_date).unionByName(of_run(context, name))


_FOREIGN = "FUNDWATCH_FOREIGN_ROW"


def _checked_run_id(context: StepContext, name: str) -> Column:
    """`run_id`, or an error in the writing task, which then commits nothing (Iceberg itself does not check)."""
    run = context.run
    belongs = (F.col("run_id") == F.lit(run.run_id)) & F.col("business_date").between(run.first_date, run.last_date)
    if run.platform_id is not None:
        belongs &= F.col("platform_id") == F.lit(run.platform_id)
    else:
        belongs &= F.col("platform_id").isNotNull()
    foreign = F.raise_error(F.lit(f"{_FOREIGN} {name}")).cast("bigint")
    return F.when(F.coalesce(belongs, F.lit(False)), F.col("run_id").cast("bigint")).otherwise(foreign)


def _prune(winners: list[Winner]) -> Column:
    """Literal bounds that let Iceberg skip partitions: the join alone would plan every file of the table."""
    dates = [winner.business_date for winner in winners]
    bounds = F.col("business_date").between(min(dates), max(dates))
    runs = sorted({winner.run_id for winner in winners})
    return bounds & F.col("run_id").isin(runs) if len(runs) <= _PRUNE_RUNS_MAX else bounds


def _table(name: str) -> Table:
    try:
        return TABLES[name]
    except KeyError:
        raise WrongUse(f"the lake has no table {name!r}") from None
