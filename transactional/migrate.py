"""Numbered SQL migrations of database `fundwatch`: every schema of contracts section 6, up and down."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg

from domain.errors import ServiceMissing, WrongUse

MIGRATIONS = Path(__file__).parent / "migrations"
SIMULATED_START = datetime(2000, 1, 1, tzinfo=UTC)
_LOCK = 7400


def names() -> list[str]:
    """Names of all migrations, oldest first, such as ``0001_schemas_and_roles``."""
    return sorted(path.name.removesuffix(".up.sql") for path in MIGRATIONS.glob("*.up.sql"))


def migrate(database_url: str, clock_mode: str, up_to: str = "9999") -> list[str]:
    """Apply what is missing, in one transaction, and return its names; `up_to` is the number of the last migration wanted.

    A new database is marked with `clock_mode` (``system`` or ``simulated``); the mark never changes afterwards.
    Raises WrongUse when the database carries another mark, ServiceMissing when the server does not answer.
    """
    if clock_mode not in ("system", "simulated"):
        raise WrongUse(f"the clock is system or simulated, not {clock_mode!r}")
    with _connect(database_url) as connection:
        missing = [name for name in names() if name not in _applied(connection) and name[:4] <= up_to]
        for name in missing:
            _run(connection, name, "up")
            connection.execute("INSERT INTO public.migration (name) VALUES (%s)", (name,))
        _mark_clock(connection, clock_mode)
    return missing


def rollback(database_url: str, count: int = 1) -> list[str]:
    """Take back the last `count` applied migrations, newest first, in one transaction; returns their names."""
    with _connect(database_url) as connection:
        undone = sorted(_applied(connection), reverse=True)[:count]
        for name in undone:
            _run(connection, name, "down")
            connection.execute("DELETE FROM public.migration WHERE name = %s", (name,))
    return undone


def _connect(database_url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(database_url, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None


def _applied(connection: psycopg.Connection) -> set[str]:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    connection.execute(
        """CREATE TABLE IF NOT EXISTS public.migration (
               name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"""
    )
    return {str(row[0]) for row in connection.execute("SELECT name FROM public.migration")}


def _run(connection: psycopg.Connection, name: str, direction: str) -> None:
    text = (MIGRATIONS / f"{name}.{direction}.sql").read_text(encoding="utf-8")
    connection.execute(text.encode())


def _mark_clock(connection: psycopg.Connection, clock_mode: str) -> None:
    start = SIMULATED_START if clock_mode == "simulated" else datetime.now(UTC)
    connection.execute("INSERT INTO ledger.clock (mode, now_at) VALUES (%s, %s) ON CONFLICT DO NOTHING", (clock_mode, start))
    row = connection.execute("SELECT mode FROM ledger.clock").fetchone()
    if row is None or row[0] != clock_mode:
        raise WrongUse(f"this database was created with another clock than {clock_mode}: make a new one")
