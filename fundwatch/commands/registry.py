"""`fundwatch registry upsert`: customers and sub-accounts of a platform from a CSV file (contracts section 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def register(app: typer.Typer) -> None:
    """Add the group `registry`."""
    group = typer.Typer(no_args_is_help=True, help="Customers and sub-accounts of platforms.")
    group.callback()(_registry)
    group.command("upsert")(upsert)
    app.add_typer(group, name="registry")


def _registry() -> None:
    """Customers and sub-accounts of platforms."""


def upsert(
    file: Annotated[Path, typer.Argument(help="CSV of customers or of sub-accounts; the first line names the columns.")],
    platform: Annotated[str, typer.Option("--platform", help="The platform the rows are of.")],
    json: Json = False,
) -> None:
    """Add new rows and changes; bad rows are named with line and column and kept in a quarantine file, the good ones go on."""
    from domain.errors import CheckFailed
    from fundwatch.output import emit, log
    from fundwatch.settings import load
    from transactional.registry_file import upsert_file

    done = upsert_file(load(), file, platform)
    for sentence in done.sentences:
        log.print(sentence, soft_wrap=True, markup=False, highlight=False)
    result: dict[str, Any] = {**done.counts, "changes": done.changes, "quarantine": done.quarantine and str(done.quarantine)}
    emit(result, json, _show)
    if done.sentences:
        raise CheckFailed(f"{len(done.sentences)} of {sum(done.counts.values())} rows were refused: {done.quarantine}")


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for change in result["changes"]:
        console.print(f"{change['key']} {change['field']}: {change['before']} → {change['after']}", soft_wrap=True, markup=False)
    counts = ", ".join(f"{result[word]} {word}" for word in ("new", "changed", "unchanged", "refused"))
    console.print(counts, soft_wrap=True)
