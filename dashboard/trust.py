"""The trust bar: how far the figures reach, and everything that should make a reader doubt them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from dashboard.published import Database
from domain.vocabulary import ADVISORY_KINDS
from fundwatch.settings import Settings
from transactional import calendars, controls

_PLATFORMS = """
SELECT newest.platform_id, newest.business_date AS newest_date, newest.state, newest.reason, done.business_date AS complete_to,
       done.run_id, done.published_at
FROM mart.newest_of_any_state newest LEFT JOIN mart.newest_complete done USING (platform_id) ORDER BY platform_id"""
# files of incomplete dates stay missing until they come, whatever later dates brought
_MISSING = """
SELECT item.* FROM mart.winner_of_any_state counted JOIN mart.open_item item USING (run_id, business_date, platform_id)
WHERE counted.state = 'INCOMPLETE' AND item.code = 'B24' AND (%(platform_id)s::text IS NULL OR platform_id = %(platform_id)s)
ORDER BY item.account_date, platform_id, item.match_key"""
_FILES = """
SELECT count(*) FILTER (WHERE file_kind <> ALL(%(advisory)s) AND file.state = 'ACCEPTED' AND received_at > %(deadline)s) AS late,
       count(*) FILTER (WHERE file.state = 'WAIVED') AS waived,
       count(*) FILTER (WHERE file_kind = ANY(%(advisory)s)) AS credit,
       count(*) FILTER (WHERE file_kind = ANY(%(advisory)s) AND file.state <> 'ACCEPTED') AS credit_late
FROM mart.newest_of_any_state JOIN mart.file_control file USING (run_id, business_date, platform_id)
WHERE business_date = %(as_of)s"""
_SCORES = """
SELECT (SELECT detail ->> 'refused' FROM run.step WHERE step = 'score' AND run_id = %(run_id)s) AS refused,
       (SELECT string_agg(DISTINCT model_id, ', ') FROM mart.score_band
        JOIN mart.newest_complete USING (run_id, business_date, platform_id)) AS models"""


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
    """The trust bar. `run_id` and `published_at` are of the last run with a complete date, None before the first.

    `score_refused` is the reason why the last run's scores were refused; `models` are those whose scores are shown.
    """

    as_of: date
    run_id: int | None
    published_at: datetime | None
    files_missing: int
    files_late: int
    files_waived: int
    credit_files: int
    credit_files_late: int
    models: str | None
    score_refused: str | None
    hold: controls.Hold | None
    platforms: tuple[PlatformState, ...]

    @property
    def stale(self) -> tuple[PlatformState, ...]:
        """Platforms whose last complete figures are older than the newest date."""
        return tuple(platform for platform in self.platforms if platform.is_stale)

    @property
    def incomplete(self) -> tuple[PlatformState, ...]:
        """Platforms without any complete date: they are in no figure."""
        return tuple(platform for platform in self.platforms if platform.complete_to is None)

    @property
    def is_doubtful(self) -> bool:
        """Whether anything stands in the way of taking the figures as they are."""
        return bool(self.files_missing or self.files_waived or self.stale or self.hold)


def trust(database: Database, settings: Settings) -> Trust | None:
    """The trust bar of the newest published dates, or None when no night has been published."""
    states = database.execute(_PLATFORMS).fetchall()
    if not states:
        return None
    as_of = max(state["newest_date"] for state in states)
    complete = [state for state in states if state["run_id"] is not None]
    newest = max(complete, key=lambda state: state["run_id"], default=None)
    files = _one(database, _FILES, {"as_of": as_of, "advisory": list(ADVISORY_KINDS), "deadline": _deadline(settings, as_of)})
    scores = _one(database, _SCORES, {"run_id": max((state["run_id"] for state in complete), default=None)})
    return Trust(
        as_of,
        newest["run_id"] if newest else None,
        newest["published_at"] if newest else None,
        len(database.execute(_MISSING, {"platform_id": None}).fetchall()),
        files["late"],
        files["waived"],
        files["credit"],
        files["credit_late"],
        scores["models"],
        scores["refused"],
        controls.held(database),
        tuple(
            PlatformState(
                state["platform_id"],
                state["complete_to"],
                state["newest_date"],
                state["reason"],
                state["complete_to"] is None or state["complete_to"] < as_of,
            )
            for state in states
        ),
    )


def missing_files(database: Database, settings: Settings, platform_id: str, as_of: date) -> list[dict[str, Any]]:
    """Items B24 of dates that are still incomplete, each aged in working days up to `as_of`."""
    calendar = calendars.in_force(database, settings.calendar)
    return [
        item | {"age_working_days": calendar.working_days_between(item["account_date"], as_of)}
        for item in database.execute(_MISSING, {"platform_id": platform_id or None}).fetchall()
    ]


def _deadline(settings: Settings, as_of: date) -> datetime:
    """When files of a date were due: `files_deadline` in the night after it, bank time (an evening time means the same day)."""
    day = as_of + timedelta(days=1) if settings.files_deadline < time(12) else as_of
    return datetime.combine(day, settings.files_deadline, settings.zone)


def _one(database: Database, query: str, values: dict[str, Any]) -> dict[str, Any]:
    row = database.execute(query, values).fetchone()
    assert row is not None
    return row
