"""Step `history`: the published rows of a run, projected to HBase for pages and scoring (architecture section 4, History).

It runs after `publish` and may be repeated at will: row keys are functions of the rows, the cell timestamp is the run id.
Only rows that count are projected: those of the dates and platforms whose winning version is this run's (COMPLETE before
INCOMPLETE, then the highest version). Rows that the version before had and this one lacks are deleted at the run's id, last,
so that a reader bounded by the newest projected run sees the old state until `run.projected` has the new one. Published runs
that were never projected (HBase was down) are done first, in order. The six tables are packed, written and counted in one
Spark action: each write through a Python data source costs seconds before its first row.

`acct_bal` has a row on dates of change only (a movement, a hold placed or released) and, for a platform with nothing
published before, on the run's first date: readers take the newest row dated on or before the date they ask for.
`cust_360` has one row a person with up to four cells: profile, industry and reputation features, score. Each is the newest by
business date, then platform; a person without an open loan keeps what was last known of him, with its date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from pyspark.sql import Observation
from pyspark.sql import functions as F

from domain.errors import Failed
from hbase_schema.spark_source import NAME, HistorySource, cause, options_of_all
from hbase_schema.tables import PACKED, TAGS, HistoryTable, cell_of, pack_batches
from lake import runs, store
from lake.postgres import connection
from lake.steps import StepContext, StepResult
from spark_jobs.history_people import entity_id, newest_features, newest_profiles, newest_scores, party_keys

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ALWAYS = date(9999, 12, 31)
AGAIN_DAYS = 31
"""How far before a new version's first date a person's newest features and score are looked for."""

# Rows of run.published in the order in which they count: COMPLETE before INCOMPLETE, then the highest version
_VERSIONS = """
select business_date, platform_id, run_id, version
  from run.published
 where (business_date, platform_id) in (select business_date, platform_id from run.published where run_id = %(run_id)s)
 order by business_date, platform_id, (state = 'COMPLETE') desc, version desc
"""
_PENDING = """
select run_id from run.run
 where state = 'PUBLISHED' and run_id < %(run_id)s and run_id not in (select run_id from run.projected)
 order by run_id
