"""`fundwatch ledger verify`."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the group `ledger`."""
    ledger = typer.Typer(no_args_is_help=True, help="Book B, the bank's own ledger.")
    ledger.callback()(_ledger)
    ledger.command("verify")(verify)
    app.add_typer(ledger, name="ledger")


def _ledger() -> None:
    """Book B, the bank's own ledger."""


def verify(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
    since: Annotated[
        str, typer.Option("--since", help="Only what came after this block of the chain; `anchor`: after the newest anchor.")
    ] = "0",
    anchor: Annotated[bool, typer.Option(help="Keep an anchor outside the database when the ledger is clean.")] = True,
) -> None:
    """Recompute entries, balances, holds and the hash chains from the movements, compare them with the anchors kept before.

    Exit code 10 when a row is at fault; a clean ledger leaves an anchor in FUNDWATCH_HOME/anchors. `fundwatch status` shows the
    newest verification.
    """
    from dataclasses import asdict

    from domain.errors import CheckFailed, WrongUse
    from fundwatch.ledger_check import examined
    from fundwatch.output import emit
    from fundwatch.settings import load

    if since != "anchor" and not (since.isascii() and since.isdigit()):
        raise WrongUse(f"--since is the number of a block, or the word anchor, not {since!r}")
    verdict = examined(load(), None if since == "anchor" else int(since), anchor)
    emit({"ok": not verdict.faults, **asdict(verdict)}, json, _show)
    if verdict.faults:
        raise CheckFailed(f"the ledger has faults, the first in {verdict.faults[0].row}: {verdict.faults[0].what}")


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for fault in result["faults"]:
        console.print(f"[red]{fault['check']}[/]: {fault['row']}: {fault['what']}", soft_wrap=True)
    words = f"{result['movements']} movements, {result['sealed']} sealed in {result['blocks']} blocks, head {result['head']}"
    looked = f" after block {result['since']}" if result["since"] else ""
    compared = (
        "no anchor to compare with" if result["anchor"] is None else f"compared with anchors up to block {result['anchor']}"
    )
    console.print(f"{words}{looked}, {compared}: {'clean' if result['ok'] else 'FAULTY'}", soft_wrap=True)
