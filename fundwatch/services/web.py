"""The pages for risk officers (`python -m dashboard.serve`)."""

from __future__ import annotations

import signal

from fundwatch.services.http import HttpService
from fundwatch.settings import Settings

NAME = "web"
STOP_SIGNAL = signal.SIGTERM
# Any answer but a server's error: the first page may redirect, or say that nothing is published yet.
SERVICE = HttpService(NAME, "dashboard.serve", "/", 499)


def external(settings: Settings) -> str | None:
    """The pages always run here."""
    return None


def up(settings: Settings) -> bool:
    """Start the pages if they are not running; True when they were started."""
    return SERVICE.up(settings)
