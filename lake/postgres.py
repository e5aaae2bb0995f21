"""PostgreSQL as the lake needs it: control data through psycopg, book B through Spark's JDBC reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

from domain.errors import ServiceMissing
from fundwatch.settings import Settings

CONNECT_SECONDS = 10


@contextmanager
def connection(settings: Settings, role: str = "jobs", autocommit: bool = False) -> Iterator[psycopg.Connection[TupleRow]]:
    """A connection of `role`, committed at the end of the block and rolled back when it raises.

    ServiceMissing when the server does not answer or goes away in the middle.
    """
    try:
        with psycopg.connect(
            settings.database_url(role), connect_timeout=CONNECT_SECONDS, autocommit=autocommit, application_name="fundwatch-lake"
        ) as open_connection:
            yield open_connection
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {str(error).strip().splitlines()[0]}") from error


def jdbc_url(settings: Settings, role: str) -> str:
    """The same database as a JDBC address, without user and password (they travel as options)."""
    return f"jdbc:postgresql://{settings.database_url(role).rpartition('@')[2].partition('?')[0]}"
