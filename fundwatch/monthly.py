"""The reports of a month, all platforms at once, on the 5th working day after it (spec 07 section 7.10: "D+5wd")."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from domain.calendars import Calendar
from domain.errors import BadInput, CheckFailed
from domain.packs import Pack
from fundwatch.settings import Settings
from lake import calendars
from lake.postgres import connection

WORKING_DAY = 5
_PLATFORMS = """select distinct on (platform_id) platform_id, pack_id from night.platform
 where valid_from <= %s order by platform_id, version desc"""


def is_report_day(calendar: Calendar, day: date) -> bool:
    """Whether a day is the 5th working day of its month; BadInput outside the calendar's years."""
    of_month = calendar.days(day.replace(day=1), day)
    return of_month[-1].is_working_day and sum(one.is_working_day for one in of_month) == WORKING_DAY


def reports_on(settings: Settings, on: date, say: Callable[[str], None]) -> dict[str, Any]:
    """Build and verify the reports of the month before `on`, one a platform, when `on` is the 5th working day of its month.

    ``{"period", "reports": [{platform_id, folder, run_id, is_new, error}]}``, or ``{"skipped": true, "reason"}`` on another day.
    A report that is there already is kept. A platform whose report cannot be (its month end is not complete) has its sentence in
    `error` and does not stop the others.
    """
    last = on.replace(day=1) - timedelta(days=1)
    with connection(settings) as database:
        if not is_report_day(calendars.in_force(database, settings.calendar).calendar, on):
            return {"skipped": True, "reason": f"{on} is not working day {WORKING_DAY} of its month"}
        platforms = database.execute(_PLATFORMS, [last]).fetchall()
    if not platforms:
        return {"skipped": True, "reason": f"no platform was onboarded by {last}"}
    period = f"{last:%Y-%m}"
    return {"period": period, "reports": [_report(settings, platform, pack, period, say) for platform, pack in platforms]}


def _report(settings: Settings, platform_id: str, pack_id: str, period: str, say: Callable[[str], None]) -> dict[str, Any]:
    told: dict[str, Any] = {"platform_id": platform_id, "folder": None, "run_id": None, "is_new": False, "error": None}
    try:
        folder, run_id, is_new = _built(settings, platform_id, pack_id, period)
        told |= {"folder": str(folder), "run_id": run_id, "is_new": is_new}
        _verified(settings, folder)
    except (BadInput, CheckFailed) as error:
        told["error"] = str(error)
    say(f"{platform_id} {period}: {told['error'] or told['folder']}")
    return told


def _built(settings: Settings, platform_id: str, pack_id: str, period: str) -> tuple[Path, int, bool]:
    from reports.bundle import build
    from reports.published import publication, rows_of

    source = publication(settings, platform_id, period, pack_id)
    folder, is_new = build(Pack.of(pack_id), source, period, rows_of(settings, source), settings.reports_dir)
    return folder, source.run_id, is_new


def _verified(settings: Settings, folder: Path) -> None:
    from reports.signing import trusted_certificate
    from reports.verify import verify

    verify(folder, trusted_certificate(settings, None))
