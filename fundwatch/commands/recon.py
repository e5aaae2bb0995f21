"""`fundwatch recon run | suggest`: any two or three sets of records reconciled by a spec, without services; `diff | report` speak
of the nights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]


def register(app: typer.Typer) -> None:
    """Add the group `recon`."""
    group = typer.Typer(no_args_is_help=True, help="Reconcile any sets of records by a spec.")
    group.command("run")(run)
    group.command("suggest")(suggest)
    group.command("diff")(diff)
    group.command("report")(report)
    group.command("live")(live)
    app.add_typer(group, name="recon")


def run(
    left: Annotated[list[Path], typer.Option("--left", help="file of the left side; may be given several times")],
    right: Annotated[list[Path], typer.Option("--right", help="file of the right side; may be given several times")],
    spec: Annotated[Path, typer.Option("--spec", help="the reconciliation as YAML")],
    out: Annotated[Path, typer.Option("--out", help="folder of the results")],
    third: Annotated[list[Path] | None, typer.Option("--third", help="file of the third side, when the spec has one")] = None,
    answer_key: Annotated[Path | None, typer.Option("--answer-key", help="what must be found, CSV or JSON")] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="duckdb or spark; both give the same content; default: by the number of rows")
    ] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="date that ages count to; else the newest record's")] = None,
    as_json: AsJson = False,
) -> None:
    """Reconcile files into matches, breaks, explanations, quarantine, summary.json and index.html.

    Breaks are a result, no failure: exit code 0. Exit code 10: the open items do not explain the difference of the totals, or,
    with an answer key, something is missed, extra or confirmed falsely.
    """
    from domain.errors import CheckFailed
    from fundwatch import statement_source
    from fundwatch.commands.night import maybe_date
    from fundwatch.output import emit
    from recon import alone
    from recon.spec import read_spec

    statement_source.register()
    _must_exist([*left, *right, *(third or []), *([answer_key] if answer_key else [])])
    files = {"left": left, "right": right} | ({"third": third} if third else {})
    rules = read_spec(spec)
    if engine is None:
        engine = alone.by_size(rules, files)
        if engine == "spark":
            typer.echo(
                f"a side of {alone.SPARK_ROWS_MIN:,} rows or more: Spark is used; --engine duckdb reconciles on DuckDB", err=True
            )
    found = alone.run(rules, files, out, engine, maybe_date(as_of), answer_key)
    emit(found | {"out": str(out)}, as_json, _show)
    if not found["balanced"]:
        raise CheckFailed("the open items do not explain the difference of the totals")
    quality = found.get("quality")
    if quality and (quality["missed"] or quality["extra"] or quality["false_confirmations"]):
        raise CheckFailed(
            f"against the answer key {quality['missed']} missed, {quality['extra']} extra, "
            f"{quality['false_confirmations']} confirmed falsely"
        )


def suggest(
    left: Annotated[Path, typer.Option("--left", help="a file of the left side")],
    right: Annotated[Path, typer.Option("--right", help="a file of the right side")],
    out: Annotated[Path, typer.Option("--out", help="where the first spec is written")],
    as_json: AsJson = False,
) -> None:
    """Propose a first spec from the data: types, keys, amounts, dates, each with what speaks for it. A person must read it."""
    from fundwatch.output import emit
    from recon.suggest import suggested

    _must_exist([left, right])
    text, notes = suggested(left, right)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    emit({"spec": str(out), "notes": notes}, as_json, _show_notes)


def diff(
    before: Annotated[int, typer.Argument(help="number of the run to compare with, such as one with --known-as-of")],
    after: Annotated[int, typer.Argument(help="number of the run that is compared")],
    out: Annotated[Path | None, typer.Option("--out", help="a CSV file for all rows; else they are printed")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what two runs found differently on the dates that both have: items added, gone and changed, and terms of equations."""
    import csv

    from domain.errors import WrongUse
    from fundwatch.output import emit
    from fundwatch.settings import load
    from lake import runs
    from recon.diff import COLUMNS, differences

    settings = load()
    one, other = runs.get(settings, before), runs.get(settings, after)
    if max(one.first_date, other.first_date) > min(one.last_date, other.last_date):
        raise WrongUse(f"runs {before} and {after} have no date in common")
    found = differences(settings, one, other)
    if out is not None:
        with out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *found.rows])
    result: dict[str, Any] = {"changes": len(found.rows), "counts": found.counts, "out": str(out) if out else None}
    emit(result, as_json, lambda _: _show_changes(found.rows if out is None else [], result))


