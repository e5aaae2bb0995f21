"""Operator controls: hold, resume, re-run, go on without a file; proposed by one person, decided by another (decision 0004).

The rules live in the database (migration 0008): rows are append-only, maker and checker differ, times are the service's clock.
A connection is of role `service` or `web`. Writing is one transaction of its own, or a savepoint inside the caller's: after a
refusal the connection goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.errors import BadInput

TEXT_LENGTH_MAX = 500
_COLUMNS = (
    "control_id, kind, platform_id, business_date, sender_id, file_kind, reason, maker, proposed_at, state, checker, note, "
    "decided_at, run_id, outcome, detail, done_at"
)
Connection = psycopg.Connection[Any]


class Kind(StrEnum):
    """What a control does to the night."""

    HOLD = "HOLD"
    RESUME = "RESUME"
    RERUN = "RERUN"
    WITHOUT_FILE = "WITHOUT_FILE"


# which of platform_id, business_date, sender_id, file_kind a kind names; the others must be left out
_NAMES: dict[Kind, tuple[str, ...]] = {
    Kind.HOLD: (),
    Kind.RESUME: (),
    Kind.RERUN: ("platform_id", "business_date"),
    Kind.WITHOUT_FILE: ("platform_id", "business_date", "sender_id", "file_kind"),
}


class ControlRefused(BadInput):
    """A control or decision that is refused; nothing was changed. `code` is for programs, the message one sentence for people.

    Codes: UNKNOWN_KIND SHAPE REASON NOTE UNKNOWN_PLATFORM BEFORE_ONBOARDING NOT_PUBLISHED HELD_ALREADY NOT_HELD
    UNKNOWN_FILE_KIND UNKNOWN_SENDER UNKNOWN_CONTROL DECIDED_ALREADY OWN_CONTROL.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Control:
    """What is asked for: HOLD and RESUME name nothing, RERUN a platform and its first date, WITHOUT_FILE also sender and kind.

    For example ``Control("WITHOUT_FILE", "P01", date(2026, 8, 31), "PC01", "channel", "their system is down until Monday")``.
    """

    kind: str
    platform_id: str | None = None
    business_date: date | None = None
    sender_id: str | None = None
    file_kind: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class ControlState:
    """A control and what became of it: `state` is PENDING, REJECTED, APPROVED, or DONE once the re-run it asked for has ended.

    `outcome` is PUBLISHED (by run `run_id`) or REFUSED, why in `detail`. Times are UTC by the service's clock.
    """

    control_id: int
    kind: str
    platform_id: str | None
    business_date: date | None
    sender_id: str | None
    file_kind: str | None
    reason: str
    maker: str
    proposed_at: datetime
    state: str
    checker: str | None
    note: str | None
    decided_at: datetime | None
    run_id: int | None
    outcome: str | None
    detail: str | None
    done_at: datetime | None


@dataclass(frozen=True)
class Hold:
    """The hold in force: which control, since when, why, who proposed and who approved it."""

    control_id: int
    since: datetime
    reason: str
    maker: str
    checker: str

    @property
    def sentence(self) -> str:
        """For people: ``held by ann (approved by ben) since 2026-09-01T04:00:00+00:00: reason``."""
        return f"held by {self.maker} (approved by {self.checker}) since {self.since.isoformat()}: {self.reason}"


def propose(connection: Connection, control: Control, maker: str, *, bank_id: str = "BANK") -> int:
    """Put down what `maker` asks for and return the control's id; it has no effect until a second person approves it.

    ControlRefused: a wrong shape, an empty or long reason, an unknown platform, sender or file kind, a date that is not
    published (RERUN), a HOLD while held, a RESUME while not.
    """
    kind = _checked(control)
    arguments = [
        kind,
        control.platform_id,
        control.business_date,
        control.sender_id,
        control.file_kind,
        control.reason,
        maker,
        bank_id,
    ]
    with _refusals(), connection.transaction():
        row = connection.execute("select ops.propose_control(%s, %s, %s, %s, %s, %s, %s, %s)", arguments).fetchone()
    assert row is not None
    return int(row[0])


