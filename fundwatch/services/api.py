"""The transactional service (`python -m transactional.serve`): the one writer of money."""

from __future__ import annotations

import os
import signal

from fundwatch.services.http import HttpService
from fundwatch.settings import Settings

NAME = "api"
STOP_SIGNAL = signal.SIGTERM
SERVICE = HttpService(NAME, "transactional.serve", "/readyz", 200)


def external(settings: Settings) -> str | None:
    """Address of a service run elsewhere, when `FUNDWATCH_API_URL` names one."""
    given = os.environ.get("FUNDWATCH_API_URL")
    return given.partition("://")[2].rstrip("/") if given else None


def up(settings: Settings) -> bool:
    """Start the service if it is not running; True when it was started."""
    return external(settings) is None and SERVICE.up(settings)
