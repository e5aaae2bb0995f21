"""A few open connections of one database role, each lent to one request at a time.

Opening one costs a scram exchange, some 10 ms; a page must not. Role web reads and writes what belongs to persons and controls,
role reader reads published figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from domain.errors import ServiceMissing
from fundwatch.settings import Settings

SIZE = 8
PATIENCE_S = 5.0
# an unused connection is asked whether it still lives: its server may have been started anew
FRESH_S = 1.0


class AllInUse(ServiceMissing):
    """Every connection is lent out; the same request may succeed in a moment."""


class Connections:
    """At most `size` connections of a role, made when needed; each statement commits unless the borrower opens a transaction."""

    def __init__(self, settings: Settings, role: str = "web", size: int = SIZE, patience_s: float = PATIENCE_S) -> None:
        self._settings = settings
        self._role = role
        self._patience_s = patience_s
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[tuple[float, psycopg.Connection[Any]]] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for a `with` block; ServiceMissing when the database does not answer, before or in the middle."""
        if not self._places.acquire(timeout=self._patience_s):
            raise AllInUse("every connection to PostgreSQL is in use")
        connection: psycopg.Connection[Any] | None = None
        try:
            connection = self._take()
            yield connection
        except psycopg.OperationalError as error:
            raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
        finally:
            self._give_back(connection)
            self._places.release()

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take(self) -> psycopg.Connection[Any]:
        while True:
            with self._lock:
                used_at, connection = self._idle.pop() if self._idle else (0.0, None)
            if connection is None:
                return psycopg.connect(self._settings.database_url(self._role), connect_timeout=2, autocommit=True)
            if time.monotonic() - used_at < FRESH_S or _answers(connection):
                return connection
            connection.close()

    def _give_back(self, connection: psycopg.Connection[Any] | None) -> None:
        if connection is None:
            return
        if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
            return
        with self._lock:
            self._idle.append((time.monotonic(), connection))


def _answers(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
