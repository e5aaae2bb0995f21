"""`fundwatch hbase apply | check`: the tables of the history store."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the group `hbase`."""
    group = typer.Typer(no_args_is_help=True, help=__doc__)
    group.command("apply")(apply)
    group.command("check")(check)
    app.add_typer(group, name="hbase")


def apply(as_json: bool = typer.Option(False, "--json", help="One JSON object as the last line.")) -> None:
    """Create the tables that are missing; fail when one exists and is not as declared."""
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from hbase_schema import apply as tables
    from hbase_schema.tables import TABLES

    settings = load()
    tables.apply(settings)
    names = [settings.hbase_table_prefix + name for name in TABLES]
    emit({"tables": names}, as_json, lambda result: console.print(f"{len(result['tables'])} tables as declared"))


def check(as_json: bool = typer.Option(False, "--json", help="One JSON object as the last line.")) -> None:
    """Compare the tables with their declaration; exit code 10 when one differs."""
    from domain.errors import CheckFailed
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from hbase_schema import apply as tables

    faults = tables.check(load())
    emit(
        {"ok": not faults, "faults": faults},
        as_json,
        lambda result: console.print("\n".join(result["faults"]) or "all tables are as declared"),
    )
    if faults:
        raise CheckFailed(f"{len(faults)} faults in the HBase tables")
