"""`fundwatch recon run | suggest`: any two or three sets of records reconciled by a spec, without services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]


def register(app: typer.Typer) -> None:
    """Add the group `recon`."""
    group = typer.Typer(no_args_is_help=True, help="Reconcile any sets of records by a spec.")
    group.callback()(_recon)
    group.command("run")(run)
    group.command("suggest")(suggest)
    app.add_typer(group, name="recon")


def _recon() -> None:
    """Reconcile any sets of records by a spec."""


def run(
    left: Annotated[list[Path], typer.Option("--left", help="file of the left side; may be given several times")],
    right: Annotated[list[Path], typer.Option("--right", help="file of the right side; may be given several times")],
    spec: Annotated[Path, typer.Option("--spec", help="the reconciliation as YAML")],
    out: Annotated[Path, typer.Option("--out", help="folder of the results")],
    third: Annotated[list[Path] | None, typer.Option("--third", help="file of the third side, when the spec has one")] = None,
    answer_key: Annotated[Path | None, typer.Option("--answer-key", help="what must be found, CSV or JSON")] = None,
    engine: Annotated[str, typer.Option("--engine", help="duckdb or spark; both give the same content")] = "duckdb",
    as_of: Annotated[str | None, typer.Option("--as-of", help="date that ages count to; else the newest record's")] = None,
    as_json: AsJson = False,
) -> None:
    """Reconcile files into matches, breaks, explanations, quarantine, summary.json and index.html.

    Breaks are a result, no failure: exit code 0. Exit code 10: the open items do not explain the difference of the totals, or,
    with an answer key, something is missed, extra or confirmed falsely.
    """
    from domain.errors import CheckFailed
    from fundwatch.commands.night import maybe_date
    from fundwatch.output import emit
    from recon import alone
    from recon.spec import read_spec

    _must_exist([*left, *right, *(third or []), *([answer_key] if answer_key else [])])
    files = {"left": left, "right": right} | ({"third": third} if third else {})
    found = alone.run(read_spec(spec), files, out, engine, maybe_date(as_of), answer_key)
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


def _show_notes(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for note in result["notes"]:
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"written to {result['spec']}: read it before it is used", markup=False, soft_wrap=True)
