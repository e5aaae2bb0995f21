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


def verify(json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False) -> None:
    """Recompute entries, balances, holds and the hash chain from the movements; exit code 10 when a row is at fault."""
    from dataclasses import asdict

    from domain.errors import CheckFailed
    from fundwatch.output import emit
    from fundwatch.settings import load
    from transactional.verify import verify as check

    verdict = check(load().database_url("service"))
    emit({"ok": not verdict.faults, **asdict(verdict)}, json, _show)
    if verdict.faults:
        raise CheckFailed(f"the ledger has faults, the first in {verdict.faults[0].row}: {verdict.faults[0].what}")


def _show(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    for fault in result["faults"]:
        console.print(f"[red]{fault['check']}[/]: {fault['row']}: {fault['what']}", soft_wrap=True)
    words = f"{result['movements']} movements, {result['sealed']} sealed in {result['blocks']} blocks, head {result['head']}"
    console.print(f"{words}: {'clean' if result['ok'] else 'FAULTY'}", soft_wrap=True)
