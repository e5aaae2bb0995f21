"""What a report is made of: the winning published version of a platform's month end, read without Spark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from domain.errors import BadInput
from fundwatch.settings import Settings
from lake import reader
from lake.postgres import connection

_PERIOD = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
Rows = Callable[[str], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class Publication:
    """A published date of a platform and the run that made it; `known_as_of` is when the run was opened unless it was told."""

    platform_id: str
    business_date: date
    version: int
    run_id: int
    known_as_of: datetime
    ledger_no_to: int
    code_version: str


def month_end(period: str) -> date:
    """Last day of ``YYYY-MM``; BadInput when the period is not written so.

    >>> month_end("2026-02")
    datetime.date(2026, 2, 28)
    """
    match = _PERIOD.fullmatch(period)
    if match is None:
        raise BadInput(f"a period is written YYYY-MM, not {period!r}")
    year, month = int(match[1]), int(match[2])
    return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)


def publication(settings: Settings, platform_id: str, period: str) -> Publication:
    """The highest COMPLETE version of the period's last date; BadInput when the platform or the publication is not there."""
    day = month_end(period)
    with connection(settings, role="reader") as database:
        known = database.execute("select 1 from run.published where platform_id = %s limit 1", [platform_id]).fetchone()
        if known is None:
            raise BadInput(f"nothing is published of a platform {platform_id!r}")
        found = database.execute(
            """select p.version, p.run_id, coalesce(r.known_as_of, r.opened_at), r.ledger_no_to, r.code_version
                 from run.published p join run.run r using (run_id)
                where p.platform_id = %s and p.business_date = %s and p.state = 'COMPLETE' order by p.version desc limit 1""",
            [platform_id, day],
        ).fetchone()
    if found is None:
        raise BadInput(f"{day}, the last date of {period}, is not published as complete for {platform_id}")
    return Publication(platform_id, day, *found)


def rows_of(settings: Settings, source: Publication) -> Rows:
    """A function that gives the rows of a lake table for the publication's platform and date."""

    def rows(table: str) -> Iterator[dict[str, Any]]:
        import pyarrow.compute as pc

        for batch in reader.batches(settings, table, source.run_id):
            here = pc.and_(
                pc.equal(batch["platform_id"], source.platform_id), pc.equal(batch["business_date"], source.business_date)
            )
            yield from batch.filter(here).to_pylist()

    return rows
