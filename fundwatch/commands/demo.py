"""`fundwatch demo`: everything from nothing to one published night."""

from __future__ import annotations

from typing import Annotated

import typer

from fundwatch.output import emit


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def demo(
        seed: Annotated[int, typer.Option(help="seed of the simulated world")] = 7,
        platforms: Annotated[int, typer.Option(help="number of platforms")] = 3,
        customers: Annotated[int, typer.Option(help="number of people")] = 2000,
        history_months: Annotated[int, typer.Option(help="months of loans in the opening book")] = 18,
        days: Annotated[int, typer.Option(help="nights after the opening date")] = 30,
        end: Annotated[str, typer.Option(help="last business date, YYYY-MM-DD")] = "2026-08-31",
        as_json: Annotated[bool, typer.Option("--json", help="one JSON object as the last line")] = False,
    ) -> None:
        """Set up, start the services, simulate and load a world, run its night, check it, build the figure sets."""
        from domain.errors import CheckFailed
        from fundwatch.demo import World, run_demo, show

        result = run_demo(World(seed, platforms, customers, history_months, days, end))
        emit(result, as_json, show)
        if not result["ok"]:
            raise CheckFailed("the night does not agree with the answer key: see the table above")
