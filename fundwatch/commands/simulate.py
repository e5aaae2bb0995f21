"""`fundwatch simulate | load | check`: make a world, load it, score what the night found against its answer key."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import typer

CURRENT_ITEMS = "SELECT DISTINCT opened_code, platform_id, opened_on, match_key FROM mart.current_open_item"
"""Items of the winning version of every date; file faults of the newest one (architecture section 4)."""


def register(app: typer.Typer) -> None:
    """Add the commands of the simulated world."""
    app.command()(simulate)
    app.command()(load)
    app.command()(check)


def simulate(
    out: Path = typer.Option(..., "--out", help="Folder for the world; new or empty."),
    seed: int = typer.Option(7, help="The same seed and parameters give byte-identical files."),
    platforms: int = typer.Option(3, help="Platforms P01, P02 …"),
    customers: int = typer.Option(2000, help="Parties, spread over the platforms."),
    history_months: int = typer.Option(18, help="Months of loans behind the opening book."),
    days: int = typer.Option(30, help="Nights after the opening date."),
    end: datetime = typer.Option("2026-08-31", formats=["%Y-%m-%d"], help="Last business date."),
    faults_per_code: int = typer.Option(3, help="Faults of every code on every platform, where there is room."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object as the last line."),
) -> None:
    """Make a world: the truth, the files it would send with labelled faults, the answer key."""
    from fundwatch.output import console, emit
    from simulator.parameters import WorldParameters
    from simulator.world import make_world, stored_counts, write_world

    parameters = WorldParameters(seed, platforms, customers, history_months, days, end.date(), faults_per_code)
    counts = stored_counts(parameters, out)
    skipped = counts is not None
    counts = counts or write_world(make_world(parameters), out)
    emit(
        {**counts, "world": str(out), "skipped": skipped, "rows_out": counts["movements"]},
        as_json,
        lambda counts: console.print(
            f"{counts['world']}: {counts['platforms']} platforms, {counts['parties']} parties, {counts['loans']} loans, "
            f"{counts['orders']} orders with {counts['movements']} movements, {counts['files']} files, "
            f"{counts['faults']} planted faults; nights {counts['first_night']} to {counts['last_night']}"
            + (" (was there already)" if counts["skipped"] else "")
        ),
    )


def load(
    world: Path = typer.Argument(..., help="Folder written by `fundwatch simulate`."),
    to: datetime | None = typer.Option(None, "--to", formats=["%Y-%m-%d"], help="Load only up to this business date's night."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object as the last line."),
) -> None:
    """Load a world: registry and orders through the API (simulated clock), files into landing/."""
    from fundwatch import settings as fundwatch_settings
    from fundwatch.output import console, emit, log
    from simulator.load import ServiceClient, StoredWorld, load_world

    settings = fundwatch_settings.load()
    stored = StoredWorld.read(world)
    with ServiceClient(settings.api_url(), settings.secret("api_admin_key")) as client:
        result = load_world(stored, client, settings.landing_dir, to.date() if to else None, log.print)
    emit(
        {**result, "rows_in": result["orders"], "rows_out": result["movements"]},
        as_json,
        lambda counts: console.print(
            f"loaded to {counts['to']}: {counts['orders']} orders, {counts['movements']} movements, {counts['files']} files; "
            f"the clock shows {counts['clock']}"
        ),
    )


def check(
    world: Path = typer.Argument(..., help="Folder written by `fundwatch simulate`."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object as the last line."),
) -> None:
    """Score published results against the answer key; exit code 10 when something is missed or extra."""
    from domain.errors import CheckFailed
    from fundwatch import score_check
    from fundwatch import settings as fundwatch_settings
    from fundwatch.output import emit
    from simulator.answer_key import compare, expected_findings
    from simulator.load import StoredWorld

    published, found = read_published(fundwatch_settings.load().database_url("reader"))
    items = [
        item
        for item in StoredWorld.read(world).answer_items()
        if (date.fromisoformat(item["business_date"]), item["platform_id"]) in published
    ]
    result = compare(expected_findings(items), found) | {"published_dates": len({day for day, _ in published})}
    # nothing published means nothing checked, which is no success
    result["scores"] = score_check.check(fundwatch_settings.load(), world)
    result["ok"] = result["ok"] and bool(published) and result["scores"]["ok"]
    emit(result, as_json, _show_score)
    if not result["scores"]["ok"]:
        raise CheckFailed(f"the published scores do not rank as the truth does: {_told_scores(result['scores'])}")
    if not result["ok"]:
        raise CheckFailed(
            f"{len(result['missed'])} planted faults missed, {len(result['extra'])} findings not planted, "
            f"{result['published_dates']} dates published"
        )


def read_published(database_url: str) -> tuple[set[tuple[date, str]], set[Any]]:
    """Published (business date, platform) pairs, and the findings of their winning versions."""
    import psycopg

    from domain.errors import ServiceMissing
    from simulator.answer_key import Finding

    try:
        with psycopg.connect(database_url) as connection:
            dates = connection.execute("SELECT DISTINCT business_date, platform_id FROM run.published").fetchall()
            rows = connection.execute(CURRENT_ITEMS).fetchall()
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    findings = {Finding(code, platform, opened_on.isoformat(), key) for code, platform, opened_on, key in rows}
    return {(day, platform) for day, platform in dates}, findings


def _show_score(result: dict[str, Any]) -> None:
    from rich.table import Table

    from fundwatch.output import console

    table = Table("code", "planted", "found", "missed", "extra", title="answer key")
    for code, counts in result["codes"].items():
        table.add_row(code, *(str(counts[name]) for name in ("planted", "found", "missed", "extra")))
    console.print(table)
    for name in ("missed", "extra"):
        for finding in result[name]:
            console.print(f"{name}: {finding['code']} {finding['platform_id']} {finding['opened_on']} {finding['match_key']}")
    console.print(_told_scores(result["scores"]))
    console.print("ok" if result["ok"] else "NOT ok")


def _told_scores(scores: dict[str, Any]) -> str:
    """One line about the published scores: how many, and how they rank against the truth."""
    if not scores["rows"]:
        return "scores: none published"
    truth = scores["against_truth"]
    if truth is None:
        return f"scores: {scores['rows']} borrowers by {', '.join(scores['models'])}; the world says no true probabilities"
    return (
        f"scores: {scores['rows']} borrowers by {', '.join(scores['models'])}; against the truth AUC {truth['auc']} "
        f"(oracle {truth['oracle_auc']}, chance stays below {scores['bound']}), KS {truth['ks']}, "
        f"rank correlation {truth['rank_correlation']}, ECE {truth['ece']}"
    )
