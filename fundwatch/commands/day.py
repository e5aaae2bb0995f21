"""`fundwatch day close` and `day list`: the closes of business dates."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def register(app: typer.Typer) -> None:
    """Add the group `day`."""
    day = typer.Typer(no_args_is_help=True, help="Business dates: after its close nothing takes effect in a day.")
    day.callback()(_day)
    day.command("close")(close)
    day.command("list")(listed)
    app.add_typer(day, name="day")


def _day() -> None:
    """Business dates: after its close nothing takes effect in a day."""


def close(
    to: Annotated[str, typer.Option("--to", help="Last business date to close, YYYY-MM-DD.")],
    json: Json = False,
) -> None:
    """Close every open business date up to one, oldest first; exit code 5 when the books of a day do not balance."""
    from datetime import date

    from domain.errors import WrongUse
    from fundwatch.output import emit
    from fundwatch.settings import load
    from lake.day_close import close_days
    from lake.postgres import connection

    try:
        last = date.fromisoformat(to)
    except ValueError:
        raise WrongUse(f"--to is a date like 2026-08-31, not {to!r}") from None
    settings = load()
    with connection(settings, autocommit=True) as database:
        closed = close_days(database, settings, last, "console")
    result: dict[str, Any] = {"closed": [day.isoformat() for day in closed]}
    emit(result | ({} if closed else {"skipped": True, "reason": f"every date up to {to} is closed"}), json, _show)


def listed(json: Json = False) -> None:
    """The newest closed dates with their control totals."""
    from psycopg.rows import dict_row

    from fundwatch.output import emit
    from fundwatch.settings import load
    from lake.postgres import connection

    with connection(load()) as database, database.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            """select business_date::text, ledger_no_to, encode(head, 'hex') as head, orders, movements, amount_minor::text,
                      accounts, closed_by, closed_at::text from ledger.day_close order by business_date desc limit 31"""
        ).fetchall()
    emit({"days": rows}, json, _show)


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for row in result.get("days", []):
        console.print(
            f"{row['business_date']}: {row['orders']} orders, {row['movements']} movements up to ledger_no "
            f"{row['ledger_no_to']}, closed by {row['closed_by']}",
            soft_wrap=True,
        )
    for day in result.get("closed", []):
        console.print(f"{day} closed")
    if "reason" in result:
        console.print(result["reason"])
