"""What nobody needs of the lake: rows of abandoned runs, old snapshots, files that no table knows. Published rows stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from domain.errors import Failed
from fundwatch.retention.plan import Item, Site
from fundwatch.retention.policy import Policy
from lake import reader
from lake.postgres import connection
from lake.tables import NAMESPACE, TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_CATALOG, _SPACE = NAMESPACE.split(".")


class AbandonedRuns:
    """Rows in the lake of runs that were abandoned before the cut."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        with connection(site.settings) as database:
            query = "select run_id from run.run where state = 'ABANDONED' and closed_at < %s order by run_id"
            runs = [row[0] for row in database.execute(query, [site.service_cut(policy)])]
        return [
            Item("abandoned_run_rows", f"{name} of run {run_id}", rows, "rows", {"table": name, "run_id": run_id})
            for name in TABLES
            for run_id, rows in sorted(reader.rows_of_runs(site.settings, name, runs).items())
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        self._still_abandoned(site, items)
        for name in sorted({item.key["table"] for item in items}):
            runs = sorted(item.key["run_id"] for item in items if item.key["table"] == name)
            site.spark().sql(
                f"delete from {TABLES[name].identifier} where run_id in ({', '.join(str(int(run)) for run in runs)})"
            )

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        runs = sorted({item.key["run_id"] for item in items})
        names = sorted({item.key["table"] for item in items})
        return [f"{name} of run {run}" for name in names for run in reader.rows_of_runs(site.settings, name, runs)]

    @staticmethod
    def _still_abandoned(site: Site, items: Sequence[Item]) -> None:
        """A plan is a file: a run that is not abandoned is never deleted, whatever the file says."""
        runs = sorted({int(item.key["run_id"]) for item in items})
        with connection(site.settings) as database:
            query = "select run_id from run.run where run_id = any(%s) and state <> 'ABANDONED'"
            others = [row[0] for row in database.execute(query, [runs])]
        if others:
            raise Failed(f"the plan names runs that were not abandoned: {others}: nothing is deleted")


class Snapshots:
    """Snapshots of the lake's tables that are older than the cut and not the current one."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        there = [name for name in TABLES if reader.exists(site.settings, name)]
        found = [(name, sum(1 for _ in self._old(site, name, site.cut(policy)))) for name in there]
        cut = site.cut(policy).isoformat()
        return [
            Item("lake_snapshots", f"{name} before {cut}", count, "snapshots", {"table": name, "cut": cut})
            for name, count in found
            if count
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        for item in items:
            _call(
                site.spark(),
                "expire_snapshots",
                item.key["table"],
                f"older_than => {_timestamp(item)}, retain_last => 1, stream_results => true",
            )

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        return [item.what for item in items if any(self._old(site, item.key["table"], datetime.fromisoformat(item.key["cut"])))]

    @staticmethod
    def _old(site: Site, name: str, cut: datetime) -> Iterator[int]:
        table = reader.table(site.settings, name)
        current = table.current_snapshot()
        for snapshot in table.snapshots():
            is_old = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC) < cut
            if is_old and current is not None and snapshot.snapshot_id != current.snapshot_id:
                yield snapshot.snapshot_id


class Orphans:
    """Files below a table's folder that no snapshot of it knows, last written before the cut."""

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        cut = site.cut(policy).isoformat()
        found = [(name, len(self._lying(site, name, cut))) for name in TABLES]
        return [
            Item("lake_orphans", f"{name} before {cut}", count, "files", {"table": name, "cut": cut})
            for name, count in found
            if count
        ]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        for item in items:
            _call(site.spark(), "remove_orphan_files", item.key["table"], f"older_than => {_timestamp(item)}")

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        return [item.what for item in items if self._lying(site, item.key["table"], item.key["cut"])]

    @staticmethod
    def _lying(site: Site, name: str, cut: str) -> list[str]:
        older = f"older_than => timestamp '{datetime.fromisoformat(cut).isoformat(sep=' ')}', dry_run => true"
        return [row[0] for row in _call(site.spark(), "remove_orphan_files", name, older)]


def _timestamp(item: Item) -> str:
    return f"timestamp '{datetime.fromisoformat(item.key['cut']).isoformat(sep=' ')}'"


def _call(spark: SparkSession, procedure: str, name: str, arguments: str) -> list[Any]:
    """Rows of an Iceberg procedure on one of our tables; a few counts or paths, never data."""
    rows: list[Any] = spark.sql(
        f"call {_CATALOG}.system.{procedure}(table => '{_SPACE}.{TABLES[name].name}', {arguments})"
    ).collect()
    return rows
