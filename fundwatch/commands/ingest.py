"""`fundwatch ingest`: bank statements and check files of any format, read and controlled; needs no service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from domain.errors import CheckFailed, WrongUse


def register(app: typer.Typer) -> None:
    """Add the command `ingest`."""
    app.command("ingest")(ingest)


def ingest(
    files: Annotated[list[Path], typer.Argument(help="files: plain, gzip, or zip")],
    form: Annotated[
        str, typer.Option("--format", help="auto, mt940, mt942, camt, bai2, ofx, feed, or a packaged layout")
    ] = "auto",
    layout: Annotated[Path | None, typer.Option("--layout", help="a layout (YAML) that says what the lines mean")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder in which accepted files land, each as one folder")] = None,
    previous: Annotated[Path | None, typer.Option("--previous", help="folder of statements that came before")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="of text without one of its own (default UTF-8)")] = None,
    as_of: Annotated[str | None, typer.Option("--as-of", help="day of reading, YYYY-MM-DD; default today (UTC)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the result as JSON, and tables as JSON Lines")] = False,
    as_parquet: Annotated[bool, typer.Option("--parquet", help="tables as Parquet (with --json: both)")] = False,
) -> None:
    """Say what was read, what was refused and why; a file lands whole or not at all. Exit code 10: something was refused."""
    from datetime import UTC, date, datetime

    import pyarrow

    from fundwatch.output import emit
    from ingest.statements import formats
    from ingest.statements.checks import Before
    from ingest.statements.land import Target, land, remember
    from ingest.statements.layout import load
    from ingest.statements.source import Limits

    try:
        day = date.fromisoformat(as_of) if as_of else datetime.now(UTC).date()
    except ValueError:
        raise WrongUse(f"--as-of is no date YYYY-MM-DD: {as_of!r}") from None
    _check_encoding(encoding)
    # files are read one by one: Arrow's pools of threads cost more on small blocks than they bring
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    before = Before()
    if previous:
        remember(previous, before)
    target = Target(out, is_json=as_json, is_parquet=as_parquet or not as_json)
    find = formats.chosen(form, load(layout) if layout else None, encoding)
    verdicts = list(land(files, find, target, Limits(day), before))
    refused = [verdict for verdict in verdicts if not verdict.is_clean]
    emit({"ok": not refused, "refused": len(refused), "files": [vars(verdict) for verdict in verdicts]}, as_json, _show)
    if refused:
        raise CheckFailed(f"of {len(verdicts)} files {len(refused)} did not land, or not all of their rows")


def _check_encoding(encoding: str | None) -> None:
    import codecs

    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise WrongUse(f"the encoding {encoding!r} is not known") from None


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for file in result["files"]:
        if file["state"] == "REFUSED":
            console.print(f"REFUSED {file['code']}: {file['reason']}", soft_wrap=True, markup=False)
            continue
        figures = ", ".join(
            f"{file[name]} {word}"
            for name, word in (("entry_cnt", "entries"), ("part_cnt", "parts of batches"), ("record_cnt", "records"))
            if file[name]
        )
        rows = f", {file['bad_row_cnt']} bad rows kept out" if file["bad_row_cnt"] else ""
        console.print(
            f"ACCEPTED {file['file_name']} ({file['format']}): {figures or 'no entries'}{rows}", soft_wrap=True, markup=False
        )
        for statement in file["statements"]:
            console.print(f"  {_line(statement)}", soft_wrap=True, markup=False)


def _line(statement: dict[str, Any]) -> str:
    from ingest.statements.amounts import shown

    code = statement["currency"]
    opening, closing, credit, debit = (
        "?" if statement[name] is None else shown(statement[name], code)
        for name in ("opening_minor", "closing_minor", "credit_minor", "debit_minor")
    )
    number = f" no. {statement['seq_no']}" if statement["seq_no"] is not None else ""
    proof = {"BALANCE": "balances proved", "TOTALS": "totals proved", "NONE": "nothing to prove it by"}[statement["proof"]]
    return (
        f"{statement['account']} {code}{number} {statement['period_from'] or '?'} to {statement['period_to'] or '?'}: "
        f"{opening} + {credit} - {debit} = {closing}, {statement['entry_cnt']} entries, {proof}"
    )
