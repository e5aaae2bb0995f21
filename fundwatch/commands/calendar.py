"""`fundwatch calendar export ID`: a calendar of the service as the text that `domain.calendars` reads."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the group `calendar`."""
    group = typer.Typer(no_args_is_help=True, help="Working days with make-up days, as two people decided them.")
    group.command("export")(export)
    app.add_typer(group, name="calendar")


def export(
    calendar_id: Annotated[str, typer.Argument(help="such as CN")],
    version: Annotated[int | None, typer.Option(help="a version; else the newest")] = None,
) -> None:
    """Print a calendar as TOML, the format of domain/calendars."""
    import sys

    from fundwatch.settings import load
    from transactional import calendars

    sys.stdout.write(calendars.exported(load().database_url("reader"), calendar_id.upper(), version))
