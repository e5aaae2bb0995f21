"""Runs: which dates a night does, its watermark, and its rows in PostgreSQL (architecture section 4)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import TupleRow, dict_row

from domain.errors import BadInput, Failed, ServiceMissing
from fundwatch.settings import Settings
from lake import calendars, operators
from lake.day_close import close_days
from lake.manifest import versions
from lake.postgres import connection
from lake.publication import Publication, publish
from lake.steps import Run

__all__ = ["Held", "Publication", "Run", "get", "listed", "open_run", "publish", "record_step", "show", "step_states"]

SEALER_SECONDS = 120.0
_POLL_SECONDS = 0.2
# packs that count on a date of the run, as far as was known: of a platform the highest version that is valid
_PACKS = """
with known as (
  select * from night.platform where recorded_at <= coalesce(%(known)s::timestamptz, 'infinity') and valid_from <= %(to)s)
select distinct p.pack_id from known p
 where not exists (select from known q where q.platform_id = p.platform_id and q.version > p.version
                   and q.valid_from <= greatest(p.valid_from, %(first)s))"""
_COLUMNS = "run_id, first_date, last_date, platform_id, known_as_of, ledger_no_to, packs, code_version, state"
_Database = psycopg.Connection[TupleRow]


class Held(Failed):
    """The night is held by operators: no run is opened until they resume it. The message says by whom, since when and why."""


@dataclass(frozen=True)
class _Asked:
    """What a night was asked for: dates up to `to`, perhaps from a date, of one platform, as known at a moment."""

    to: date
    from_date: date | None
    platform_id: str | None
    known_as_of: datetime | None


def open_run(
    settings: Settings,
    to: date,
    from_date: date | None = None,
    platform_id: str | None = None,
    known_as_of: datetime | None = None,
    resume: bool = False,
    on_abandon: Callable[[int], None] = lambda run_id: None,
) -> Run | None:
    """Open a run over every date up to `to` that is not published yet, or from `from_date` as a new version.

    None when there is nothing to do. With `known_as_of` and no `from_date` the run begins with the first date there is, so
    that it depends on nothing published later. Waits until the sealer has passed the close of `to`. Older OPEN runs are
    abandoned and named to `on_abandon`; with `resume` one over exactly these dates goes on instead.

    The bank's calendar as it is in force (as known then) becomes an input of the run.

    Closes the book days up to `to` that are still open: what a night has read does not change under it. Failed: one of them does
    not balance. BadInput: a date that is not over, not there, after a gap, or not in the bank's calendar. ServiceMissing: no
    database, or the sealer is late. Held: operators hold the night (a run with `known_as_of` publishes nothing and is not held).
    """
    asked = _Asked(to, from_date, platform_id, known_as_of)
    with connection(settings, autocommit=True) as database:
        _not_held(database, asked, until_commit=False)
        _closed(database, settings, to)
        first = _first_date(database, asked)
        if first is None:
            return None
        calendar = calendars.in_force(database, settings.calendar, known_as_of)
        calendar.must_cover(first, to)
        ledger_no_to = _watermark(database, settings, asked)
        if known_as_of is None:
            close_days(database, settings, to, "nightly")
        with database.transaction():
            database.execute("lock table run.run in share row exclusive mode")
            _not_held(database, asked, until_commit=True)
            for run in _runs(database, "state = 'OPEN' order by run_id"):
                same = (run.first_date, run.last_date, run.platform_id, run.known_as_of) == (first, to, platform_id, known_as_of)
                if resume and same and run.code_version == _code_version():
                    return run
                database.execute(
                    "update run.run set state = 'ABANDONED', closed_at = ledger.clock_now() where run_id = %s", [run.run_id]
                )
                on_abandon(run.run_id)
            opened = _insert(database, asked, first, ledger_no_to)
            calendars.keep(database, opened.run_id, calendar)
            return opened


def get(settings: Settings, run_id: int) -> Run:
    """The run with an id; BadInput when there is none."""
    with connection(settings) as database:
        found = _runs(database, "run_id = %s", [run_id])
    if not found:
        raise BadInput(f"there is no run {run_id}")
    return found[0]


def listed(settings: Settings, limit: int = 50) -> list[dict[str, Any]]:
    """The newest runs, newest first, as plain data."""
    with connection(settings) as database, database.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from run.run order by run_id desc limit %s", [limit]).fetchall()


def show(settings: Settings, run_id: int | None = None) -> dict[str, Any]:
    """A run with its steps and what it published; without an id the latest published run. BadInput when there is none."""
    with connection(settings) as database, database.cursor(row_factory=dict_row) as cursor:
        chosen = "run_id = %(id)s" if run_id is not None else "state = 'PUBLISHED' order by run_id desc limit 1"
        run = cursor.execute(f"select * from run.run where {chosen}", {"id": run_id}).fetchone()
        if run is None:
            raise BadInput("nothing is published yet" if run_id is None else f"there is no run {run_id}")
        key = [run["run_id"]]
        steps = "select step, state, rows_in, rows_out, seconds, detail from run.step where run_id = %s"
        published = """select business_date, platform_id, version, state, reason, published_at from run.published
                       where run_id = %s order by business_date, platform_id"""
        return {**run, "steps": cursor.execute(steps, key).fetchall(), "published": cursor.execute(published, key).fetchall()}


def record_step(
    settings: Settings,
    run_id: int,
    step: str,
    state: str,
    rows_in: int | None = None,
    rows_out: int | None = None,
    seconds: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Put down the state of a step of a run (RUNNING, DONE, FAILED); a later state replaces the earlier one."""
    with connection(settings) as database:
        database.execute(
            """insert into run.step (run_id, step, state, rows_in, rows_out, seconds, detail) values (%s, %s, %s, %s, %s, %s, %s)
               on conflict (run_id, step) do update set state = excluded.state, rows_in = excluded.rows_in,
               rows_out = excluded.rows_out, seconds = excluded.seconds, detail = excluded.detail""",
            [run_id, step, state, rows_in, rows_out, seconds, json.dumps(detail or {}, default=str)],
        )


