"""Publish: a run becomes the version that counts, in one transaction of PostgreSQL (architecture section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import TupleRow, dict_row

from domain.errors import BadInput, Failed
from fundwatch.settings import Settings
from lake import calendars, marts, operators, reader
from lake.completeness import file_states
from lake.manifest import manifest, write_manifest
from lake.postgres import connection
from lake.steps import Run

_Database = psycopg.Connection[TupleRow]

_STATES = f"""
with missing as (
  select business_date, platform_id, sender_id, file_kind, reason as why
    from ({file_states("(select * from mart.file_control where run_id = %(run_id)s) of_run")}) file_state
   where is_accepted = 0),
scope as (
  select p.platform_id, d::date as business_date
    from (select platform_id, min(onboarded_on) as since from night.platform
           where recorded_at <= coalesce(%(known_as_of)s::timestamptz, 'infinity') group by platform_id) p
   cross join lateral generate_series(greatest(p.since, %(first)s)::timestamp, %(last)s::timestamp, interval '1 day') d
   where %(platform_id)s::text is null or p.platform_id = %(platform_id)s)
select s.business_date, s.platform_id,
       case when count(m.file_kind) > 0 then string_agg(m.sender_id || '.' || m.file_kind || ': ' || m.why, '; '
                                                        order by m.sender_id, m.file_kind)
            when not exists (select from mart.file_control c where c.run_id = %(run_id)s and c.business_date = s.business_date
                             and c.platform_id = s.platform_id) then 'no file control ran' end as reason
  from scope s left join missing m using (business_date, platform_id)
 group by s.business_date, s.platform_id order by 1, 2
"""
_PUBLISHED = """
insert into run.published (business_date, platform_id, version, run_id, state, reason, published_at)
select %(date)s, %(platform)s, 1 + coalesce(max(version), 0), %(run_id)s, %(state)s, %(reason)s, ledger.clock_now()
  from run.published where business_date = %(date)s and platform_id = %(platform)s
