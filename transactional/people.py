"""`/v1/permissions`, `/v1/users`: what each role may do, and who the bank's people are; changes of them are `/v1/approvals`.

Kinds USER_CREATE, USER_ROLE, USER_DISABLE and SECOND_FACTOR_RESET: an administrator proposes, another one decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import psycopg
from fastapi import APIRouter, Path
from psycopg.rows import dict_row
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import ServiceMissing
from transactional import passwords
from transactional.login import NO_STORE, beside_the_loop
from transactional.permissions import PERMISSIONS, ROLES
from transactional.service import service_of
from transactional.staff import note, staff_of

router = APIRouter(prefix="/v1", tags=["people"])
LoginName = Annotated[str, Path(pattern=r"^[a-z0-9._-]{2,32}$")]


def matrix(kinds: Sequence[Any]) -> dict[str, list[str]]:
    """Permission, or ``propose KIND`` and ``decide KIND`` of rows of `work.kind`, → roles in the order of ROLES."""
    rows: dict[str, frozenset[str]] = dict(PERMISSIONS)
    for kind in kinds:
        rows[f"propose {kind['kind']}"] = frozenset(kind["maker_roles"])
        rows[f"decide {kind['kind']}"] = frozenset(kind["checker_roles"])
    return {name: [role for role in ROLES if role in allowed] for name, allowed in rows.items()}


def table(permissions: dict[str, list[str]]) -> str:
    """The matrix as a table of text: one line a permission, a mark for each role that has it."""
    width = max(len(name) for name in permissions)
    lines = [f"{'':<{width}}  {'  '.join(ROLES)}"]
    for name, allowed in permissions.items():
        marks = "  ".join(("yes" if role in allowed else "-").ljust(len(role)) for role in ROLES)
        lines.append(f"{name:<{width}}  {marks}".rstrip())
    return "\n".join([*lines, ""])


def exported(database_url: str) -> dict[str, list[str]]:
    """The matrix of an installation, its kinds of approvals read from the database; ServiceMissing when that does not answer."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection, connection.cursor(row_factory=dict_row) as cursor:
            kinds = cursor.execute("SELECT kind, maker_roles, checker_roles FROM work.kind ORDER BY kind").fetchall()
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    return matrix(kinds)


@router.get("/permissions")
async def list_permissions(request: Request) -> dict[str, Any]:
    """What each role may do: the matrix of pages and service, and who proposes and decides each kind of approval."""
    await staff_of(request, "see_permissions")
    kinds = await service_of(request).pool.fetch("SELECT kind, maker_roles, checker_roles FROM work.kind ORDER BY kind")
    return {"roles": ROLES, "permissions": matrix(kinds)}


@router.get("/users")
async def list_users(request: Request) -> dict[str, Any]:
    """All persons of the bank with role and state, by login name; the look is written to the access log."""
    staff = await staff_of(request, "manage_users")
    await note(request, staff, "USERS_SEEN", "users")
    rows = await service_of(request).pool.fetch("SELECT * FROM auth.access_review('infinity')")
    hidden = ("changes",)
    return {"users": [{name: value for name, value in dict(row).items() if name not in hidden} for row in rows]}


@router.post("/users/{login_name}/one-time-password", status_code=201)
async def give_one_time_password(request: Request, login_name: LoginName) -> Response:
    """A first password, in this answer and nowhere else, for a person who has none of their own yet.

    It is good for nothing but choosing one's own. Idempotency-Key is not taken: the answer may not be kept; asking again gives
    another password, and the one before ends.
    """
    staff = await staff_of(request, "manage_users")
    password = passwords.generated()
    settings = service_of(request).settings

    def work(connection: Any) -> None:
        hashed = passwords.of(settings.argon2).hashed(password)
        connection.execute("SELECT auth.give_one_time_password(%s, %s, %s)", (login_name, hashed, staff.person_id))

    await beside_the_loop(request, work)
    answer = {"login_name": login_name, "one_time_password": password}
    return Response(msgspec.json.encode(answer), 201, NO_STORE, "application/json")
