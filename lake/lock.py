"""One night at a time in an installation: an advisory lock in PostgreSQL, gone with the process that held it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from domain.errors import Failed
from fundwatch.settings import Settings
from lake.postgres import connection

_KEY = 0x46574E_49474854  # "FWNIGHT"
_HELD = "another night or step is running in this installation: wait for it, or stop it, and try again"
PATIENCE_MS = 2_000
"""The server takes a moment to notice that the process which held the lock is gone."""


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the night's lock for the block; Failed when another process of this installation goes on holding it."""
    with connection(settings, autocommit=True) as database:
        database.execute(f"set lock_timeout = {PATIENCE_MS}".encode())
        try:
            database.execute("select pg_advisory_lock(%s)", (_KEY,))
        except psycopg.errors.LockNotAvailable:
            raise Failed(_HELD) from None
        try:
            yield
        finally:
            # at once, not when the server has noticed that the connection is closed
            with suppress(psycopg.OperationalError):
                database.execute("select pg_advisory_unlock(%s)", (_KEY,))