def report(
    platform: Annotated[str, typer.Option(help="platform, for example P01")],
    date: Annotated[str, typer.Option(help="business date, YYYY-MM-DD")],
    out: Annotated[Path | None, typer.Option(help="folder; default: reports/reconciliation/PLATFORM/DATE of the home")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the daily reconciliation report: reconciliation.json, and signed PDFs in Chinese and English."""
    from domain.errors import BadInput
    from fundwatch.commands.night import maybe_date
    from fundwatch.output import console, emit
    from fundwatch.settings import load
    from reports import reconciliation
    from reports.signing import signer

    settings, day = load(), maybe_date(date)
    if day is None:
        raise BadInput("--date is a date, YYYY-MM-DD")
    found = reconciliation.read(settings, platform, day)
    folder = out or settings.reports_dir / "reconciliation" / platform / day.isoformat()
    paths = reconciliation.build(found, signer(settings), folder)
    signed = found.sign_off is not None
    result: dict[str, Any] = {
        "files": [str(path) for path in paths],
        "run_id": found.content["run_id"],
        "report_sha256": found.sha256,
        "is_signed_off": signed,
        "blockers": len(found.content["blockers"]),
    }
    emit(result, as_json, lambda _: console.print("\n".join(result["files"]), soft_wrap=True, markup=False))


def _must_exist(paths: list[Path]) -> None:
    from domain.errors import BadInput

    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise BadInput(f"there is no file {', '.join(missing)}")


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for name, pair in result["pairs"].items():
        for row in pair["tiers"]:
            console.print(f"{name}  {row['state'].lower():9}  {row['tier']}: {row['matches']}", markup=False)
        for row in pair["kinds"]:
            effect = f"{row['effect_minor']} minor {row['currency']}"
            console.print(f"{name}  break      {row['code']} {row['kind']}: {row['breaks']}, effect {effect}", markup=False)
        for row in pair["identity"]:
            sign = "=" if row["holds"] else "≠"
            console.print(
                f"{name}  {row['currency']}: difference {row['difference_minor']} {sign} open items {row['open_items_minor']}"
            )
    for side, entry in result["sides"].items():
        console.print(f"{side}: {entry['records']} records, {entry['quarantined']} quarantined, {entry['left_out']} left out")
    console.print(f"{result['out']}/index.html", markup=False, soft_wrap=True)


def _show_changes(rows: list[tuple[Any, ...]], result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for change, day, platform, recon_id, key, _, before, after, currency, amount_before, amount_after, *_ in rows:
        told = f"{before or '–'} {amount_before if amount_before is not None else '–'}"
        says = f"{after or '–'} {amount_after if amount_after is not None else '–'}"
        console.print(f"{change:8} {day} {platform} {recon_id} {key} {currency}: {told} → {says}", markup=False, soft_wrap=True)
    for name, count in result["counts"].items():
        console.print(f"{name}: {count}", markup=False)
    console.print(f"{result['changes']} differences", markup=False)


def _show_notes(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for note in result["notes"]:
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"written to {result['spec']}: read it before it is used", markup=False, soft_wrap=True)


def live() -> None:
    """Compare what platforms tell of their postings with book B, in the foreground; the service does the same by itself.

    Any number of these may run beside it, one works at a time.
    """
    import asyncio
    from contextlib import suppress

    from domain.errors import ServiceMissing
    from fundwatch.settings import load
    from transactional.live import worker

    settings = load()
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(worker.run_alone(settings.database_url("service"), settings.live_wait_s))
    except OSError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