"""


@dataclass(frozen=True)
class Publication:
    """What publishing did: `skipped` when the run was published before, rows per mart, dates incomplete."""

    run_id: int
    state: str
    skipped: bool
    marts: Mapping[str, int] = field(default_factory=dict)
    complete: int = 0
    incomplete: Sequence[str] = ()
    manifest: Path | None = None


def publish(settings: Settings, run: Run, steps: Sequence[str] = ()) -> Publication:
    """Make `run` the version that counts: marts, `run.published`, state and manifest hash, all in one transaction.

    `steps` are those that must have ended well. A run with `known_as_of` ends AS_KNOWN and enters no version. Publishing
    twice is skipped. BadInput: the run was abandoned. Failed: operators hold the night (the run stays OPEN), a step is missing,
    a newer run holds one of its dates, or the lake does not hold what the steps recorded.
    """
    with connection(settings) as database:
        row = database.execute("select state from run.run where run_id = %s for update", [run.run_id]).fetchone()
        if row is None or row[0] == "ABANDONED":
            raise BadInput(f"run {run.run_id} " + ("was abandoned: open a new one" if row else "does not exist"))
        if row[0] != "OPEN":
            return Publication(run.run_id, row[0], skipped=True)
        _not_held(database, run, until_commit=False)
        database.execute("lock table run.published in share row exclusive mode")
        tables = _recorded(database, run, steps)
        _not_stale(database, run)
        copied = {name: marts.fill(database, settings, name, run.run_id) for name in marts.EVERY_DATE}
        states = date_states(database, run)
        last_dates = {platform_id: day for day, platform_id, reason in states if reason is None}
        copied |= {name: marts.fill(database, settings, name, run.run_id, last_dates) for name in marts.LAST_DATE_ONLY}
        found = reader.row_counts(settings, run.run_id)
        with database.cursor(row_factory=dict_row) as cursor:
            files = cursor.execute("select * from mart.file_control where run_id = %s", [run.run_id]).fetchall()
        path, digest = write_manifest(settings, run.run_id, _manifest(database, run, tables, files, found))
        state = "AS_KNOWN" if run.known_as_of else "PUBLISHED"
        if state == "PUBLISHED":
            _insert_versions(database, run, states)
        # again, since copying takes a while: a hold is approved before this line or after the commit
        _not_held(database, run, until_commit=True)
        database.execute(
            "update run.run set state = %s, closed_at = ledger.clock_now(), manifest_sha256 = %s where run_id = %s",
            [state, digest, run.run_id],
        )
    incomplete = [f"{day} {platform_id}: {reason}" for day, platform_id, reason in states if reason]
    return Publication(run.run_id, state, False, copied, len(states) - len(incomplete), incomplete, path)


def _not_held(database: _Database, run: Run, until_commit: bool) -> None:
    why = None if run.known_as_of else operators.hold(database, until_commit)
    if why:
        raise Failed(f"run {run.run_id} is not published, it stays open until the night is resumed: {why}")


def _recorded(database: _Database, run: Run, steps: Sequence[str]) -> dict[str, Any]:
    """Table → date → rows and hash, as the steps of the run recorded it."""
    rows = database.execute("select step, state, detail from run.step where run_id = %s", [run.run_id]).fetchall()
    done = {step for step, state, _ in rows if state == "DONE"}
    missing = [step for step in steps if step not in done]
    if missing:
        raise Failed(f"run {run.run_id} cannot be published: {', '.join(missing)} did not end well")
    return {name: days for _, _, detail in rows for name, days in detail.get("content", {}).items()}


def _manifest(
    database: _Database, run: Run, tables: Mapping[str, Any], files: Sequence[Mapping[str, Any]], found: Mapping[str, int]
) -> dict[str, Any]:
    verified = _detail(database, run, "verify").get("ledger")
    return manifest(run, tables, files, found, _scores(database, run), verified, calendars.told(database, run.run_id))


def _detail(database: _Database, run: Run, step: str) -> dict[str, Any]:
    """What a step of the run told; empty when it did not run."""
    row = database.execute("select detail from run.step where run_id = %s and step = %s", [run.run_id, step]).fetchone()
    return (row[0] if row else None) or {}


def _scores(database: _Database, run: Run) -> dict[str, Any]:
    """What step `score` told, for the manifest; empty when it did not run."""
    return {key: value for key, value in _detail(database, run, "score").items() if key in ("models", "skipped", "refused")}


def _not_stale(database: _Database, run: Run) -> None:
    if run.known_as_of is not None:
        return
    newer = database.execute(
        """select business_date, platform_id, run_id from run.published
            where run_id > %s and business_date between %s and %s and (%s::text is null or platform_id = %s)
            order by 1, 2 limit 1""",
        [run.run_id, run.first_date, run.last_date, run.platform_id, run.platform_id],
    ).fetchone()
    if newer:
        raise Failed(f"run {run.run_id} is older than run {newer[2]}, which published {newer[0]} of {newer[1]}: open a new run")


def date_states(database: _Database, run: Run) -> list[tuple[Any, str, str | None]]:
    """Date, platform and why it is incomplete (None: it is complete) for everything in the run's scope."""
    values = {
        "run_id": run.run_id,
        "first": run.first_date,
        "last": run.last_date,
        "platform_id": run.platform_id,
        "known_as_of": run.known_as_of,
    }
    return [(row[0], row[1], row[2]) for row in database.execute(_STATES, values).fetchall()]


def _insert_versions(database: _Database, run: Run, states: Sequence[tuple[Any, str, str | None]]) -> None:
    for day, platform_id, reason in states:
        state = "INCOMPLETE" if reason else "COMPLETE"
        values = {"date": day, "platform": platform_id, "run_id": run.run_id, "state": state, "reason": reason}
        database.execute(_PUBLISHED, values)
