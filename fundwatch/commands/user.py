"""`fundwatch user add | list | disable | enable | role | password | permissions`: the people of the pages, from the console.

A change is written down with its actor: the administrator named with `--as`, who proves it with a password, or `console`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundwatch.output import emit

if TYPE_CHECKING:
    from pathlib import Path

    from fundwatch.settings import Settings

Name = Annotated[str, typer.Argument(help="login name, [a-z0-9._-], 2 to 32 characters")]
RoleName = Annotated[str, typer.Option("--role", help="viewer, officer, checker, finance, admin or auditor")]
As = Annotated[str | None, typer.Option("--as", help="the administrator who makes it, asked for a password; else console")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="read the new password as one line from standard input")]
OneTime = Annotated[bool, typer.Option("--one-time", help="the person must choose another password at the first login")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]


def register(app: typer.Typer) -> None:
    """Add the group `user`."""
    group = typer.Typer(no_args_is_help=True, help="People who may use the pages, and what they may do.")
    for name, command in (
        ("add", add),
        ("list", list_),
        ("disable", disable),
        ("enable", enable),
        ("role", role_),
        ("password", password_),
        ("permissions", permissions),
    ):
        group.command(name)(command)
    app.add_typer(group, name="user")


def add(
    name: Name,
    role: RoleName,
    display: Annotated[str, typer.Option(help="the person's name as pages show it")] = "",
    password_stdin: FromStdin = False,
    one_time: OneTime = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="do nothing when there is a person with this name")] = False,
    user: As = None,
    as_json: Json = False,
) -> None:
    """Make a person; without --password-stdin the password is made up and written to a secret file, whose path is printed."""
    from fundwatch.settings import load
    from transactional import users

    settings = load()
    database = settings.database_url("migrator")
    if if_missing and any(person.name == name for person in users.listed(database)):
        emit({"name": name, "skipped": True}, as_json, lambda _: _say(f"{name} is there already"))
        return
    actor = _actor(settings, user)

    def make(password: str) -> None:
        users.create(database, name, role, password, display_name=display, actor=actor, must_change_password=one_time)

    path = _with_password(settings, name, password_stdin, make)
    emit({"name": name, "role": role, "password_file": path and str(path)}, as_json, _say_password)


def list_(as_json: Json = False) -> None:
    """All persons with role, state and last login."""
    from dataclasses import asdict

    from fundwatch.settings import load
    from transactional import users

    people = [asdict(person) for person in users.listed(load().database_url("migrator"))]
    emit({"people": people}, as_json, _table)


def disable(name: Name, user: As = None, as_json: Json = False) -> None:
    """Disable a person: all sessions end, no login until enabled again."""
    _set_disabled(name, True, user, as_json)


def enable(name: Name, user: As = None, as_json: Json = False) -> None:
    """Enable a disabled person again."""
    _set_disabled(name, False, user, as_json)


def role_(name: Name, role: RoleName, user: As = None, as_json: Json = False) -> None:
    """Give a person another role; all sessions end."""
    from fundwatch.settings import load
    from transactional import users

    settings = load()
    changed = users.set_role(settings.database_url("migrator"), name, role, _actor(settings, user))
    words = f"{name} is {role}" if changed else f"{name} was {role} already"
    emit({"name": name, "role": role, "skipped": not changed}, as_json, lambda _: _say(words))


def password_(
    name: Name, password_stdin: FromStdin = False, one_time: OneTime = False, user: As = None, as_json: Json = False
) -> None:
    """Give a person a new password, as in `add`; all sessions end."""
    from fundwatch.settings import load
    from transactional import users

    settings = load()
    actor = _actor(settings, user)

    def change(password: str) -> None:
        users.set_password(settings.database_url("migrator"), name, password, actor, one_time)

    path = _with_password(settings, name, password_stdin, change)
    emit({"name": name, "password_file": path and str(path)}, as_json, _say_password)


def permissions(as_json: Json = False) -> None:
    """What each role may do, and who proposes and decides each kind of approval, as a table."""
    from fundwatch.settings import load
    from transactional import people

    found = people.exported(load().database_url("migrator"))
    emit({"permissions": found}, as_json, lambda _: _say(people.table(found).rstrip("\n")))


def _set_disabled(name: str, disabled: bool, user: str | None, as_json: bool) -> None:
    from fundwatch.settings import load
    from transactional import users

    settings = load()
    changed = users.set_disabled(settings.database_url("migrator"), name, disabled, _actor(settings, user))
    state = "disabled" if disabled else "enabled"
    words = f"{name} is {state}" if changed else f"{name} was {state} already"
    emit({"name": name, "is_disabled": disabled, "skipped": not changed}, as_json, lambda _: _say(words))


def _actor(settings: Settings, name: str | None) -> int | None:
    """The administrator's number once a password typed at the terminal proved it; None for the console."""
    import sys

    from domain.errors import BadInput, WrongUse
    from fundwatch.commands.control import proved

    if name is None:
        return None
    if not sys.stdin.isatty():
        raise WrongUse("--as asks for a password at a terminal, and there is none: without it the change is the console's")
    person = proved(settings, name, from_stdin=False)
    if not person.may("manage_users"):
        raise BadInput(f"{name} is {person.role}, who may not manage users")
    return person.user_id


def _with_password(settings: Settings, name: str, from_stdin: bool, work: Callable[[str], None]) -> Path | None:
    """Do `work` with the password of standard input, or with a made up one that then stands in the returned secret file.

    The file is written beside its place first and put there only when the work is done, so it never holds a password that
    is not in force.
    """
    import os
    import sys

    from transactional import passwords, users

    if from_stdin:
        work(sys.stdin.readline().rstrip("\r\n"))
        return None
    if users.LOGIN_NAME.fullmatch(name) is None:
        raise users.PersonRefused("bad_name", "a login name has 2 to 32 characters of a-z 0-9 . _ -")
    path = settings.secrets_dir / f"page_{name}"
    beside = path.with_name(f"{path.name}.partial")
    password = passwords.generated()
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output:
        output.write(f"{password}\n")
    try:
        work(password)
    except BaseException:
        beside.unlink()
        raise
    beside.replace(path)
    return path


def _say(words: str) -> None:
    from fundwatch.output import console

    console.print(words, soft_wrap=True, markup=False)


def _say_password(result: dict[str, Any]) -> None:
    _say(f"password of {result['name']} in {result['password_file']}" if result["password_file"] else f"{result['name']}: done")


def _table(result: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from fundwatch.output import console

    table = Table()
    for column in ("name", "role", "display name", "state", "last login (UTC)"):
        table.add_column(column, overflow="fold")
    for person in result["people"]:
        state = "disabled" if person["is_disabled"] else "one-time password" if person["must_change_password"] else "enabled"
        last = person["last_login_at"].strftime("%Y-%m-%d %H:%M") if person["last_login_at"] else ""
        table.add_row(*(Text(value) for value in (person["name"], person["role"], person["display_name"], state, last)))
    console.print(table)
