"""Who of the bank's people asks: a session token as bearer, and what the person's role permits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import Request

from transactional.permissions import allows
from transactional.problems import Problem
from transactional.service import service_of
from transactional.sessions import token_hash

IDLE_S = 15 * 60
_BEARER = re.compile(r"[Bb]earer +(\S+)")


@dataclass(frozen=True)
class Staff:
    """A signed-in person; `scope` is what the person's idempotency keys are unique in."""

    person_id: int
    login_name: str
    role: str

    @property
    def scope(self) -> str:
        """``person:NAME``: no API key's scope looks like it."""
        return f"person:{self.login_name}"


async def staff_of(request: Request, permission: str) -> Staff:
    """The person behind the request's session token, who has `permission` (a key of `permissions.PERMISSIONS`).

    Problems: NOT_AUTHENTICATED without a session in force, PASSWORD_MUST_CHANGE, NOT_PERMITTED.
    """
    found = _BEARER.fullmatch(request.headers.get("authorization") or "")
    if found is None:
        raise Problem("NOT_AUTHENTICATED", "send Authorization: Bearer SESSION_TOKEN")
    row = await service_of(request).pool.fetchrow("SELECT * FROM auth.live_session($1, $2)", token_hash(found.group(1)), IDLE_S)
    if row is None:
        raise Problem("NOT_AUTHENTICATED", "there is no such session, or it has ended")
    if row["must_change"]:
        raise Problem("PASSWORD_MUST_CHANGE", "the password was set by another person: change it first")
    if not allows(row["role"], permission):
        raise Problem("NOT_PERMITTED", f"role {row['role']} has no permission {permission}")
    return Staff(row["person_id"], row["login_name"], row["role"])
