"""Who looked at what: persons, accounts and loans seen, tables exported with their row counts, accesses refused. Append-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

KINDS = ("ACCOUNT_SEEN", "LOAN_SEEN", "PERSON_SEEN", "CUSTOMER_SEEN", "USERS_SEEN", "AUDIT_SEEN", "EXPORT", "REFUSED")
TEXT_MAX = 512


@dataclass(frozen=True)
class Access:
    """One line: what kind of access (one of KINDS), to what, by whom, and for an export how many rows."""

    kind: str
    subject: str
    person_id: int | None
    session_id: int | None
    path: str
    address: str
    rows: int | None = None
    detail: dict[str, Any] | None = None


def write(connection: psycopg.Connection[Any], access: Access) -> None:
    """Add a line; longer texts are cut at 512 characters."""
    connection.execute(
        """INSERT INTO auth.access_log (kind, subject, person_id, session_id, path, address, row_count, detail)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            access.kind,
            access.subject[:TEXT_MAX],
            access.person_id,
            access.session_id,
            access.path[:TEXT_MAX],
            access.address,
            access.rows,
            None if access.detail is None else Jsonb(access.detail),
        ),
    )
