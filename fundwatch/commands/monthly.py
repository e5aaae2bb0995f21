"""`fundwatch report monthly`: the reports of the month before, for every platform."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fundwatch.commands.night import AsJson, parsed_date


def register(app: typer.Typer) -> None:
    """Add the command to the group `report`, which is there already."""
    (group,) = (one.typer_instance for one in app.registered_groups if one.name == "report")
    assert group is not None
    group.command("monthly")(monthly)


def monthly(on: Annotated[str, typer.Option("--on", help="the day, YYYY-MM-DD")], as_json: AsJson = False) -> None:
    """On the 5th working day of a month: build and verify last month's reports; exit code 10 when one of them cannot be."""
    from domain.errors import CheckFailed
    from fundwatch.monthly import reports_on
    from fundwatch.output import emit, log
    from fundwatch.settings import load

    def say(sentence: str) -> None:
        log.print(sentence, soft_wrap=True, markup=False)

    result = reports_on(load(), parsed_date(on), say)
    emit(result, as_json, _show)
    failed = [one for one in result.get("reports", ()) if one["error"]]
    if failed:
        raise CheckFailed("; ".join(f"{one['platform_id']}: {one['error']}" for one in failed))


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    if result.get("skipped"):
        console.print(result["reason"])
    for one in result.get("reports", ()):
        state = one["error"] or f"{one['folder']}{'' if one['is_new'] else ' (unchanged)'}"
        console.print(f"{one['platform_id']} {result['period']}: {state}", soft_wrap=True, markup=False)