"""
_STARTED = "select distinct platform_id from run.published where business_date < %(first_date)s"

Pair = tuple[date, str]


@dataclass(frozen=True)
class Extent:
    """What of a run is projected: the dates and platforms it wins, and the run that won each of them before."""

    won: tuple[Pair, ...]
    replaced: dict[int, tuple[Pair, ...]]
    started_platforms: frozenset[str]


def run(context: StepContext) -> StepResult:
    """Project this run, and before it any published run that never was, then mark them in `run.projected`."""
    if context.run.known_as_of is not None:
        return StepResult(0, 0, detail={"skipped": "a run as known at a moment is never published"})
    context.spark.dataSource.register(HistorySource)
    with connection(context.settings) as database:
        pending = [row[0] for row in database.execute(_PENDING, {"run_id": context.run.run_id})]
    counts: dict[str, int] = {}
    for run_id in [*pending, context.run.run_id]:
        done = replace(context, run=runs.get(context.settings, run_id))
        for name, rows in project(done, extent(done)).items():
            counts[name] = counts.get(name, 0) + rows
        _mark(done)
    rows = sum(counts.values())
    return StepResult(rows, rows, tables=counts, detail={"caught_up_runs": pending} if pending else {})


def extent(context: StepContext) -> Extent:
    """Which dates and platforms this run wins; Failed when it is not published."""
    run_id = context.run.run_id
    ranked: dict[Pair, list[tuple[int, int]]] = {}
    with connection(context.settings) as database:
        for day, platform, winner, version in database.execute(_VERSIONS, {"run_id": run_id}):
            ranked.setdefault((day, platform), []).append((winner, version))
        started = [row[0] for row in database.execute(_STARTED, {"first_date": context.run.first_date})]
    if not ranked:
        raise Failed(f"run {run_id} has published nothing: history is written after publish")
    won = [pair for pair, versions in ranked.items() if versions[0][0] == run_id]
    replaced: dict[int, list[Pair]] = {}
    for pair in won:
        own = ranked[pair][0][1]
        before = next((winner for winner, version in ranked[pair] if version < own), None)
        if before is not None:
            replaced.setdefault(before, []).append(pair)
    return Extent(tuple(won), {key: tuple(pairs) for key, pairs in replaced.items()}, frozenset(started))


def project(context: StepContext, what: Extent) -> dict[str, int]:
    """Write all cells of one run; rows put a tag (`hbase_schema.tables.TAGS`). Deletes come after all puts."""
    now: dict[str, DataFrame] = {}
    before: list[tuple[str, DataFrame]] = []
    for name, rows_of in _PROJECTIONS.items():
        now[name] = rows_of(context, what.won, what)
        old = [rows_of(_as_run(context, run_id), pairs, what) for run_id, pairs in what.replaced.items()]
        if old and name in _AGAIN:
            now[name] = _AGAIN[name](context, [now[name], *old])
        before += [(name, frame) for frame in old]
    packed = pack_all(now.items())
    counts = _write(context, packed)
    if before:
        gone = pack_all(before).join(packed.select("table", "row"), ["table", "row"], "left_anti")
        _write(context, gone.withColumn("p", F.lit(None).cast("binary")))
    return counts


def pack(table: HistoryTable, frame: DataFrame) -> DataFrame:
    """Rows of a table as ``row binary, p binary``: keys and packed cells, made by the column in Arrow batches."""
    return _named(table.name, frame).mapInArrow(pack_batches, PACKED).select("row", "p")


def pack_all(frames: Iterable[tuple[str, DataFrame]]) -> DataFrame:
    """Rows of many tables as ``table string, row binary, p binary``.

    They share their columns and are spread anew by size before Python sees them: a task costs Python more than 10,000 rows.
    """
    named = (_named(name, frame) for name, frame in frames)
    rows = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), named)
    return rows.hint("rebalance").mapInArrow(pack_batches, PACKED)


def _as_run(context: StepContext, run_id: int) -> StepContext:
    """The same dates, read from another run."""
    return replace(context, run=replace(context.run, run_id=run_id))


def _rows(context: StepContext, name: str, pairs: tuple[Pair, ...]) -> DataFrame:
    """A run's rows of a lake table, of the given dates and platforms only."""
    return store.of_run(context, name).where(_of(pairs))


def _of(pairs: tuple[Pair, ...]) -> Column:
    """Whether a row is of one of the dates and platforms, in literals (they prune files); mostly all platforms share dates."""
    dates_of: dict[str, list[date]] = {}
    for day, platform in sorted(pairs):
        dates_of.setdefault(platform, []).append(day)
    platforms_of: dict[tuple[date, ...], list[str]] = {}
    for platform, days in dates_of.items():
        platforms_of.setdefault(tuple(days), []).append(platform)
    terms = (
        F.col("business_date").isin(*days) & F.col("platform_id").isin(*platforms) for days, platforms in platforms_of.items()
    )
    return reduce(or_, terms, F.lit(False))