def step_states(settings: Settings, run_id: int) -> dict[str, str]:
    """State by step of a run."""
    with connection(settings) as database:
        return dict(database.execute("select step, state from run.step where run_id = %s", [run_id]).fetchall())


def close_of(settings: Settings, day: date) -> datetime:
    """The moment at which a business date closes: its cut-off in the bank's zone."""
    return datetime.combine(day, settings.cutoff, settings.zone)


def _not_held(database: _Database, asked: _Asked, until_commit: bool) -> None:
    why = None if asked.known_as_of else operators.hold(database, until_commit)
    if why:
        raise Held(why)


def _closed(database: _Database, settings: Settings, to: date) -> None:
    now = _one(database, "select ledger.clock_now()")
    if now < close_of(settings, to):
        raise BadInput(f"business date {to} is not closed yet: it closes at {close_of(settings, to)}, the clock says {now}")


def _first_date(database: _Database, asked: _Asked) -> date | None:
    """The first date to do; None when every date is published."""
    values = {"to": asked.to, "platform_id": asked.platform_id, "known": asked.known_as_of}
    platforms = """from night.platform p where (%(platform_id)s::text is null or p.platform_id = %(platform_id)s)
                   and p.recorded_at <= coalesce(%(known)s::timestamptz, 'infinity')"""
    earliest = _one(database, f"select min(p.onboarded_on) {platforms}", values)
    if earliest is None:
        raise BadInput(f"there is no platform {asked.platform_id}" if asked.platform_id else "no platform is registered yet")
    if asked.to < earliest:
        raise BadInput(f"{asked.to} lies before {earliest}, the first business date there is")
    open_date = _one(
        database,
        f"""select min(d)::date from (select p.platform_id, min(p.onboarded_on) as since {platforms} group by p.platform_id) p
            cross join lateral generate_series(p.since::timestamp, %(to)s::timestamp, interval '1 day') d
            where not exists (select from run.published q where q.business_date = d::date and q.platform_id = p.platform_id
                              and q.published_at <= coalesce(%(known)s::timestamptz, 'infinity'))""",
        values,
    )
    if asked.from_date is None:
        return earliest if asked.known_as_of else open_date
    if not earliest <= asked.from_date <= asked.to:
        raise BadInput(f"--from {asked.from_date} must lie between {earliest}, the first business date there is, and {asked.to}")
    if open_date is not None and open_date < asked.from_date:
        known = f" by {asked.known_as_of}" if asked.known_as_of else ""
        raise BadInput(
            f"{open_date} was not published{known}, so a run cannot start at {asked.from_date}: start at {open_date} or before"
        )
    return asked.from_date


def _watermark(database: _Database, settings: Settings, asked: _Asked) -> int:
    """The last `ledger_no` the run may read, once the sealer has passed the close of its last date."""
    deadline = time.monotonic() + SEALER_SECONDS
    while True:
        row = database.execute("select ledger_no_to, sealed_through from ledger.seal_state()").fetchone()
        ledger_no_to, sealed_through = row or (0, None)
        if sealed_through is not None and sealed_through >= close_of(settings, asked.to):
            break
        if time.monotonic() > deadline:
            raise ServiceMissing(
                f"the sealer has not passed the close of {asked.to} after {SEALER_SECONDS:.0f} s: is the API running? "
                f"(sealed through {sealed_through})"
            )
        time.sleep(_POLL_SECONDS)
    if asked.known_as_of is None:
        return int(ledger_no_to)
    later = _one(database, "select min(ledger_no) from night.movement where recorded_at > %s", [asked.known_as_of])
    return int(ledger_no_to) if later is None else min(int(ledger_no_to), int(later) - 1)


def _insert(database: _Database, asked: _Asked, first: date, ledger_no_to: int) -> Run:
    values = {"first": first, "to": asked.to, "known": asked.known_as_of}
    packs = {pack_id: _pack_hash(pack_id) for (pack_id,) in database.execute(_PACKS, values).fetchall()}
    row = database.execute(
        f"""insert into run.run
                (first_date, last_date, platform_id, known_as_of, ledger_no_to, packs, code_version, state, opened_at)
            values (%s, %s, %s, %s, %s, %s, %s, 'OPEN', ledger.clock_now()) returning {_COLUMNS}""",
        [first, asked.to, asked.platform_id, asked.known_as_of, ledger_no_to, json.dumps(packs), _code_version()],
    ).fetchone()
    assert row is not None
    return Run(*row)


def _runs(database: _Database, where: str, values: list[Any] | None = None) -> list[Run]:
    return [Run(*row) for row in database.execute(f"select {_COLUMNS} from run.run where {where}", values).fetchall()]


def _pack_hash(pack_id: str) -> str:
    path = resources.files("domain") / "packs" / f"{pack_id}.toml"
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such pack"


def _code_version() -> str:
    return versions()["fundwatch"]


def _one(database: _Database, query: str, values: Any = None) -> Any:
    row = database.execute(query, values).fetchone()
    return row[0] if row else None


def dates(run: Run) -> list[date]:
    """The business dates of a run, in order."""
    return [run.first_date + timedelta(days=number) for number in range((run.last_date - run.first_date).days + 1)]
