"""People of the pages and of the operator's commands: making them, changing them, and checking that one is who they say.

Changes go through the functions of migration 0010, which write the event and end sessions in the same transaction. `actor` is the
`user_id` of an administrator, or None for the operator at the console (the database refuses that for role web).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.errors import BadInput, ServiceMissing, WrongUse
from fundwatch.settings import load
from transactional import login_attempts, passwords, second_factor
from transactional.login_attempts import CodeNeeded, NotAuthenticated, TooManyAttempts
from transactional.permissions import ROLES, allows

__all__ = ["CodeNeeded", "Listed", "NotAuthenticated", "Person", "PersonRefused", "TooManyAttempts", "authenticate", "create"]

LOGIN_NAME = re.compile(r"[a-z0-9._-]{2,32}")
DISPLAY_NAME_MAX = 64
CONSOLE = "console"
Connection = psycopg.Connection[Any]
_SELECT = """
SELECT person_id AS user_id, login_name AS name, role, display_name, is_disabled, must_change AS must_change_password, created_at,
  (SELECT max(at) FROM auth.login_attempt a WHERE a.person_id = person.person_id AND outcome = 'SUCCEEDED') AS last_login_at
FROM auth.person JOIN auth.password USING (person_id)"""
_REFUSALS = {
    "name_taken": "there is already a person with this name",
    "unknown_person": "there is no such person",
    "own_person": "nobody changes their own role or disables themselves: another administrator does",
    "last_admin": "this is the last enabled administrator: make another one first",
}


class PersonRefused(BadInput):
    """A change of a person that is refused; `reason` is the text key, the message one sentence; nothing was changed."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Person:
    """A person: `name` is the login name, `role` one of `permissions.ROLES`."""

    user_id: int
    name: str
    role: str
    display_name: str = ""
    must_change_password: bool = False
    has_second_factor: bool = False

    def may(self, permission: str) -> bool:
        """Whether the person's role has a permission."""
        return allows(self.role, permission)


@dataclass(frozen=True)
class Listed:
    """A person with their state, as administrators see it."""

    user_id: int
    name: str
    role: str
    display_name: str
    is_disabled: bool
    must_change_password: bool
    created_at: datetime
    last_login_at: datetime | None


def create(
    database: str | Connection,
    name: str,
    role: str,
    password: str,
    *,
    display_name: str = "",
    actor: int | None = None,
    must_change_password: bool = False,
) -> Person:
    """Make a person and return them.

    PersonRefused: a name that is not ``[a-z0-9._-]{2,32}`` or taken, an unknown role, a weak password, an actor who may not.
    """
    shown = display_name.strip() or name
    if LOGIN_NAME.fullmatch(name) is None:
        raise PersonRefused("bad_name", "a login name has 2 to 32 characters of a-z 0-9 . _ -")
    if len(shown) > DISPLAY_NAME_MAX or not shown.isprintable():
        raise PersonRefused("bad_display_name", f"a display name has at most {DISPLAY_NAME_MAX} printable characters")
    _check_role(role)
    password_hash = _hash_of_choice(password, name, shown)
    with _connected(database) as connection, _refusals():
        row = connection.execute(
            "SELECT auth.create_person(%s, %s, %s, %s, %s, %s)", (name, shown, role, password_hash, must_change_password, actor)
        ).fetchone()
    assert row is not None
    return Person(int(row[0]), name, role, shown, must_change_password)


def set_role(database: str | Connection, name: str, role: str, actor: int | None = None) -> bool:
    """Give a person another role and end their sessions; False when they have it already."""
    _check_role(role)
    return _change(database, name, "SELECT auth.set_role(%s, %s, %s)", role, actor)


def set_disabled(database: str | Connection, name: str, disabled: bool, actor: int | None = None) -> bool:
    """Disable a person, which ends their sessions, or enable them again; False when that is so already."""
    return _change(database, name, "SELECT auth.set_disabled(%s, %s, %s)", disabled, actor)


def set_password(
    database: str | Connection, name: str, password: str, actor: int | None = None, must_change_password: bool = False
) -> None:
    """Give a person a new password and end all their sessions; `actor` is the person themselves or an administrator."""
    with _connected(database) as connection:
        person = get(connection, name)
        password_hash = _hash_of_choice(password, person.name, person.display_name)
        with _refusals():
            connection.execute(
                "SELECT auth.set_password(%s, %s, %s, %s)", (person.user_id, password_hash, must_change_password, actor)
            )


def change_own_password(database: str | Connection, person: Person, old: str, new: str, address: str) -> None:
    """Change one's own password, giving the old one; all sessions end.

    NotAuthenticated when the old one is wrong (counted like a failed login), PersonRefused when the new one is weak or the same.
    """
    if old == new:
        raise PersonRefused("weak_same", "the new password is the old one")
    password_hash = _hash_of_choice(new, person.name, person.display_name)
    with _connected(database) as connection:
        prove_password(connection, person.name, old, address)
        with _refusals():
            connection.execute("SELECT auth.set_password(%s, %s, false, %s)", (person.user_id, password_hash, person.user_id))


