"""The bank's clock for all DAGs, from the environment: zone, start of the night, first and last night.

`fundwatch up --airflow` sets these names; whoever starts Airflow in another way sets them too.

- `FUNDWATCH_ZONE` (Asia/Shanghai), `FUNDWATCH_NIGHT_START` (01:30)
- `FUNDWATCH_NIGHT_FROM`: the first business date to catch up from. Empty: no night is planned, only runs by hand.
- `FUNDWATCH_NIGHT_TO`: the last business date, for worlds that end. Empty: for ever.
- `FUNDWATCH_RETRY_S` (30): seconds before a step that failed for a passing reason is tried again
- `FUNDWATCH_SCHEDULED_SINCE`: the day on which this installation got its scheduler; only nights catch up from before it.
"""

from __future__ import annotations

import os
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from airflow.sdk import CronTriggerTimetable

ZONE = os.environ.get("FUNDWATCH_ZONE") or "Asia/Shanghai"
NIGHT_START = time.fromisoformat(os.environ.get("FUNDWATCH_NIGHT_START") or "01:30")
RETRY_DELAY = timedelta(seconds=int(os.environ.get("FUNDWATCH_RETRY_S") or 30))
LONG_AGO = datetime(2020, 1, 1, tzinfo=ZoneInfo(ZONE))
"""Start date of DAGs that have no better one; they do not catch up."""


def start_of_nights() -> datetime | None:
    """The moment of the first night, which closes the first business date; None when that is not known."""
    return _night_of("FUNDWATCH_NIGHT_FROM")


def end_of_nights() -> datetime | None:
    """The moment of the last night; None when they go on."""
    return _night_of("FUNDWATCH_NIGHT_TO")


def scheduled_since() -> datetime | None:
    """Midnight of the day on which this installation got its scheduler; None when that is not known."""
    text = os.environ.get("FUNDWATCH_SCHEDULED_SINCE")
    return datetime.combine(date.fromisoformat(text), time.min, ZoneInfo(ZONE)) if text else None


def at(cron: str) -> CronTriggerTimetable:
    """A plain cron schedule in the bank's zone: a run belongs to its moment, not to an interval before it."""
    return CronTriggerTimetable(cron, timezone=ZONE)


def nightly() -> CronTriggerTimetable | None:
    """Every calendar day at the start of the night; None when the first night is not known."""
    return at(f"{NIGHT_START.minute} {NIGHT_START.hour} * * *") if start_of_nights() else None


def _night_of(name: str) -> datetime | None:
    text = os.environ.get(name)
    if not text:
        return None
    return datetime.combine(date.fromisoformat(text) + timedelta(days=1), NIGHT_START, ZoneInfo(ZONE))
