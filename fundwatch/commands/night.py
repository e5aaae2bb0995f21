"""`fundwatch nightly`, `run` and `step`: the night from the command line (architecture section 11)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import typer

from fundwatch.output import console, emit, log

To = Annotated[str, typer.Option("--to", help="last business date, YYYY-MM-DD")]
From = Annotated[str | None, typer.Option("--from", help="first date to run again as a new version, YYYY-MM-DD")]
Platform = Annotated[str | None, typer.Option("--platform", help="one platform only")]
KnownAsOf = Annotated[str | None, typer.Option("--known-as-of", help="use only what was known then, RFC 3339 with offset")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Runs of the night.")
    app.add_typer(group, name="run")
    _add_night(app)
    _add_opening(group)
    _add_looking(group)


def _add_night(app: typer.Typer) -> None:
    @app.command()
    def nightly(
        to: To, start: From = None, platform: Platform = None, known_as_of: KnownAsOf = None, as_json: AsJson = False
    ) -> None:
        """The whole night in one process: run open, every step, run publish."""
        from fundwatch import night
        from fundwatch.settings import load

        result = night.nightly(load(), parsed_date(to), maybe_date(start), platform, _moment(known_as_of), log.print)
        emit(result, as_json, _print_run)

    @app.command()
    def step(
        name: Annotated[str, typer.Argument(help="a step of night.toml")],
        run: Annotated[int, typer.Option("--run", help="id of the run")],
        as_json: AsJson = False,
    ) -> None:
        """One step of a run, on the Connect server of FUNDWATCH_SPARK_REMOTE when that is set."""
        from fundwatch import night
        from fundwatch.settings import load

        emit(night.single_step(load(), name, run), as_json, _print_plain)


def _add_opening(group: typer.Typer) -> None:
    @group.command("open")
    def open_(
        to: To, start: From = None, platform: Platform = None, known_as_of: KnownAsOf = None, as_json: AsJson = False
    ) -> None:
        """Open a run over all dates not yet published; older open runs are abandoned."""
        from fundwatch.settings import load
        from lake import runs
        from lake.lock import exclusive

        abandoned: list[int] = []
        settings = load()
        try:
            with exclusive(settings):
                found = runs.open_run(
                    settings, parsed_date(to), maybe_date(start), platform, _moment(known_as_of), on_abandon=abandoned.append
                )
        except runs.Held as held:
            emit({"skipped": True, "reason": str(held)}, as_json, _print_plain)
            return
        if found is None:
            emit({"skipped": True, "reason": f"every date up to {to} is published"}, as_json, _print_plain)
            return
        for run_id in abandoned:
            log.print(f"run {run_id} was left open: abandoned")
        emit({**vars(found), "packs": dict(found.packs), "abandoned": abandoned}, as_json, _print_plain)

    @group.command()
    def publish(run: Annotated[int, typer.Argument(help="id of the run")], as_json: AsJson = False) -> None:
        """Make a run the version that counts, in one transaction."""
        from fundwatch import night
        from fundwatch.settings import load

        emit(night.single_step(load(), "publish", run), as_json, _print_plain)


def _add_looking(group: typer.Typer) -> None:
    @group.command("list")
    def list_(limit: Annotated[int, typer.Option(help="how many")] = 50, as_json: AsJson = False) -> None:
        """The newest runs."""
        from fundwatch.settings import load
        from lake import runs

        emit({"runs": runs.listed(load(), limit)}, as_json, _print_runs)

    @group.command()
    def show(
        run: Annotated[int | None, typer.Argument(help="id of the run; the latest published one without it")] = None,
        run_option: Annotated[int | None, typer.Option("--run", help="the same as an option")] = None,
        as_json: AsJson = False,
    ) -> None:
        """A run: its dates, steps and what it published."""
        from fundwatch import night
        from fundwatch.settings import load
        from lake import runs

        emit(night.shown(runs.show(load(), run if run is not None else run_option)), as_json, _print_run)


def parsed_date(text: str) -> date:
    """A date of the command line; WrongUse when it is none."""
    from domain.errors import WrongUse

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise WrongUse(f"{text!r} is not a date YYYY-MM-DD") from None


def maybe_date(text: str | None) -> date | None:
    """A date of the command line that may be left out."""
    return None if text is None else parsed_date(text)


def _moment(text: str | None) -> datetime | None:
    from domain.errors import WrongUse

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUse(f"{text!r} is not a time as RFC 3339 writes it") from None
    if moment.tzinfo is None:
        raise WrongUse(f"{text!r} lacks an offset, for example 2026-08-31T23:00:00+08:00")
    return moment


def _print_plain(result: dict[str, Any]) -> None:
    for key, value in result.items():
        console.print(f"{key:<14} {value}", soft_wrap=True)


def _print_run(result: dict[str, Any]) -> None:
    """A table of the steps: rows in, rows out, seconds; then the dates that are incomplete."""
    from rich.table import Table

    if result.get("skipped"):
        _print_plain(result)
        return
    title = f"run {result['run_id']} · {result['first_date']} to {result['last_date']} · {result['state']}"
    table = Table("step", "state", title=title, title_justify="left")
    for column in ("rows in", "rows out", "seconds"):
        table.add_column(column, justify="right")
    for step in result["steps"]:
        counts = ("" if step[key] is None else f"{step[key]:,}" for key in ("rows_in", "rows_out"))
        table.add_row(step["step"], step["state"], *counts, "" if step["seconds"] is None else f"{step['seconds']:.1f}")
    console.print(table)
    for entry in result["published"]:
        if entry["state"] != "COMPLETE":
            console.print(f"{entry['business_date']} {entry['platform_id']} {entry['state']}: {entry['reason']}", soft_wrap=True)


def _print_runs(result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("run", "from", "to", "platform", "known as of", "state", "opened")
    for run in result["runs"]:
        names = ("run_id", "first_date", "last_date", "platform_id", "known_as_of", "state", "opened_at")
        table.add_row(*("" if run[name] is None else str(run[name]) for name in names))
    console.print(table)
