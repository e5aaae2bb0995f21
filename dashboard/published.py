"""What the pages read from PostgreSQL: published rows only, all of a page from one snapshot of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from dashboard.connections import Connections

Database = psycopg.Connection[DictRow]
# a page reads one state of the database, and a statement that takes longer than this is a fault, not patience
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = '20s'; SET LOCAL jit = off"

NOW, WEEK, MONTH = "now", "week", "month"

# the newest complete date of every platform, and the complete dates a week and a month before it where they are published
_SOURCES = """
SELECT 'now' AS moment, platform_id, business_date, run_id, published_at FROM mart.newest_complete
WHERE %(platform_id)s::text IS NULL OR platform_id = %(platform_id)s
UNION ALL
SELECT back.moment, newest.platform_id, earlier.business_date, earlier.run_id, earlier.published_at
FROM mart.newest_complete newest
CROSS JOIN (VALUES ('week', interval '7 days'), ('month', interval '1 month')) back (moment, distance)
JOIN mart.winner_of_any_state earlier ON earlier.platform_id = newest.platform_id AND earlier.state = 'COMPLETE'
  AND earlier.business_date = (newest.business_date - back.distance)::date
WHERE %(platform_id)s::text IS NULL OR newest.platform_id = %(platform_id)s
ORDER BY moment, platform_id"""

SCOPE = """(SELECT * FROM unnest(%(moments)s::text[], %(platforms)s::text[], %(dates)s::date[], %(runs)s::bigint[])
            AS given (moment, platform_id, business_date, run_id)) scope"""
"""SQL: the published rows that count, as a relation (moment, platform_id, business_date, run_id); see `Sources.values`."""


@dataclass(frozen=True)
class Source:
    """One published date of a platform that a page reads, and at which moment: now, a week or a month before."""

    moment: str
    platform_id: str
    business_date: date
    run_id: int


@dataclass(frozen=True)
class Sources:
    """Everything a page reads from: every platform's newest complete date, and the earlier dates it is compared with."""

    all: tuple[Source, ...]

    @property
    def now(self) -> tuple[Source, ...]:
        """The newest complete date of each platform."""
        return tuple(source for source in self.all if source.moment == NOW)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platforms with a complete date."""
        return tuple(source.platform_id for source in self.now)

    def at(self, moment: str) -> frozenset[str]:
        """Platforms that have a published date at a moment."""
        return frozenset(source.platform_id for source in self.all if source.moment == moment)

    def values(self, moments: Sequence[str] = (NOW, WEEK, MONTH)) -> dict[str, Any]:
        """Parameters of a query over `SCOPE`."""
        chosen = [source for source in self.all if source.moment in moments]
        return {
            "moments": [source.moment for source in chosen],
            "platforms": [source.platform_id for source in chosen],
            "dates": [source.business_date for source in chosen],
            "runs": [source.run_id for source in chosen],
        }


@contextmanager
def reading(connections: Connections) -> Iterator[Database]:
    """A read-only snapshot of the database for one page, on a connection of role reader.

    ServiceMissing when PostgreSQL does not answer.
    """
    with connections.lend() as connection, connection.transaction():
        connection.row_factory = dict_row
        connection.execute(_SNAPSHOT)
        yield connection


def sources(database: Database, platform_id: str = "") -> Sources:
    """What counts now, for one platform or (empty) for all."""
    rows = database.execute(_SOURCES, {"platform_id": platform_id or None}).fetchall()
    return Sources(tuple(Source(row["moment"], row["platform_id"], row["business_date"], row["run_id"]) for row in rows))


def currencies(database: Database, found: Sources) -> list[str]:
    """Currencies of the published figures, the installation's main one (most platforms) first."""
    rows = database.execute(
        f"""SELECT i.currency, count(DISTINCT platform_id) AS platforms FROM {SCOPE}
            JOIN mart.indicator i USING (run_id, business_date, platform_id) GROUP BY i.currency ORDER BY 2 DESC, 1""",
        found.values([NOW]),
    ).fetchall()
    return [row["currency"] for row in rows]


def account(database: Database, account_no: str) -> dict[str, Any] | None:
    """One account: `account_id, account_no, platform_id, account_role, currency, customer_no`, or None."""
    return database.execute(
        """SELECT account_id, account_no, platform_id, account_role, currency, customer_no FROM night.account
           WHERE account_no = %s""",
        [account_no],
    ).fetchone()


def projected_run(database: Database) -> int | None:
    """The newest run that is wholly in the history store; readers of HBase are bounded by it. None before the first."""
    row = database.execute("SELECT max(run_id) AS run_id FROM run.projected").fetchone()
    return row["run_id"] if row else None
