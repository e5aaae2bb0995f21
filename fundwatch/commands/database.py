"""`fundwatch db migrate | rollback` and `fundwatch key add`."""

from __future__ import annotations

from typing import Annotated

import typer

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def register(app: typer.Typer) -> None:
    """Add the groups `db` and `key`."""
    database = typer.Typer(no_args_is_help=True, help="Migrations of database fundwatch.")
    database.command("migrate")(migrate)
    database.command("rollback")(rollback)
    app.add_typer(database, name="db")
    keys = typer.Typer(no_args_is_help=True, help="API keys.")
    keys.callback()(_keys)
    keys.command("add")(add_key)
    app.add_typer(keys, name="key")


def _keys() -> None:
    """API keys of the transactional service."""


def migrate(json: JSON = False) -> None:
    """Apply the migrations that are missing; a new database is marked with the clock of FUNDWATCH_CLOCK."""
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from transactional.migrate import migrate as apply

    settings = load()
    applied = apply(settings.database_url("migrator"), settings.clock)
    result = {"applied": applied, "skipped": not applied}
    emit(result, json, lambda _: console.print("\n".join(applied) or "nothing to apply"))


def rollback(
    count: Annotated[int, typer.Option(min=1, help="How many migrations to take back, newest first.")] = 1, json: JSON = False
) -> None:
    """Take back the last migrations, with the data they hold."""
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from transactional.migrate import rollback as take_back

    undone = take_back(load().database_url("migrator"), count)
    result = {"undone": undone, "skipped": not undone}
    emit(result, json, lambda _: console.print("\n".join(undone) or "nothing to take back"))


def add_key(
    platform: Annotated[str, typer.Option(help="The platform the key acts for, or * for all.")], json: JSON = False
) -> None:
    """Make an API key and print it: it is not kept and cannot be shown again."""
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from transactional.keys import add_key as store

    key = store(load().database_url("migrator"), platform)
    emit({"key": key, "scope": platform}, json, lambda _: console.print(key, soft_wrap=True))
