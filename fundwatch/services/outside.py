"""The delivery process (`python -m transactional.outside.serve`): sends what the outbox holds."""

from __future__ import annotations

import signal

from fundwatch.services.http import HttpService
from fundwatch.settings import Settings

NAME = "outside"
STOP_SIGNAL = signal.SIGTERM
SERVICE = HttpService(NAME, "transactional.outside.serve", "/readyz", 200)


def external(settings: Settings) -> str | None:
    """Deliveries always run here; more of them may run elsewhere beside these."""
    return None


def up(settings: Settings) -> bool:
    """Start it if it is not running; True when it was started."""
    return SERVICE.up(settings)
