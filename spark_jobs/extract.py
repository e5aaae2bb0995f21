"""Step `extract`: book B of the run's dates, up to its watermark, becomes lake tables (architecture section 4)."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from psycopg import sql
from pyspark.sql import Window
from pyspark.sql import functions as F

from domain.errors import Failed
from lake import store
from lake.postgres import connection, jdbc_url
from lake.published import winners_before
from lake.steps import Run, StepContext, StepResult
from lake.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ROWS_A_PARTITION = 500_000
PARTITIONS_MAX = 64
_COPIED = {
    "ledger_movement": ("movement", "ledger_no"),
    "ledger_order": ("trade_order", "order_id"),
    "ledger_hold_event": ("hold_event", "hold_event_id"),
}
"""Lake table → `night` view and the key by whose ranges it is read."""
_FETCH_ROWS = "10000"


def run(context: StepContext) -> StepResult:
    """Write `ledger_movement`, `ledger_order`, `ledger_hold_event` and `ledger_balance` of the run's dates.

    Reads only the `night` views. Failed when movements were lost on the way, or when the closing balances of a platform and
    currency do not add up to zero on a date.
    """
    tables = _copy(context)
    known = _known(context.run)
    accounts = _read(context, "account", "account_id", known, _bounds(context, "account", "account_id", known))
    balances = daily_balances(
        context.run,
        accounts,
        store.of_run(context, "ledger_movement"),
        store.of_run(context, "ledger_hold_event"),
        opening_balances(context),
    )
    tables["ledger_balance"] = store.write(context, "ledger_balance", balances)
    _adds_up(store.of_run(context, "ledger_balance"))
    return StepResult(sum(tables.values()) - tables["ledger_balance"], sum(tables.values()), tables)


def daily_balances(run: Run, accounts: DataFrame, movements: DataFrame, holds: DataFrame, opening: DataFrame) -> DataFrame:
    """One row an account and date of the run: opening, debits, credits, closing (credits − debits), held; minor units.

    `opening` has `account_no, opening_minor, opening_held_minor` before the run's first date. An account is there from the
    day it was opened, or from its first movement or opening row, whichever is earlier. All dates in one cumulative pass:
    the same rows as date by date.
    """
    amount, zero = F.col("amount_minor"), F.lit(0)
    held = F.when(F.col("event_type") == "PLACE", amount).otherwise(-amount)
    changes = (
        _changes(movements, "debit_account_no", amount, zero, zero)
        .unionByName(_changes(movements, "credit_account_no", zero, amount, zero))
        .unionByName(_changes(holds, "account_no", zero, zero, held))
    )
    by_day = changes.groupBy("account_no", "business_date").agg(F.sum("debit"), F.sum("credit"), F.sum("held"))
    by_day = by_day.toDF("account_no", "business_date", "debit", "credit", "held")
    first_seen = by_day.groupBy("account_no").agg(F.min("business_date").alias("seen_on"))
    start, end = F.lit(run.first_date), F.lit(run.last_date)
    since = F.least("opened_on", "seen_on", F.when(F.col("opening_minor").isNotNull(), start))
    days = (
        accounts.join(opening, "account_no", "left")
        .join(first_seen, "account_no", "left")
        .withColumn("since", since)
        .where(F.col("since") <= end)
        .withColumn("since", F.greatest("since", start))
        .withColumn("business_date", F.explode(F.sequence("since", end)))
        .join(by_day, ["account_no", "business_date"], "left")
    )
    return _cumulated(run, days)


def _changes(rows: DataFrame, account: str, debit: Column, credit: Column, held: Column) -> DataFrame:
    amounts = (value.cast("bigint").alias(name) for name, value in (("debit", debit), ("credit", credit), ("held", held)))
    return rows.select("business_date", F.col(account).alias("account_no"), *amounts)


def _cumulated(run: Run, days: DataFrame) -> DataFrame:
    so_far = Window.partitionBy("account_no").orderBy("business_date").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    debit, credit = (F.coalesce(name, F.lit(0)).cast("bigint") for name in ("debit", "credit"))
    moved = F.sum(F.coalesce("credit", F.lit(0)) - F.coalesce("debit", F.lit(0))).over(so_far)
    closing = F.coalesce("opening_minor", F.lit(0)) + moved
    held = F.coalesce("opening_held_minor", F.lit(0)) + F.sum(F.coalesce("held", F.lit(0))).over(so_far)
    rows = (
        days.withColumn("closing_minor", closing.cast("bigint"))
        .withColumn("held_minor", held.cast("bigint"))
        .withColumn("debit_minor", debit)
        .withColumn("credit_minor", credit)
        .withColumn("opening_minor", F.col("closing_minor") - F.col("credit_minor") + F.col("debit_minor"))
        .withColumn("run_id", F.lit(run.run_id).cast("bigint"))
    )
    return rows.select(*TABLES["ledger_balance"].columns)


def opening_balances(context: StepContext) -> DataFrame:
    """Balance and held amount of each account before the run's first date: `account_no, opening_minor, opening_held_minor`.

    From the previous date as published; for platforms that have none, from every earlier movement and hold event.
    """
    run = context.run
    before = run.first_date - timedelta(days=1)
    published = {w.platform_id for w in winners_before(context.settings, run, run.first_date) if w.business_date == before}
    closing = store.published_before(context, "ledger_balance", run.first_date).where(F.col("business_date") == F.lit(before))
    known = closing.select(
        "account_no", F.col("closing_minor").alias("opening_minor"), F.col("held_minor").alias("opening_held_minor")
    )
    earlier = sql.SQL("business_date < {} and not platform_id = any({}::text[]) and {}").format(
        run.first_date, sorted(published), _known(run)
    )
    limit = sql.SQL("{} and ledger_no <= {}").format(earlier, run.ledger_no_to)
    history = _query(
        context,
        sql.SQL(
            """select account_no, sum(moved)::bigint as opening_minor, sum(held)::bigint as opening_held_minor from (
                 select debit_account_no as account_no, -amount_minor as moved, 0 as held from night.movement where {limit}
                 union all select credit_account_no, amount_minor, 0 from night.movement where {limit}
                 union all select account_no, 0, case event_type when 'PLACE' then amount_minor else -amount_minor end
                 from night.hold_event where {earlier}) changes group by account_no"""
        ).format(limit=limit, earlier=earlier),
    )
    return known.unionByName(history)


def _known(run: Run) -> sql.Composable:
    """What the run may know: one platform where it is of one, and what was recorded by its `known_as_of`."""
    platform = sql.SQL("platform_id = {}").format(run.platform_id) if run.platform_id else sql.SQL("true")
    return sql.SQL("{} and recorded_at <= {}").format(platform, run.known_as_of) if run.known_as_of else platform


def _of_dates(run: Run, by_ledger_no: bool = False) -> sql.Composable:
    condition = sql.SQL("business_date between {} and {} and {}").format(run.first_date, run.last_date, _known(run))
    return sql.SQL("{} and ledger_no <= {}").format(condition, run.ledger_no_to) if by_ledger_no else condition


def _copy(context: StepContext) -> dict[str, int]:
    """Copy the run's rows of the `night` views to lake tables; returns rows by table. Failed when counts differ."""
    frames: dict[str, DataFrame] = {}
    expected: dict[str, int] = {}
    for table, (view, key) in _COPIED.items():
        condition = _of_dates(context.run, by_ledger_no=key == "ledger_no")
        bounds = _bounds(context, view, key, condition)
        rows = _read(context, view, key, condition, bounds).withColumn("run_id", F.lit(context.run.run_id).cast("bigint"))
        frames[table], expected[table] = rows.select(*TABLES[table].columns), bounds[2]
    written = store.write_all(context, frames)
    for table, count in written.items():
        if count != expected[table]:
            raise Failed(f"{table}: night.{_COPIED[table][0]} holds {expected[table]} rows of the run, {count} were written")
    return written


