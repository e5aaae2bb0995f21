"""Who of the bank's people asks: a session token as bearer, and what the person's role permits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request

from transactional.access_log import KINDS, TEXT_MAX
from transactional.permissions import allows
from transactional.problems import Problem
from transactional.service import scope_of, service_of
from transactional.sessions import token_hash

IDLE_S = 15 * 60
_BEARER = re.compile(r"[Bb]earer +(\S+)")


@dataclass(frozen=True)
class Staff:
    """A signed-in person; `scope` is what the person's idempotency keys are unique in."""

    person_id: int
    login_name: str
    role: str
    session_id: int
    display_name: str
    must_change_password: bool
    has_second_factor: bool
    session_ends_at: datetime

    @property
    def scope(self) -> str:
        """``person:NAME``: no API key's scope looks like it."""
        return f"person:{self.login_name}"


async def staff_of(request: Request, permission: str) -> Staff:
    """The person behind the request's session token, who has `permission` (a key of `permissions.PERMISSIONS`).

    Problems: NOT_AUTHENTICATED without a session in force, PASSWORD_MUST_CHANGE, SECOND_FACTOR_NEEDED (neither of them for
    `own_account`: that is where one puts it right), NOT_PERMITTED, which is also written to the access log.
    """
    row = await service_of(request).pool.fetchrow(
        "SELECT * FROM auth.live_session($1, $2)", token_hash(token_of(request)), IDLE_S
    )
    if row is None:
        raise Problem("NOT_AUTHENTICATED", "there is no such session, or it has ended")
    staff = Staff(
        row["person_id"],
        row["login_name"],
        row["role"],
        row["session_id"],
        row["display_name"],
        row["must_change"],
        row["has_second_factor"],
        row["expires_at"],
    )
    if permission != "own_account":
        if staff.must_change_password:
            raise Problem("PASSWORD_MUST_CHANGE", "the password was set by another person: change it first")
        if staff.role in service_of(request).settings.second_factor_roles and not staff.has_second_factor:
            raise Problem("SECOND_FACTOR_NEEDED", f"role {staff.role} signs in with a second factor: set it up first")
    if not allows(staff.role, permission):
        await note(request, staff, "REFUSED", permission)
        raise Problem("NOT_PERMITTED", f"role {staff.role} has no permission {permission}")
    return staff


async def reader_of(request: Request, permission: str) -> None:
    """Let pass any platform with an API key in force, and people with `permission`; the Problems of `staff_of` for others."""
    try:
        await scope_of(request)
    except Problem:
        await staff_of(request, permission)


async def note(
    request: Request, staff: Staff, kind: str, subject: str, rows: int | None = None, detail: dict[str, Any] | None = None
) -> None:
    """Write a line of the access log before anything personal is shown or sent, as `dashboard.session.note` does for pages.

    `kind` is one of `access_log.KINDS`, `subject` what was seen or the name of the exported table, `rows` the rows of an export.
    For example ``await note(request, staff, "CUSTOMER_SEEN", "P01-C000001")``.
    """
    assert kind in KINDS, kind
    await service_of(request).pool.execute(
        """INSERT INTO auth.access_log (kind, subject, person_id, session_id, path, address, row_count, detail)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
        *(kind, subject[:TEXT_MAX], staff.person_id, staff.session_id, request.url.path[:TEXT_MAX], address_of(request), rows),
        None if detail is None else msgspec.json.encode(detail).decode(),
    )


def token_of(request: Request) -> str:
    """The bearer token of a request; Problem NOT_AUTHENTICATED without one."""
    found = _BEARER.fullmatch(request.headers.get("authorization") or "")
    if found is None:
        raise Problem("NOT_AUTHENTICATED", "send Authorization: Bearer SESSION_TOKEN")
    return found.group(1)


def address_of(request: Request) -> str:
    """Network address of the caller, as the service sees it."""
    return request.client.host if request.client else "unknown"
