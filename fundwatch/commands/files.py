"""`fundwatch files wait`: which files the next night still waits for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fundwatch.commands.night import AsJson, parsed_date


def register(app: typer.Typer) -> None:
    """Add the group `files`."""
    group = typer.Typer(no_args_is_help=True, help="Incoming files.")
    group.callback()(_files)
    group.command("wait")(wait)
    app.add_typer(group, name="files")


def _files() -> None:
    """Incoming files."""


def wait(
    to: Annotated[str, typer.Option("--to", help="last business date the night would do, YYYY-MM-DD")], as_json: AsJson = False
) -> None:
    """Say once whether the files of every date not yet published have come; who waits asks again. Exit code 0 either way."""
    from fundwatch.output import emit
    from fundwatch.settings import load
    from fundwatch.waiting import probe

    emit(probe(load(), parsed_date(to)), as_json, _show)


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    console.print(f"{'ready' if result['ready'] else 'not ready'}: {result['reason']}", soft_wrap=True, markup=False)
    for line in [*result["missing"], *result["advisory_missing"]]:
        console.print(f"  {line}", soft_wrap=True, markup=False)
    unlisted = result["missing_count"] - len(result["missing"])
    if unlisted:
        console.print(f"  and {unlisted} more")
    passed = "has passed" if result["deadline_passed"] else "is to come"
    console.print(f"deadline {result['deadline']} {passed}")
