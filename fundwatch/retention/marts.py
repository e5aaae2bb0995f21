"""Rows of the marts that no page reads any more. The lake keeps every published version, so nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from fundwatch.retention.plan import Item, Site
from fundwatch.retention.policy import Policy
from lake import marts
from lake.postgres import connection

# reports of later months read `indicator` as an earlier version had it
_KEPT = ("indicator",)
# replaced: by a COMPLETE version, or an incomplete one by any
_REPLACED = """
select p.business_date, p.platform_id, p.run_id from run.published p
 where exists (select from run.published q where q.business_date = p.business_date and q.platform_id = p.platform_id
                and q.version > p.version and (q.state = 'COMPLETE' or p.state = 'INCOMPLETE') and q.published_at < %(cut)s)"""
_PAST = """
select p.business_date, p.platform_id, p.run_id from run.published p
  join (select platform_id, max(business_date) as last from run.published where state = 'COMPLETE' group by platform_id) newest
 using (platform_id) where p.business_date < newest.last and p.business_date < %(day)s"""
_COUNT = """
select m.business_date, m.platform_id, m.run_id, count(*) from {mart} m join ({keys}) k using (business_date, platform_id, run_id)
 group by 1, 2, 3 order by 1, 2, 3"""
_KEY = " where run_id = %(run_id)s and business_date = %(business_date)s and platform_id = %(platform_id)s"


@dataclass(frozen=True)
class MartRows:
    """Rows of some marts whose (date, platform, run) a query gives."""

    name: str
    tables: Sequence[str]
    keys: str

    def plan(self, site: Site, policy: Policy) -> list[Item]:
        values = {"cut": site.service_cut(policy), "day": site.date_cut(policy)}
        with connection(site.settings) as database:
            return [item for table in self.tables for item in self._of(database, table, values)]

    def delete(self, site: Site, items: Sequence[Item]) -> None:
        with connection(site.settings) as database:
            for item in items:
                database.execute(_on(item, "delete from {mart}"), dict(item.key))

    def left(self, site: Site, items: Sequence[Item]) -> list[str]:
        with connection(site.settings) as database:
            return [item.what for item in items if _is_there(database, item)]

    def _of(self, database: psycopg.Connection[TupleRow], table: str, values: Mapping[str, object]) -> list[Item]:
        query = sql.SQL(_COUNT).format(mart=sql.Identifier("mart", table), keys=sql.SQL(self.keys))
        return [
            Item(
                self.name,
                f"mart.{table} of run {run_id}, {day} {platform_id}",
                rows,
                "rows",
                {"table": table, "business_date": day.isoformat(), "platform_id": platform_id, "run_id": run_id},
            )
            for day, platform_id, run_id, rows in database.execute(query, values).fetchall()
        ]


def _is_there(database: psycopg.Connection[TupleRow], item: Item) -> bool:
    # a row without columns is an empty tuple: not None, and yet false
    return database.execute(_on(item, "select from {mart}"), dict(item.key)).fetchone() is not None


def _on(item: Item, words: str) -> sql.Composed:
    return sql.SQL(words + _KEY).format(mart=sql.Identifier("mart", str(item.key["table"])))


SUPERSEDED = MartRows("superseded_mart_rows", tuple(name for name in marts.EVERY_DATE if name not in _KEPT), _REPLACED)
PAST_POSITIONS = MartRows("past_position_rows", marts.LAST_DATE_ONLY, _PAST)
PAST_SUMS = MartRows("past_sum_rows", marts.SUM_MARTS, _PAST)
