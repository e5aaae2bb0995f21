"""`fundwatch control propose | approve | reject | list | run-approved`: what operators do to the night (decision 0004)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundwatch.commands.night import AsJson, maybe_date

if TYPE_CHECKING:
    import psycopg

    from fundwatch.settings import Settings
    from transactional.users import Person

As = Annotated[str, typer.Option("--as", help="who you are: a name of `fundwatch user`")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="read the password as one line from standard input")]
Control = Annotated[int, typer.Argument(help="number of the control", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the group `control`."""
    group = typer.Typer(
        no_args_is_help=True, help="Hold, resume, re-run, go on without a file: each with a reason and a second person."
    )
    for name, command in (
        ("propose", propose),
        ("approve", approve),
        ("reject", reject),
        ("list", list_),
        ("run-approved", run_approved),
    ):
        group.command(name)(command)
    app.add_typer(group, name="control")


def propose(
    kind: Annotated[str, typer.Option(help="HOLD, RESUME, RERUN or WITHOUT_FILE")],
    reason: Annotated[str, typer.Option(help="why, at most 500 characters")],
    user: As,
    platform: Annotated[str | None, typer.Option(help="platform, for RERUN and WITHOUT_FILE")] = None,
    start: Annotated[str | None, typer.Option("--from", help="first date to run again, for RERUN, YYYY-MM-DD")] = None,
    day: Annotated[str | None, typer.Option("--date", help="business date of the file, for WITHOUT_FILE, YYYY-MM-DD")] = None,
    sender: Annotated[str | None, typer.Option(help="who does not send it, for WITHOUT_FILE, for example PC01")] = None,
    file_kind: Annotated[str | None, typer.Option(help="kind of the file, for WITHOUT_FILE, for example channel")] = None,
    password_stdin: FromStdin = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a control; nothing happens until a second person approves it."""
    from domain.errors import WrongUse
    from fundwatch.output import emit
    from fundwatch.settings import load
    from transactional import controls

    if start and day:
        raise WrongUse("give --from (RERUN) or --date (WITHOUT_FILE), not both")
    asked = controls.Control(kind, platform, maybe_date(start or day), sender, file_kind, reason)
    settings = load()
    maker = _person(settings, user, password_stdin, "propose_control")
    with _desk(settings) as connection:
        control_id = controls.propose(connection, asked, maker.name, bank_id=settings.bank_id)
    emit({"control_id": control_id, "state": "PENDING", "maker": maker.name}, as_json, _print_state)


def approve(
    control: Control,
    user: As,
    note: Annotated[str | None, typer.Option(help="what you looked at")] = None,
    password_stdin: FromStdin = False,
    as_json: AsJson = False,
) -> None:
    """Approve what somebody else proposed; it counts from this moment on."""
    _decide(control, user, True, note, password_stdin, as_json)


def reject(
    control: Control,
    user: As,
    note: Annotated[str, typer.Option(help="why not")],
    password_stdin: FromStdin = False,
    as_json: AsJson = False,
) -> None:
    """Reject what somebody else proposed."""
    _decide(control, user, False, note, password_stdin, as_json)


def list_(
    pending: Annotated[bool, typer.Option("--pending", help="only those that wait for a second person")] = False,
    limit: Annotated[int, typer.Option(help="how many, newest first", min=1)] = 200,
    as_json: AsJson = False,
) -> None:
    """The controls with what became of them, and the hold in force."""
    from dataclasses import asdict

    from fundwatch.output import emit
    from fundwatch.settings import load
    from transactional import controls

    with _desk(load()) as connection:
        found = controls.pending(connection) if pending else controls.listed(connection, limit)
        hold = controls.held(connection)
    emit({"controls": [asdict(one) for one in found], "held": hold.sentence if hold else None}, as_json, _print_list)


def run_approved(as_json: AsJson = False) -> None:
    """Carry out approved controls: run a platform again from a date; each exactly once, however often it is called."""
    from fundwatch import reruns
    from fundwatch.output import emit, log
    from fundwatch.settings import load

    emit(reruns.run_approved(load(), log.print), as_json, _print_done)


def _decide(control_id: int, user: str, is_approved: bool, note: str | None, password_stdin: bool, as_json: bool) -> None:
    from fundwatch.output import emit
    from fundwatch.settings import load
    from transactional import controls

    settings = load()
    checker = _person(settings, user, password_stdin, "decide_control")
    with _desk(settings) as connection:
        controls.decide(connection, control_id, checker.name, is_approved, note)
        state = controls.get(connection, control_id)
    emit({"control_id": control_id, "state": state.state, "maker": state.maker, "checker": state.checker}, as_json, _print_state)


def _person(settings: Settings, name: str, password_stdin: bool, permission: str) -> Person:
    """The person, once the password proved it; BadInput when their role may not do this."""
    from domain.errors import BadInput

    person = proved(settings, name, password_stdin)
    if not person.may(permission):
        raise BadInput(f"{name} is {person.role}, who may not {permission.replace('_', ' ')}")
    return person


def proved(settings: Settings, name: str, from_stdin: bool) -> Person:
    """The person with this password, and one-time code when one is needed: the next line of standard input, or asked for."""
    from transactional import users

    password = _asked(f"password of {name}: ", from_stdin)
    try:
        return users.authenticate(settings.database_url("web"), name, password)
    except users.CodeNeeded:
        code = _asked(f"one-time code of {name}: ", from_stdin)
        return users.authenticate(settings.database_url("web"), name, password, code=code)


def _asked(prompt: str, from_stdin: bool) -> str:
    """One line of standard input, or typed at a terminal without being shown; never a command line or the environment."""
    import getpass
    import sys

    from domain.errors import WrongUse

    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise WrongUse("there is no terminal to ask for the password: pipe it in with --password-stdin")
    return getpass.getpass(prompt)


@contextmanager
def _desk(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the role that controls are written with; ServiceMissing when there is none."""
    from lake.postgres import connection

    with connection(settings, role="service", autocommit=True) as desk:
        yield desk


def _print_state(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    checker = f", decided by {result['checker']}" if result.get("checker") else ": a second person approves or rejects it"
    console.print(
        f"control {result['control_id']} of {result['maker']}: {result['state']}{checker}", soft_wrap=True, markup=False
    )


def _print_list(result: dict[str, Any]) -> None:
    from rich.table import Table

    from fundwatch.output import console

    table = Table("id", "kind", "about", "reason", "maker", "state", "checker", "outcome")
    for one in result["controls"]:
        about = " ".join(str(one[key]) for key in ("platform_id", "business_date", "sender_id", "file_kind") if one[key])
        outcome = "" if one["outcome"] is None else f"{one['outcome']} run {one['run_id']}"
        table.add_row(
            str(one["control_id"]), one["kind"], about, one["reason"], one["maker"], one["state"], one["checker"] or "", outcome
        )
    console.print(table)
    console.print(result["held"] or "the night is not held", soft_wrap=True, markup=False)


def _print_done(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    if result.get("skipped"):
        console.print(result["reason"], soft_wrap=True, markup=False)
    for one in result.get("done", ()):
        words = f"control {one['control_id']}: {one['platform_id']} from {one['from']} to {one['to']}"
        console.print(f"{words}: {one['outcome']} by run {one['run_id']}: {one['detail']}", soft_wrap=True, markup=False)
