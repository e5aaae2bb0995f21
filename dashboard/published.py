"""What the pages read from PostgreSQL: the winning versions of published runs, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from domain.calendars import Calendar
from domain.errors import ServiceMissing
from fundwatch.settings import Settings

_WINNER = """
    winner AS (
        SELECT DISTINCT ON (business_date, platform_id) business_date, platform_id, run_id, state, reason, published_at
        FROM run.published ORDER BY business_date, platform_id, (state = 'COMPLETE') DESC, version DESC),
    newest AS (SELECT DISTINCT ON (platform_id) * FROM winner WHERE state = 'COMPLETE'
               ORDER BY platform_id, business_date DESC)"""
_NEWEST_ITEMS = f"""WITH {_WINNER}, shown AS (
        SELECT item.* FROM mart.open_item item JOIN newest USING (run_id, business_date, platform_id)
        WHERE %(platform_id)s::text IS NULL OR platform_id = %(platform_id)s)"""
# files of incomplete dates stay missing until they come, whatever later dates brought
_MISSING_FILES = f"""WITH {_WINNER}
    SELECT item.* FROM mart.open_item item JOIN winner USING (run_id, business_date, platform_id)
    WHERE winner.state = 'INCOMPLETE' AND item.code = 'B24'
      AND (%(platform_id)s::text IS NULL OR platform_id = %(platform_id)s)"""


@dataclass(frozen=True)
class PlatformState:
    """How far one platform's figures reach: its newest complete date, its newest date, and whether it is stale."""

    platform_id: str
    complete_to: date | None
    newest_date: date
    reason: str | None
    is_stale: bool


@dataclass(frozen=True)
class Trust:
    """The trust line: as-of date, run, publication time, files missing, platforms with their states."""

    as_of: date
    run_id: int
    published_at: datetime
    files_missing: int
    platforms: tuple[PlatformState, ...]

    @property
    def stale(self) -> tuple[PlatformState, ...]:
        """Platforms whose last complete figures are older than the newest date."""
        return tuple(platform for platform in self.platforms if platform.is_stale)


def _rows(settings: Settings, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    try:
        with psycopg.connect(settings.database_url("reader"), connect_timeout=2, row_factory=dict_row) as connection:
            return connection.execute(query, parameters or {}).fetchall()
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None


def trust(settings: Settings) -> Trust | None:
    """The trust line of the newest published dates, or None when no night has been published."""
    states = _rows(
        settings,
        f"""WITH {_WINNER}
        SELECT platform_id, max(business_date) FILTER (WHERE state = 'COMPLETE') AS complete_to,
               max(business_date) AS newest_date, max(run_id) AS run_id, max(published_at) AS published_at,
               (array_agg(reason ORDER BY business_date DESC) FILTER (WHERE state = 'INCOMPLETE'))[1] AS reason
        FROM winner GROUP BY platform_id ORDER BY platform_id""",
    )
    if not states:
        return None
    as_of = max(state["newest_date"] for state in states)
    platforms = tuple(
        PlatformState(
            state["platform_id"],
            state["complete_to"],
            state["newest_date"],
            state["reason"],
            state["complete_to"] is None or state["complete_to"] < as_of,
        )
        for state in states
    )
    return Trust(
        as_of,
        max(state["run_id"] for state in states),
        max(state["published_at"] for state in states),
        len(_rows(settings, _MISSING_FILES, {"platform_id": None})),
        platforms,
    )


def missing_files(settings: Settings, platform_id: str | None, as_of: date) -> list[dict[str, Any]]:
    """Items B24 of dates that are still incomplete, each aged in working days up to `as_of`."""
    calendar = Calendar.of(settings.calendar)
    return [
        item | {"age_working_days": calendar.working_days_between(item["account_date"], as_of)}
        for item in _rows(settings, _MISSING_FILES, {"platform_id": platform_id})
    ]


def items_by_code_and_age(settings: Settings, platform_id: str | None, as_of: date) -> list[dict[str, Any]]:
    """Count and sum of amounts per code and age in working days: `code, currency, age_working_days, items, amount_minor`."""
    counted = _rows(
        settings,
        f"""{_NEWEST_ITEMS} SELECT code, currency, age_working_days, count(*) AS items, sum(amount_minor)::bigint AS amount_minor
        FROM shown GROUP BY code, currency, age_working_days ORDER BY code""",
        {"platform_id": platform_id},
    )
    return counted + [item | {"items": 1} for item in missing_files(settings, platform_id, as_of)]


def open_items(
    settings: Settings, platform_id: str | None, code: str | None, currency: str, low: int, high: int | None
) -> list[dict[str, Any]]:
    """Open items behind one figure, oldest first; ages in working days from `low` to `high` (None = no end).

    `currency` is empty for items without an amount (missing files).
    """
    line = trust(settings)
    if line is None:
        return []
    rows = _rows(
        settings,
        f"""{_NEWEST_ITEMS} SELECT * FROM shown WHERE currency = %(currency)s
          AND (%(code)s::text IS NULL OR code = %(code)s)
          AND age_working_days >= %(low)s AND (%(high)s::int IS NULL OR age_working_days <= %(high)s)""",
        {"platform_id": platform_id, "code": code, "currency": currency, "low": low, "high": high},
    )
    files = [
        item
        for item in missing_files(settings, platform_id, line.as_of)
        if item["currency"] == currency
        and code in (None, item["code"])
        and low <= item["age_working_days"]
        and (high is None or item["age_working_days"] <= high)
    ]
    return sorted(rows + files, key=lambda item: (item["opened_on"], item["platform_id"], item["match_key"]))


def equations(settings: Settings, platform_id: str | None) -> list[dict[str, Any]]:
    """Residuals of the balance equations on each platform's newest complete date."""
    return _rows(
        settings,
        f"""WITH {_WINNER} SELECT platform_id, business_date, equation, currency, sum(amount_minor)::bigint AS residual_minor
        FROM mart.balance_equation JOIN newest USING (run_id, business_date, platform_id)
        WHERE is_residual AND (%(platform_id)s::text IS NULL OR platform_id = %(platform_id)s)
        GROUP BY platform_id, business_date, equation, currency ORDER BY equation, platform_id""",
        {"platform_id": platform_id},
    )


def account(settings: Settings, account_no: str) -> dict[str, Any] | None:
    """One account: `account_id, account_no, platform_id, account_role, currency`, or None."""
    rows = _rows(
        settings,
        "SELECT account_id, account_no, platform_id, account_role, currency FROM night.account WHERE account_no = %(account_no)s",
        {"account_no": account_no},
    )
    return rows[0] if rows else None


def projected_run(settings: Settings) -> int | None:
    """The newest run that is wholly in the history store; readers of HBase are bounded by it. None before the first."""
    run_id: int | None = _rows(settings, "SELECT max(run_id) AS run_id FROM run.projected")[0]["run_id"]
    return run_id
