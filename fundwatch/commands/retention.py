"""`fundwatch retention apply`: delete what has been kept for its time."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fundwatch.commands.night import AsJson


def register(app: typer.Typer) -> None:
    """Add the group `retention`."""
    group = typer.Typer(no_args_is_help=True, help="What is kept how long (fundwatch/retention.toml).")
    group.callback()(_retention)
    group.command("apply")(apply)
    app.add_typer(group, name="retention")


def _retention() -> None:
    """What is kept how long."""


def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be deleted")] = False, as_json: AsJson = False
) -> None:
    """Plan, delete, verify, and write a certificate under manifests/; killed anywhere, the next call finishes the same plan."""
    from fundwatch.output import emit, log
    from fundwatch.retention.apply import apply as apply_policies
    from fundwatch.settings import load

    emit(apply_policies(load(), log.print, dry_run), as_json, _show)


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    if result.get("skipped"):
        console.print(result["reason"])
        return
    for name, units in result["totals"].items():
        console.print(f"{name:<22}" + ", ".join(f"{count:,} {unit}" for unit, count in units.items()))
    if result.get("dry_run"):
        for what in result["items"]:
            console.print(f"  {what}", soft_wrap=True, markup=False)
        console.print(
            "an unfinished plan, to be finished by the next call" if result["unfinished"] else "nothing was deleted (--dry-run)"
        )
    else:
        console.print(f"certificate {result['certificate']}", soft_wrap=True)
