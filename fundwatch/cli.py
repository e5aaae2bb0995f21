"""`fundwatch`: the command line of architecture section 11, with its exit codes."""

from __future__ import annotations

import importlib
import sys

import typer

from domain.errors import FundwatchError
from fundwatch.output import log

GROUPS = (
    "demo",
    "services",
    "database",
    "day",
    "calendar",
    "user",
    "simulate",
    "night",
    "files",
    "control",
    "watchdog",
    "retention",
    "outside",
    "ledger",
    "registry",
    "hbase",
    "recon",
    "report",
    "monthly",
    "model",
    "ingest",
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for _group in GROUPS:
    importlib.import_module(f"fundwatch.commands.{_group}").register(app)


def main() -> None:
    """Run the command line; errors raised on purpose become one sentence on stderr and their exit code."""
    try:
        app()
    except FundwatchError as error:
        log.print(f"[bold red]{type(error).__name__}[/]: {error}", soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
