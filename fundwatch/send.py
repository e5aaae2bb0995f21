"""Step `send`: what a published run found goes out to platforms and payment companies. Its failure does not unpublish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fundwatch import outbound
from fundwatch.settings import Settings
from lake.postgres import connection
from lake.steps import Run, StepResult

_DATES = "select distinct business_date from run.published where run_id = %s order by 1"


def run_without_spark(run: Run, settings: Settings, steps: Sequence[str]) -> StepResult:
    """Send the files of every date that `run` published; what was sent before with the same content is not sent again.

    Detail: `dates`, `written`, `unchanged`. `steps` are those before publishing, all of them done. Failed: as `outbound.send`.
    """
    with connection(settings) as database:
        dates = [row[0] for row in database.execute(_DATES, [run.run_id]).fetchall()]
    told: list[dict[str, Any]] = [outbound.send(settings, day, run.platform_id) for day in dates]
    rows = sum(entry["rows"] for each in told for entry in each["sent"] if entry["state"] == "WRITTEN")
    detail = {"dates": len(dates)} | {name: sum(each[name] for each in told) for name in ("written", "unchanged")}
    return StepResult(rows, rows, {}, detail)
