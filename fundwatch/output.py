"""What a command says: one JSON object as the last line of stdout, or text for people; logs go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

console = Console(highlight=False)
log = Console(stderr=True, highlight=False)


def emit(result: dict[str, Any], as_json: bool, human: Callable[[dict[str, Any]], None]) -> None:
    """Print a command's result for a machine (`--json`) or by `human` for a person."""
    if as_json:
        sys.stdout.write(json.dumps(result, default=str, sort_keys=True) + "\n")
        sys.stdout.flush()
    else:
        human(result)
