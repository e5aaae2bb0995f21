"""The watchdog (`python -m fundwatch.watch.serve`): says over HTTP whether the night published; outlives what it watches."""

from __future__ import annotations

import signal

from fundwatch.services.http import HttpService
from fundwatch.settings import Settings

NAME = "watchdog"
STOP_SIGNAL = signal.SIGTERM
SERVICE = HttpService(NAME, "fundwatch.watch.serve", "/livez", 200)


def external(settings: Settings) -> str | None:
    """The watchdog always runs here."""
    return None


def up(settings: Settings) -> bool:
    """Start it if it is not running; True when it was started."""
    return SERVICE.up(settings)