def decide(connection: Connection, control_id: int, checker: str, approve: bool, note: str | None = None) -> None:
    """Approve or reject a control, once; a rejection says why in `note`.

    Waits a moment for a run that is just being opened or published. ControlRefused: no such control, decided already, or
    `checker` is its maker.
    """
    text = (note or "").strip()
    if not approve and not text:
        raise ControlRefused("NOTE", "a rejection needs a note that says why")
    if len(text) > TEXT_LENGTH_MAX:
        raise ControlRefused("NOTE", f"the note has {len(text)} characters, {TEXT_LENGTH_MAX} are allowed")
    with _refusals(), connection.transaction():
        connection.execute("select ops.decide_control(%s, %s, %s, %s)", [control_id, checker, approve, text])


def pending(connection: Connection) -> list[ControlState]:
    """Controls that wait for a second person, oldest first."""
    return _states(connection, "where state = 'PENDING' order by control_id", [])


def listed(connection: Connection, limit: int = 200) -> list[ControlState]:
    """The newest controls with what became of them, newest first."""
    return _states(connection, "order by control_id desc limit %s", [limit])


def get(connection: Connection, control_id: int) -> ControlState:
    """One control; ControlRefused UNKNOWN_CONTROL when there is none."""
    found = _states(connection, "where control_id = %s", [control_id])
    if not found:
        raise ControlRefused("UNKNOWN_CONTROL", f"there is no control {control_id}")
    return found[0]


def held(connection: Connection, at: datetime | None = None) -> Hold | None:
    """The hold in force at a moment (None: now, every decision so far counts), or None."""
    with connection.cursor(row_factory=class_row(Hold)) as cursor:
        when = "infinity" if at is None else at
        return cursor.execute("select * from ops.hold_at(%s::timestamptz)", [when]).fetchone()


def _checked(control: Control) -> Kind:
    """The control's kind when its shape and reason are right."""
    try:
        kind = Kind(control.kind)
    except ValueError:
        raise ControlRefused("UNKNOWN_KIND", f"{control.kind!r} is not a control: there are {', '.join(Kind)}") from None
    if kind in (Kind.HOLD, Kind.RESUME) and control.platform_id is not None:
        raise ControlRefused(
            "SHAPE", f"a {kind} is for the whole night, which does all platforms together: leave {control.platform_id} out"
        )
    for name in ("platform_id", "business_date", "sender_id", "file_kind"):
        is_given, is_wanted = getattr(control, name) is not None, name in _NAMES[kind]
        if is_given != is_wanted:
            raise ControlRefused("SHAPE", f"a {kind} control {'needs' if is_wanted else 'takes no'} {name}")
    if not control.reason.strip():
        raise ControlRefused("REASON", "a control needs a reason")
    if len(control.reason.strip()) > TEXT_LENGTH_MAX:
        raise ControlRefused("REASON", f"the reason has {len(control.reason.strip())} characters, {TEXT_LENGTH_MAX} are allowed")
    return kind


def _states(connection: Connection, words: str, values: list[Any]) -> list[ControlState]:
    with connection.cursor(row_factory=class_row(ControlState)) as cursor:
        query = f"select {_COLUMNS} from ops.control_state {words}"
        return cursor.execute(query.encode(), values).fetchall()


@contextmanager
def _refusals() -> Iterator[None]:
    """What the database refuses, as ControlRefused with its code and sentence."""
    try:
        yield
    except psycopg.DatabaseError as error:
        if error.sqlstate == "FW422":
            raise ControlRefused(error.diag.message_detail or "REFUSED", error.diag.message_primary or str(error)) from None
        if isinstance(error, psycopg.errors.CheckViolation | psycopg.DataError):
            raise ControlRefused("SHAPE", f"not a control: {error.diag.message_primary}") from None
        raise
