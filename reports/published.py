"""What a report is made of: the winning published version of a platform's month end, read without Spark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from domain.errors import BadInput
from fundwatch.settings import Settings
from lake import calendars, reader
from lake.calendars import Kept
from lake.postgres import connection

_PERIOD = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
Rows = Callable[[str], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class PreviousMonth:
    """What was published of the month before, as far as the run could know it: values by currency and code."""

    period: str
    run_id: int
    published_version: int
    values: dict[str, dict[str, str]]

    def as_data(self) -> dict[str, Any]:
        """As plain data of a figure set."""
        return asdict(self)


@dataclass(frozen=True)
class Publication:
    """A published date of a platform and the run that made it; `known_as_of` is when the run was opened unless it was told.

    `zone` is the bank's time zone, `previous` the month before, None when nothing of it was published, `waived_files` what the
    month's dates were declared complete without: ``{business_date, sender_id, file_kind}``; `ledger_head` the head of
    the ledger's chain as the run verified it, ``{block_no, hash, ledger_no}``, None when it did not look; `calendar` is the one
    that the run read, None when it kept none.
    """

    platform_id: str
    business_date: date
    version: int
    run_id: int
    known_as_of: datetime
    ledger_no_to: int
    code_version: str
    zone: str = "Asia/Shanghai"
    previous: PreviousMonth | None = None
    waived_files: tuple[dict[str, str], ...] = ()
    ledger_head: dict[str, Any] | None = None
    calendar: Kept | None = None


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


def publication(settings: Settings, platform_id: str, period: str, pack_id: str = "CN_2017") -> Publication:
    """The highest COMPLETE version of the period's last date; BadInput when the platform or the publication is not there.

    Figures of the month before are those of `pack_id`.
    """
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
        previous = _previous_month(database, platform_id, day, found[1], pack_id)
        waived = _waived_files(database, platform_id, day, found[1])
        head = _ledger_head(database, found[1])
        calendar = calendars.kept_by(database, found[1])
    version, run_id, known_as_of, ledger_no_to, code_version = found
    about = (version, run_id, known_as_of, ledger_no_to, code_version, settings.zone.key)
    return Publication(platform_id, day, *about, previous, waived, head, calendar)


def _ledger_head(database: Any, run_id: int) -> dict[str, Any] | None:
    row = database.execute(
        "select detail -> 'ledger' from run.step where run_id = %s and step = 'verify' and state = 'DONE'", [run_id]
    ).fetchone()
    found = row[0] if row else None
    return {name: found[name] for name in ("block_no", "hash", "ledger_no")} if found else None


def _waived_files(database: Any, platform_id: str, day: date, run_id: int) -> tuple[dict[str, str], ...]:
    """Files that operators decided to go on without, on the month's dates up to `day`, as runs up to `run_id` published them."""
    rows = database.execute(
        """select business_date, sender_id, file_kind
             from (select distinct on (business_date) business_date, run_id from run.published
                    where platform_id = %(platform)s and business_date between %(first)s and %(day)s and state = 'COMPLETE'
                      and run_id <= %(run)s order by business_date, version desc) published
             join mart.file_control using (business_date, run_id)
            where platform_id = %(platform)s and state = 'WAIVED' order by 1, 2, 3""",
        {"platform": platform_id, "first": day.replace(day=1), "day": day, "run": run_id},
    ).fetchall()
    return tuple({"business_date": f"{on:%Y-%m-%d}", "sender_id": sender, "file_kind": kind} for on, sender, kind in rows)


def _previous_month(database: Any, platform_id: str, day: date, run_id: int, pack_id: str) -> PreviousMonth | None:
    """Figures of the month end before `day` in the highest COMPLETE version of a run not later than `run_id`.

    Later runs are left out so that the same run always gives the same report.
    """
    before = day.replace(day=1) - timedelta(days=1)
    version = database.execute(
        """select run_id, version from run.published
            where platform_id = %s and business_date = %s and state = 'COMPLETE' and run_id <= %s
            order by version desc limit 1""",
        [platform_id, before, run_id],
    ).fetchone()
    if version is None:
        return None
    rows = database.execute(
        """select currency, code, numerator from mart.indicator
            where run_id = %s and platform_id = %s and business_date = %s and pack_id = %s and denominator is null
            order by currency, code""",
        [version[0], platform_id, before, pack_id],
    ).fetchall()
    values: dict[str, dict[str, str]] = {}
    for currency, code, numerator in rows:
        values.setdefault(currency, {})[code] = str(numerator)
    return PreviousMonth(f"{before:%Y-%m}", version[0], version[1], values)


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
