"""`/v1/sessions`, `/v1/password`, `/v1/second-factor`: how the bank's people sign in at the service and keep their own account.

None of these takes an Idempotency-Key: what is kept under one is the body and the answer, and here those are passwords, tokens
and codes. Repeating a request is safe all the same: a login makes another session, the others say what is so already.
Passwords are looked at by the same code, counts and tables as at the pages, in a few threads beside the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

import msgspec
import psycopg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional import passwords, second_factor, sessions, users
from transactional.bodies import decode
from transactional.openapi import reading
from transactional.problems import Problem
from transactional.service import read_body, service_of
from transactional.staff import Staff, address_of, staff_of, token_of

router = APIRouter(prefix="/v1", tags=["sessions"])
# logins worked on and waiting at once in this process; more are told to come again
THREADS = 4
WAITING_MAX = 16
NO_STORE = {"Cache-Control": "no-store"}
Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=passwords.LENGTH_MAX)]
Code = Annotated[str, msgspec.Meta(min_length=6, max_length=40)]
T = TypeVar("T")
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="login")
_inside: set[object] = set()


class Login(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who one says one is; `code` for people with a second factor."""

    login_name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    password: Secret
    code: Code | None = None


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One's present password and the one to have."""

    old: Secret
    new: Secret


class Proof(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One's password, asked again before something that outlives the session."""

    password: Secret


class FirstCode(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The code that the authenticator shows."""

    code: Code


@router.post("/sessions", status_code=201, openapi_extra=reading(Login))
async def sign_in(request: Request) -> Response:
    """Begin a session; its token is in this answer and nowhere else. CODE_NEEDED: send the same with the one-time code."""
    body = decode(Login, await read_body(request))
    settings, name, address = service_of(request).settings, body.login_name.strip().lower(), address_of(request)

    def work(connection: users.Connection) -> tuple[users.Person, str]:
        person = users.authenticate(connection, name, body.password, code=body.code, address=address, one_time_too=True)
        return person, sessions.begin(connection, person, address, settings.session_max_s)

    person, token = await beside_the_loop(request, work)
    return _answer(
        {
            "token": token,
            "login_name": person.name,
            "role": person.role,
            "ends_after_s": settings.session_max_s,
            "must_change_password": person.must_change_password,
            "has_second_factor": person.has_second_factor,
            "must_set_second_factor": person.role in settings.second_factor_roles and not person.has_second_factor,
        },
        201,
    )


@router.get("/sessions/current")
async def current_session(request: Request) -> dict[str, Any]:
    """Who is signed in, and until when."""
    staff = await staff_of(request, "own_account")
    return {
        "login_name": staff.login_name,
        "display_name": staff.display_name,
        "role": staff.role,
        "must_change_password": staff.must_change_password,
        "has_second_factor": staff.has_second_factor,
        "session_ends_at": staff.session_ends_at,
    }


@router.delete("/sessions/current", status_code=204)
async def sign_out(request: Request) -> Response:
    """End the session."""
    await staff_of(request, "own_account")
    hashed = sessions.token_hash(token_of(request))
    await service_of(request).pool.execute("SELECT auth.end_session($1, 'LOGOUT')", hashed)
    return Response(status_code=204)


@router.put("/password", status_code=204, openapi_extra=reading(PasswordChange))
async def change_password(request: Request) -> Response:
    """Change one's own password; every session ends, this one too."""
    staff = await staff_of(request, "own_account")
    body = decode(PasswordChange, await read_body(request))
    person, address = _person(staff), address_of(request)
    await beside_the_loop(request, lambda lent: users.change_own_password(lent, person, body.old, body.new, address))
    return Response(status_code=204, headers=NO_STORE)


@router.get("/second-factor")
async def see_second_factor(request: Request) -> dict[str, Any]:
    """Whether one's own second factor is in force, since when, and how many recovery codes are left."""
    staff = await staff_of(request, "own_account")
    row = await service_of(request).pool.fetchrow(
        """SELECT confirmed_at, recovery_codes_left FROM auth.second_factor_state
           WHERE person_id = $1 AND confirmed_at IS NOT NULL""",
        staff.person_id,
    )
    return {
        "in_force": row is not None,
        "since": row and row["confirmed_at"],
        "recovery_codes_left": row["recovery_codes_left"] if row else 0,
    }


@router.post("/second-factor", status_code=201, openapi_extra=reading(Proof))
async def begin_second_factor(request: Request) -> Response:
    """Make a secret for an authenticator, shown this once; it counts after `/v1/second-factor/confirm`."""
    staff = await staff_of(request, "own_account")
    body = decode(Proof, await read_body(request))
    settings, address = service_of(request).settings, address_of(request)

    def work(connection: users.Connection) -> second_factor.Enrolment:
        users.prove_password(connection, staff.login_name, body.password, address)
        return second_factor.begin(connection, settings, staff.person_id, staff.login_name)

    made = await beside_the_loop(request, work)
    return _answer({"secret": made.secret, "otpauth_uri": made.uri}, 201)


@router.post("/second-factor/confirm", status_code=201, openapi_extra=reading(FirstCode))
async def confirm_second_factor(request: Request) -> Response:
    """Put the secret in force with its first code; the recovery codes are in this answer and nowhere else."""
    staff = await staff_of(request, "own_account")
    body = decode(FirstCode, await read_body(request))
    settings, hashed = service_of(request).settings, sessions.token_hash(token_of(request))
    codes = await beside_the_loop(request, lambda lent: second_factor.confirm(lent, settings, staff.person_id, body.code, hashed))
    return _answer({"recovery_codes": codes}, 201)


async def beside_the_loop(request: Request, work: Callable[[users.Connection], T]) -> T:
    """Do `work` with a connection of its own in one of the login threads; what it refuses becomes a Problem.

    Problems: LOGINS_BUSY DATABASE_MISSING TOO_MANY_ATTEMPTS CODE_NEEDED WRONG_LOGIN WEAK_PASSWORD CODE_WRONG, and FW422 refusals.
    """
    if len(_inside) >= WAITING_MAX:
        raise Problem("LOGINS_BUSY", "too many people are signing in at this moment")
    url = service_of(request).settings.database_url("service")

    def connected() -> T:
        with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
            return work(connection)

    me = object()
    _inside.add(me)
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, connected)
    except Exception as error:
        raise _problem(error) from None
    finally:
        _inside.discard(me)


def _problem(error: Exception) -> Exception:
    """The refusal in the service's words; another error as it is."""
    if isinstance(error, psycopg.DatabaseError) and error.sqlstate == "FW422":
        fault = json.loads(error.diag.message_detail or "{}")
        return Problem(error.diag.message_primary or "INTERNAL", f"{fault.get('field')}: {fault.get('value')}", **fault)
    for kind, code, more in (
        (second_factor.FactorRefused, getattr(error, "code", ""), {}),
        (users.TooManyAttempts, "TOO_MANY_ATTEMPTS", {"wait_s": getattr(error, "wait_s", None)}),
        (users.CodeNeeded, "CODE_NEEDED", {}),
        (users.NotAuthenticated, "WRONG_LOGIN", {}),
        (second_factor.CodeWrong, "CODE_WRONG", {"field": "code"}),
        (passwords.Busy, "LOGINS_BUSY", {}),
        (psycopg.OperationalError, "DATABASE_MISSING", {}),
    ):
        if isinstance(error, kind):
            return Problem(code, str(error) if code != "DATABASE_MISSING" else "the database does not answer", **more)
    if isinstance(error, users.PersonRefused) and error.reason.startswith("weak_"):
        return Problem("WEAK_PASSWORD", str(error), field="new", reason=error.reason)
    return error


def _person(staff: Staff) -> users.Person:
    return users.Person(staff.person_id, staff.login_name, staff.role, staff.display_name, staff.must_change_password)


def _answer(document: dict[str, Any], status: int) -> Response:
    return Response(msgspec.json.encode(document), status, NO_STORE, "application/json")