def _movements(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    """Each movement twice: in the timeline of the account it leaves (D) and of the one it reaches (C)."""

    def side(letter: str, own: str, other: str) -> Column:
        return F.struct(
            F.lit(letter).alias("side"),
            F.col(f"{own}_account_id").alias("account_id"),
            F.col(f"{own}_account_no").alias("account_no"),
            F.col(f"{other}_account_no").alias("counter_account_no"),
            F.col(f"{other}_role").alias("counter_role"),
        )

    both = F.array(side("D", "debit", "credit"), side("C", "credit", "debit"))
    return _rows(context, "ledger_movement", pairs).select("*", F.inline(both))


def _orders(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    return _rows(context, "ledger_order", pairs)


def _balances(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    """Balances on dates of change; all that are not zero on the first date of a platform that starts with this run."""
    rows = _rows(context, "ledger_balance", pairs)
    held = _rows(context, "ledger_hold_event", pairs).select("business_date", "account_no").distinct()
    moved = (F.col("debit_minor") != 0) | (F.col("credit_minor") != 0)
    not_zero = (F.col("closing_minor") != 0) | (F.col("held_minor") != 0)
    starts = (F.col("business_date") == F.lit(context.run.first_date)) & ~F.col("platform_id").isin(*what.started_platforms)
    kept = rows.join(held.withColumn("has_hold_event", F.lit(True)), ["business_date", "account_no"], "left")
    return kept.where(moved | F.col("has_hold_event").isNotNull() | (starts & not_zero))


def _loans(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    rows = _rows(context, "loan_snapshot", pairs)
    return rows.withColumn("loan_id", entity_id(F.col("platform_id"), F.col("loan_no")))


def _profiles(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    return newest_profiles(_rows(context, "customer", pairs))


def _profiles_again(context: StepContext, touched: list[DataFrame]) -> DataFrame:
    """Profiles of everybody whom this version or the one before names, as all published dates have them now."""
    published = newest_profiles(store.published_before(context, "customer", _ALWAYS))
    return published.join(party_keys(touched), "party_key", "left_semi")


def _features(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    return newest_features(_rows(context, "person_feature", pairs))


def _scores(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    return newest_scores(_rows(context, "score", pairs))


def _cells_again(table: str, newest: Callable[[DataFrame], DataFrame]) -> Callable[[StepContext, list[DataFrame]], DataFrame]:
    """Cells of everybody whom this version or the one before names, as the published dates since shortly before it have them."""

    def again(context: StepContext, touched: list[DataFrame]) -> DataFrame:
        since = context.run.first_date - timedelta(days=AGAIN_DAYS)
        published = store.published_before(context, table, _ALWAYS).where(F.col("business_date") >= F.lit(since))
        return newest(published).join(party_keys(touched), "party_key", "left_semi")

    return again


def _items(context: StepContext, pairs: tuple[Pair, ...], what: Extent) -> DataFrame:
    """Open items by date, with their effect on the balances of book B and book V."""

    def effect(book: str) -> Column:
        return F.sum(F.when(F.col("book") == book, F.col("effect_minor")))

    effects = (
        _rows(context, "open_item_effect", pairs)
        .groupBy("business_date", "item_id")
        .agg(effect("B").alias("effect_b_minor"), effect("V").alias("effect_v_minor"))
    )
    rows = _rows(context, "open_item", pairs).join(effects, ["business_date", "item_id"], "left")
    return rows.withColumn("item", F.unhex("item_id"))


_PROJECTIONS: dict[str, Callable[[StepContext, tuple[Pair, ...], Extent], Any]] = {
    "mv": _movements,
    "ord": _orders,
    "acct_bal": _balances,
    "loan_snap": _loans,
    "cust_360": _profiles,
    "cust_360:i": _features,
    "cust_360:n": _features,
    "cust_360:s": _scores,
    "recon": _items,
}

# cells that hold the newest row of a person: a new version of old dates looks for it again
_AGAIN: dict[str, Callable[[StepContext, list[DataFrame]], DataFrame]] = {
    "cust_360": _profiles_again,
    "cust_360:i": _cells_again("person_feature", newest_features),
    "cust_360:n": _cells_again("person_feature", newest_features),
    "cust_360:s": _cells_again("score", newest_scores),
}


def _named(tag: str, frame: DataFrame) -> DataFrame:
    """The columns that a table's key and one of its cells take, and the tag of the two."""
    table, cell = cell_of(tag)
    return frame.select(F.lit(tag).alias("table"), *dict.fromkeys((*table.key.names, *cell.names)))


def _write(context: StepContext, packed: DataFrame) -> dict[str, int]:
    """Put (or, where `p` is null, delete) cells at the run's id in one action; rows a tag. ServiceMissing when HBase is down."""
    seen = Observation()
    observed = packed.observe(seen, *(F.count_if(F.col("table") == name).alias(name) for name in TAGS))
    target = {**options_of_all(context.settings), "timestamp": str(context.run.run_id)}
    try:
        observed.write.format(NAME).options(**target).mode("append").save()
    except Exception as error:
        ours = cause(error)
        if ours is None:
            raise
        raise ours from error
    return {name: int(seen.get[name]) for name in TAGS}


def _mark(context: StepContext) -> None:
    """From now on readers may see this run's rows."""
    with connection(context.settings) as database:
        database.execute(
            """insert into run.projected (run_id, projected_at) values (%s, ledger.clock_now())
               on conflict (run_id) do update set projected_at = excluded.projected_at""",
            [context.run.run_id],
        )