def _read(context: StepContext, view: str, key: str, condition: sql.Composable, bounds: tuple[int, int, int]) -> DataFrame:
    """Rows of a `night` view, read by several tasks in ranges of `key` when there are many."""
    low, high, count = bounds
    partitions = min(PARTITIONS_MAX, max(1, math.ceil(count / ROWS_A_PARTITION)))
    query = sql.SQL("select * from {} where {}").format(sql.Identifier("night", view), condition)
    if partitions == 1:
        return _query(context, query)
    ranges = {"partitionColumn": key, "lowerBound": str(low), "upperBound": str(high + 1), "numPartitions": str(partitions)}
    return _query(context, query, ranges)


def _bounds(context: StepContext, view: str, key: str, condition: sql.Composable) -> tuple[int, int, int]:
    query = sql.SQL("select min({key}), max({key}), count(*) from {view} where {condition}").format(
        key=sql.Identifier(key), view=sql.Identifier("night", view), condition=condition
    )
    with connection(context.settings) as database:
        low, high, count = database.execute(query).fetchone() or (None, None, 0)
    return int(low or 0), int(high or 0), int(count)


def _query(context: StepContext, query: sql.Composable, options: dict[str, str] | None = None) -> DataFrame:
    reader = context.spark.read.format("jdbc").options(
        url=jdbc_url(context.settings, "jobs"),
        user="jobs",
        password=context.settings.secret("pg_jobs"),
        driver="org.postgresql.Driver",
        fetchsize=_FETCH_ROWS,
        dbtable=f"({query.as_string(None)}) rows_of_night",
    )
    return reader.options(**(options or {})).load()


def _adds_up(balances: DataFrame) -> None:
    """Closing balances of every platform, currency and date are zero in sum (architecture section 6)."""
    sums = balances.groupBy("business_date", "platform_id", "currency").agg(F.sum("closing_minor").alias("rest"))
    wrong = sums.where(F.col("rest") != 0).orderBy("business_date", "platform_id").limit(1).collect()
    if wrong:
        day, platform_id, currency, rest = wrong[0]
        raise Failed(f"book B of {platform_id} on {day} does not add up: its {currency} balances leave {rest} minor units")
