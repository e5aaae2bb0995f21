"""One night at a time in an installation: an advisory lock in PostgreSQL, gone with the process that held it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import Failed
from fundwatch.settings import Settings
from lake.postgres import connection

_KEY = 0x46574E_49474854  # "FWNIGHT"


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the night's lock for the block; Failed when another process of this installation holds it."""
    with connection(settings, autocommit=True) as database:
        row = database.execute("select pg_try_advisory_lock(%s)", (_KEY,)).fetchone()
        if row is None or not row[0]:
            raise Failed("another night or step is running in this installation: wait for it, or stop it, and try again")
        yield
