"""Retention in the lake: rows of abandoned runs, old snapshots and orphans go, published rows stay as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from fundwatch import night
from fundwatch.retention.apply import apply
from fundwatch.retention.policy import Policy
from fundwatch.settings import Settings
from lake import reader, store
from lake.steps import Run, StepContext

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2033, 5, 2)
NAME = "ledger_order"
TABLE = [Policy("abandoned_run_rows", "", "", 30), Policy("lake_orphans", "", "", 3, 1)]


@pytest.fixture
def site(test_settings: Settings, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The session's lake with a home of its own; retention uses the session's Spark."""
    store.ensure_tables(spark)

    @contextmanager
    def this_session(*_: Any) -> Iterator[SparkSession]:
        yield spark

    monkeypatch.setattr(night, "spark_session", this_session)
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(test_settings.home / "secrets"))
    monkeypatch.setenv("FUNDWATCH_DATABASE_URL", test_settings.database_url("reader"))
    monkeypatch.setenv("FUNDWATCH_LAKE", test_settings.lake_warehouse)
    yield replace(test_settings, home=tmp_path)


def execute(site: Settings, statement: str, *values: Any) -> Any:
    with psycopg.connect(site.database_url("migrator"), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchone() if cursor.description else None


def ran(site: Settings, spark: SparkSession, state: str, days_ago: int, rows: int) -> int:
    """A run that wrote so many orders and ended so many days before the service's now."""
    (run_id,) = execute(
        site,
        """insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at, closed_at)
           select %s, %s, 0, '{}', 'x', %s, now, now - make_interval(days => %s) from ledger.clock_now() now returning run_id""",
        DAY,
        DAY,
        state,
        days_ago,
    )
    context = StepContext(Run(run_id, DAY, DAY, None, None, 0), site, spark)
    orders = [
        (DAY, run_id, "P01", number, f"R-{number}", "OPENING", 5, "CNY", datetime(2033, 5, 2, tzinfo=UTC))
        for number in range(rows)
    ]
    store.write(context, NAME, spark.createDataFrame(orders, spark.table(f"lake.fundwatch.{NAME}").schema))
    return int(run_id)


def data_folder(site: Settings) -> Path:
    return Path(unquote(urlsplit(reader.table(site, NAME).location()).path)) / "data"


def rows_by_run(site: Settings, *runs: int) -> list[int]:
    found = reader.rows_of_runs(site, NAME, runs)
    return [found.get(run, 0) for run in runs]


def test_rows_of_runs_abandoned_long_ago_go_and_all_others_stay(site: Settings, spark: SparkSession) -> None:
    runs = [
        ran(site, spark, *made) for made in (("ABANDONED", 40, 3), ("ABANDONED", 5, 4), ("PUBLISHED", 40, 5), ("OPEN", 40, 6))
    ]
    planned = apply(site, lambda _: None, dry_run=True, table=TABLE)
    assert planned["totals"] == {"abandoned_run_rows": {"rows": 3}}
    assert rows_by_run(site, *runs) == [3, 4, 5, 6]
    done = apply(site, lambda _: None, table=TABLE)
    assert rows_by_run(site, *runs) == [0, 4, 5, 6]
    certificate = json.loads(Path(done["certificate"]).read_text())
    assert [(item["what"], item["count"]) for item in certificate["items"]] == [(f"{NAME} of run {runs[0]}", 3)]
    assert apply(site, lambda _: None, table=TABLE)["skipped"]


def test_a_run_that_is_not_abandoned_is_never_deleted_whatever_a_plan_says(site: Settings, spark: SparkSession) -> None:
    run_id = ran(site, spark, "ABANDONED", 40, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write", None)
        from fundwatch.retention.apply import DELETIONS

        deletion = DELETIONS["abandoned_run_rows"]
        items = deletion.plan(_site(site, spark), TABLE[0])
    execute(site, "update run.run set state = 'PUBLISHED' where run_id = %s", run_id)
    with pytest.raises(Exception, match="were not abandoned"):
        deletion.delete(_site(site, spark), items)
    assert rows_by_run(site, run_id) == [2]


def _site(site: Settings, spark: SparkSession) -> Any:
    from fundwatch.retention.plan import Site

    (service_now,) = execute(site, "select ledger.clock_now()")
    return Site(site, datetime.now(UTC), service_now, lambda: spark)


def test_old_snapshots_go_with_their_files_and_the_table_reads_the_same(site: Settings, spark: SparkSession) -> None:
    run_id = ran(site, spark, "PUBLISHED", 1, 4)
    context = StepContext(Run(run_id, DAY, DAY, None, None, 0), site, spark)
    store.write(context, NAME, store.of_run(context, NAME).limit(2).localCheckpoint())
    files, rows = set(data_folder(site).rglob("*.parquet")), spark.table(f"lake.fundwatch.{NAME}").count()
    later = datetime.now(UTC) + timedelta(days=8)
    apply(site, lambda _: None, table=[Policy("lake_snapshots", "", "", 7)], now=later)
    table = reader.table(site, NAME)
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == [table.current_snapshot().snapshot_id]  # type: ignore[union-attr]
    assert set(data_folder(site).rglob("*.parquet")) < files
    spark.catalog.refreshTable(f"lake.fundwatch.{NAME}")
    assert spark.table(f"lake.fundwatch.{NAME}").count() == rows
    assert rows_by_run(site, run_id) == [2]
    assert apply(site, lambda _: None, table=[Policy("lake_snapshots", "", "", 7)], now=later)["skipped"]


def test_files_that_no_table_knows_go_once_they_are_old(site: Settings, spark: SparkSession) -> None:
    run_id = ran(site, spark, "PUBLISHED", 1, 3)
    folder = next(data_folder(site).rglob("*.parquet")).parent
    old, young = folder / "left-by-a-killed-writer.parquet", folder / "being-written.parquet"
    for path, days in ((old, 4), (young, 2)):
        path.write_bytes(b"half a file")
        at = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        os.utime(path, (at, at))
    done = apply(site, lambda _: None, table=TABLE)
    assert done["totals"]["lake_orphans"] == {"files": 1}
    assert (old.exists(), young.exists()) == (False, True)
    assert rows_by_run(site, run_id) == [3]
    young.unlink()
