"""Step `publish`: the run becomes the version that counts (architecture section 4). It needs no Spark session."""

from __future__ import annotations

from collections.abc import Sequence

from fundwatch.settings import Settings
from lake.runs import Run, publish
from lake.steps import StepResult


def run_without_spark(run: Run, settings: Settings, steps: Sequence[str]) -> StepResult:
    """Publish `run` once the steps named ended well; detail: state, skipped, dates complete and incomplete, manifest."""
    done = publish(settings, run, steps)
    rows = sum(done.marts.values())
    detail = {
        "state": done.state,
        "skipped": done.skipped,
        "complete": done.complete,
        "incomplete": list(done.incomplete),
        "manifest": str(done.manifest) if done.manifest else None,
        "marts": dict(done.marts),
    }
    return StepResult(rows, rows, {}, detail)
