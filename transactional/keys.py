"""API keys: 256 random bits, kept only as a sha256, each for one platform or for all (``*``)."""

from __future__ import annotations

import re
import secrets
import time
from hashlib import sha256
from typing import Any

import psycopg

from domain.errors import ServiceMissing, WrongUse
from domain.ids import is_text_id
from fundwatch.settings import Settings
from transactional.problems import Problem

EVERY_PLATFORM = "*"
ADMIN_SECRET = "api_admin_key"
REFRESH_S = 5.0
_BEARER = re.compile(r"[Bb]earer +(\S+)")


def key_hash(key: str) -> bytes:
    """What is stored of a key; it is random, so one round of sha256 is enough."""
    return sha256(key.encode()).digest()


def add_key(database_url: str, scope: str) -> str:
    """Store a new key of `scope` (a platform id or ``*``) and return it: the only time it is seen.

    Raises WrongUse for a scope that is neither, ServiceMissing when the database does not answer.
    """
    if scope != EVERY_PLATFORM and not is_text_id(scope):
        raise WrongUse(f"a key is for a platform id or *, not {scope!r}")
    key = secrets.token_urlsafe(32)
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            connection.execute("INSERT INTO api.key (key_hash, scope) VALUES (%s, %s)", (key_hash(key), scope))
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    return key


class KeyRing:
    """Scopes of the keys in force, read again every few seconds so that a revoked key ends.

    The home's own admin key has scope ``*``.
    """

    def __init__(self, settings: Settings, pool: Any) -> None:
        self._pool = pool
        self._admin: dict[bytes, str] = {}
        if (settings.secrets_dir / ADMIN_SECRET).exists():
            self._admin[key_hash(settings.secret(ADMIN_SECRET))] = EVERY_PLATFORM
        self._scopes: dict[bytes, str] = {}
        self._read_at = float("-inf")

    async def scope(self, authorization: str | None) -> str:
        """Scope of an ``Authorization`` header; Problem NOT_AUTHENTICATED when it carries no key in force."""
        found = _BEARER.fullmatch(authorization or "")
        if found is None:
            raise Problem("NOT_AUTHENTICATED", "send Authorization: Bearer KEY")
        hashed = key_hash(found.group(1))
        if hashed in self._admin:
            return self._admin[hashed]
        if hashed not in self._scopes or time.monotonic() - self._read_at > REFRESH_S:
            rows = await self._pool.fetch("SELECT key_hash, scope FROM api.key WHERE revoked_at IS NULL")
            self._scopes = {bytes(row["key_hash"]): row["scope"] for row in rows}
            self._read_at = time.monotonic()
        if hashed not in self._scopes:
            raise Problem("NOT_AUTHENTICATED", "the key is unknown or revoked")
        return self._scopes[hashed]


def covers(scope: str, platform_id: str) -> bool:
    """Whether a key of `scope` may act for a platform."""
    return scope in (EVERY_PLATFORM, platform_id)
