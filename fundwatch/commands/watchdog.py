"""`fundwatch watchdog`: whether the night that is due has published."""

from __future__ import annotations

from typing import Any

import typer

from fundwatch.commands.night import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watchdog)


def watchdog(as_json: AsJson = False) -> None:
    """Whether every platform's night is published that is due by now: exit code 0 yes, 10 late, 4 when nobody can know."""
    from domain.errors import CheckFailed, ServiceMissing
    from fundwatch.output import emit
    from fundwatch.settings import load
    from fundwatch.watch.judgement import LATE, UNKNOWN
    from fundwatch.watch.look import look

    found = look(load())
    emit(found.as_json(), as_json, _show)
    if found.state == UNKNOWN:
        raise ServiceMissing(found.reason)
    if found.state == LATE:
        raise CheckFailed(found.reason)


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    def say(words: str) -> None:
        console.print(words, soft_wrap=True, markup=False)

    say(f"{result['state']}: {result['reason']}")
    for platform_id, day in result.get("published_to", {}).items():
        say(f"  {platform_id} published up to {day}")
    for one in result.get("incomplete", ()):
        say(f"  {one['platform_id']} {one['business_date']} is incomplete: {one['reason']}")
    run = result.get("last_run")
    if run:
        failed = f", failed: {run['failed']}" if run["failed"] else ""
        say(f"  last run {run['run_id']}: {run['first_date']} to {run['last_date']} {run['state']}{failed}")
    if result.get("files_missing"):
        say(f"  the next night waits for {result['files_missing']} files")
    if result["dead_services"]:
        say(f"  ended by themselves: {', '.join(result['dead_services'])}")
    if result["scheduler_beat_age_s"] is not None:
        say(f"  the scheduler's heartbeat is {result['scheduler_beat_age_s']} s old")
