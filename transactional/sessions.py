"""Sessions of people: a random token in the browser or client, its sha256 in the database, ended there and nowhere else."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg

from transactional.login_attempts import NotAuthenticated
from transactional.users import Person

TOKEN_BYTES = 32
# a session in use is written down this often, not at every request
TOUCH_S = 15
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Live:
    """A session in force and its person."""

    session_id: int
    person: Person


def begin(connection: Connection, person: Person, address: str, max_s: int) -> str:
    """Begin a session that ends after `max_s` seconds at the latest; returns its token, the only time it is seen.

    NotAuthenticated for a person who was disabled since the password was looked at.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    made = connection.execute(
        "SELECT auth.begin_session(%s, %s, %s, %s)", (token_hash(token), person.user_id, address, max_s)
    ).fetchone()
    if made is None or made[0] is None:
        raise NotAuthenticated("the person was disabled a moment ago")
    return token


def find(connection: Connection, token: str, idle_s: int) -> Live | None:
    """The session of a token when it is in force: not ended, younger than its end, used within `idle_s` seconds, person enabled.

    One that is over is marked so; one in use is kept alive.
    """
    row = connection.execute(
        """SELECT session_id, person_id, login_name, role, display_name, must_change,
                  EXISTS (SELECT FROM auth.second_factor_state f
                          WHERE f.person_id = person.person_id AND f.confirmed_at IS NOT NULL),
                  CASE WHEN expires_at <= clock_timestamp() THEN 'EXPIRED'
                       WHEN last_seen_at <= clock_timestamp() - make_interval(secs => %(idle_s)s) THEN 'IDLE' END AS over,
                  last_seen_at < clock_timestamp() - make_interval(secs => %(touch_s)s) AS untouched
           FROM auth.session JOIN auth.person USING (person_id) JOIN auth.password USING (person_id)
           WHERE token_hash = %(hash)s AND ended_at IS NULL AND NOT is_disabled""",
        {"hash": token_hash(token), "idle_s": idle_s, "touch_s": min(TOUCH_S, idle_s // 2)},
    ).fetchone()
    if row is None:
        return None
    session_id, user_id, name, role, display_name, must_change, has_factor, over, untouched = row
    if over:
        end(connection, token, over)
        return None
    if untouched:
        connection.execute(
            "UPDATE auth.session SET last_seen_at = clock_timestamp() WHERE session_id = %s AND ended_at IS NULL", (session_id,)
        )
    return Live(session_id, Person(user_id, name, role, display_name, must_change, has_factor))


def end(connection: Connection, token: str, reason: str) -> bool:
    """End the session of a token (`reason` LOGOUT, REPLACED, IDLE or EXPIRED); False when there was none in force."""
    ended = connection.execute("SELECT auth.end_session(%s, %s)", (token_hash(token), reason)).fetchone()
    return ended is not None and bool(ended[0])


def token_hash(token: str) -> bytes:
    """What is stored of a token; it is random, so one round of sha256 is enough."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