def authenticate(
    database: str | Connection,
    name: str,
    password: str,
    *,
    code: str | None = None,
    address: str = CONSOLE,
    one_time_too: bool = False,
) -> Person:
    """The enabled person with this name and password; every attempt is written down and counted against name and address.

    `database` is ``settings.database_url("web")`` (only roles web, service and migrator may), or an autocommit connection of such
    a role. `code` is the one-time or recovery code of a person with a second factor: CodeNeeded without one, once the password
    was right. Raises NotAuthenticated alike for an unknown name, a wrong password or code and a disabled person, after the same
    time; TooManyAttempts while name or address must wait; NotAuthenticated too for a one-time password that was not changed yet,
    unless `one_time_too`: its maker knows it.
    """
    with _connected(database) as connection:
        person = _proven(connection, name, address, password=password, code=code)
    if person.must_change_password and not one_time_too:
        raise NotAuthenticated("this is a one-time password: change it at the page first")
    return person


def authenticate_by_code(connection: Connection, name: str, code: str, address: str) -> Person:
    """The person whose password was right a moment ago (`second_factor.is_half_signed_in`), by the code; counted alike."""
    return _proven(connection, name, address, code=code)


def prove_password(connection: Connection, name: str, password: str, address: str) -> None:
    """Ask a signed-in person's password again; NotAuthenticated or TooManyAttempts as in `authenticate`, no code is asked."""
    _proven(connection, name, address, password=password, needs_code=False)


def _proven(
    connection: Connection,
    name: str,
    address: str,
    *,
    password: str | None = None,
    code: str | None = None,
    needs_code: bool = True,
) -> Person:
    """The person, when everything that was given is right, and a code where one is needed."""
    if not connection.autocommit:
        raise WrongUse("give a URL or an autocommit connection: a failed attempt must stay when the caller rolls back")
    with login_attempts.attempt(connection, name, address) as attempt:
        found = credentials(connection, name)
        is_right = password is None or _passwords().is_right(found.password_hash, password)
        is_right = is_right and found.person_id is not None and not found.is_disabled
        if is_right and needs_code and found.factor_id is not None and found.sealed_secret is not None:
            attempt.awaits_code = code is None
            is_right = code is not None and second_factor.use(
                connection, load(), found.person_id or 0, found.factor_id, found.sealed_secret, code
            )
        attempt.succeeded = is_right
    if attempt.awaits_code:
        raise CodeNeeded("send the one-time code besides")
    if not attempt.succeeded or found.person_id is None:
        raise NotAuthenticated("name and password do not belong together")
    return Person(found.person_id, name, found.role, found.display_name, found.must_change, found.factor_id is not None)


@dataclass(frozen=True)
class Credentials:
    """What the database keeps to know a person by; all of it null, and `person_id` too, for a name that nobody has."""

    person_id: int | None
    role: str
    display_name: str
    is_disabled: bool
    must_change: bool
    password_hash: str | None
    factor_id: int | None
    sealed_secret: bytes | None


def credentials(connection: Connection, name: str) -> Credentials:
    """Credentials of one login name."""
    with connection.cursor(row_factory=class_row(Credentials)) as cursor:
        found = cursor.execute("SELECT * FROM auth.credentials(%s)", (name,)).fetchone()
    assert found is not None
    return found


def get(connection: Connection, name: str) -> Person:
    """The person with a login name, enabled or not; PersonRefused when there is none."""
    with connection.cursor(row_factory=class_row(Listed)) as cursor:
        found = cursor.execute(f"{_SELECT} WHERE login_name = %s".encode(), (name,)).fetchone()
    if found is None:
        raise PersonRefused("unknown_person", f"there is no person {name!r}")
    return Person(found.user_id, found.name, found.role, found.display_name, found.must_change_password)


def listed(database: str | Connection) -> list[Listed]:
    """All persons by login name."""
    with _connected(database) as connection, connection.cursor(row_factory=class_row(Listed)) as cursor:
        return cursor.execute(f"{_SELECT} ORDER BY login_name".encode()).fetchall()


def check_password_choice(password: str, name: str, display_name: str) -> None:
    """Raise PersonRefused when a person may not choose this password."""
    try:
        passwords.check_choice(password, name, display_name)
    except passwords.WeakPassword as weak:
        sentence = (
            f"the password is refused ({weak.reason.lower().replace('_', ' ')}): at least {passwords.LENGTH_MIN} characters"
        )
        raise PersonRefused(f"weak_{weak.reason.lower()}", f"{sentence}, not common, not the name") from None


def _change(database: str | Connection, name: str, call: str, value: str | bool, actor: int | None) -> bool:
    with _connected(database) as connection, _refusals():
        row = connection.execute(call.encode(), (get(connection, name).user_id, value, actor)).fetchone()
    assert row is not None
    return bool(row[0])


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise PersonRefused("bad_role", f"a role is one of {', '.join(ROLES)}")


def _hash_of_choice(password: str, name: str, display_name: str) -> str:
    check_password_choice(password, name, display_name)
    return _passwords().hashed(password)


def _passwords() -> passwords.Passwords:
    return passwords.of(load().argon2)


@contextmanager
def _connected(database: str | Connection) -> Iterator[Connection]:
    """The given connection, or one of our own that commits each statement."""
    if not isinstance(database, str):
        yield database
        return
    try:
        connection = psycopg.connect(database, connect_timeout=10, autocommit=True)
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    with connection:
        yield connection


@contextmanager
def _refusals() -> Iterator[None]:
    """What the database refuses, as PersonRefused."""
    try:
        yield
    except psycopg.DatabaseError as error:
        message = error.diag.message_primary or ""
        if error.sqlstate == "FW403":
            raise PersonRefused("not_admin", message) from None
        if error.sqlstate in ("FW404", "FW409"):
            raise PersonRefused(message, _REFUSALS.get(message, message)) from None
        raise
