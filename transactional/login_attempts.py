"""How often one may try a password: failures of a name and of an address are counted in the database and make the next one wait.

The first few cost nothing; then each failure doubles the wait, up to a quarter of an hour. An attempt is written down before the
password is looked at, so many at once count as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg

from domain.errors import BadInput

FREE_OF_NAME = 5
FREE_OF_ADDRESS = 20
WAIT_MAX_S = 900
WINDOW_S = 3600


class NotAuthenticated(BadInput):
    """Name and password do not belong to an enabled person (which of them is wrong is never said)."""


class CodeNeeded(NotAuthenticated):
    """The password is right, and this person signs in with a one-time code besides."""


class TooManyAttempts(NotAuthenticated):
    """Too many wrong passwords for this name or from this address; `wait_s` seconds to wait."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many failed logins: wait {wait_s} s")
        self.wait_s = wait_s


@dataclass
class Attempt:
    """One attempt under way; `succeeded` is what it will be remembered as.

    `awaits_code`: the password was right and nothing more was given. It counts neither as failure nor as success: a success would
    let who knows the password try codes without end.
    """

    succeeded: bool = False
    awaits_code: bool = False


def name_key(name: str) -> bytes:
    """What is stored of a typed name: passwords are sometimes typed into the wrong field."""
    return sha256(name.encode()).digest()


@contextmanager
def attempt(connection: psycopg.Connection[Any], name: str, address: str) -> Iterator[Attempt]:
    """Write an attempt down, let the caller judge it, and write down how it ended.

    Raises TooManyAttempts instead when name or address must wait. One that is cut short stays a failure.
    """
    arguments = (name_key(name), address, FREE_OF_NAME, FREE_OF_ADDRESS, WAIT_MAX_S, WINDOW_S)
    row = connection.execute("SELECT attempt, wait_s FROM auth.begin_attempt(%s, %s, %s, %s, %s, %s)", arguments).fetchone()
    assert row is not None
    if row[1] > 0:
        raise TooManyAttempts(int(row[1]))
    judged = Attempt()
    yield judged
    if judged.awaits_code:
        connection.execute("SELECT auth.await_code(%s)", (row[0],))
    else:
        connection.execute("SELECT auth.end_attempt(%s, %s)", (row[0], judged.succeeded))
