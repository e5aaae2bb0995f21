"""`fundwatch files expected`: each file of a business date with its deadline and what became of it (spec 07 section 7.6, R9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from psycopg.rows import dict_row

from domain.errors import BadInput
from domain.vocabulary import ADVISORY_KINDS
from fundwatch import deadlines
from fundwatch.settings import Settings
from fundwatch.waiting import INFORMING
from ingest.landing import Landing, Registry, possible, scan
from ingest.manifest import FILE_NAME
from ingest.records import Arrived, Expected
from lake import operators, registry
from lake.postgres import connection

STATES = ("DUE", "ARRIVED", "LATE", "ACCEPTED", "REFUSED", "MISSING", "WAIVED")
_VERDICTS = """
select platform_id, sender_id, file_kind, file_name, state, reason_code, reason, received_at from mart.current_file_control
 where business_date = %s"""


def expected(settings: Settings, day: date) -> dict[str, Any]:
    """Every file expected for a business date, by the service's clock.

    ``{"business_date", "now", "files": [{sender_id, platform_id, file_kind, file_name, state, due_at, arrived_at, manifest_at,
    is_late, is_advisory, reason}], "counts": {state: number}}``. States: DUE (not come, in time), ARRIVED (come in time, not
    judged yet), LATE (come after its deadline, not judged yet), ACCEPTED and REFUSED (by the newest published run), MISSING (its
    deadline has passed), WAIVED (operators go on without it).

    BadInput: no platform is registered, or the calendar does not know the date.
    """
    with connection(settings, autocommit=True) as database:
        known = Registry(registry.platforms(database), registry.payment_companies(database), settings.bank_id, settings.bureau_id)
        if not known.onboarded_on:
            raise BadInput("no platform is registered yet")
        clock = database.execute("select ledger.clock_now()").fetchone()
        assert clock is not None
        now: datetime = clock[0]
        due = deadlines.read(settings, database, [day])
        judged = database.cursor(row_factory=dict_row).execute(_VERDICTS, [day]).fetchall()
        waived = operators.waived_files(database, day, day)
        informing = set(database.execute(INFORMING, {"kinds": list(ADVISORY_KINDS)}).fetchall())
    # a copy under another name is not the file that is expected
    verdicts = {file: row for row in judged if (file := _key(row, day)).file_name == row["file_name"]}
    landing = scan(settings.landing_dir, [day], now)
    arrived = {file.key: file for file in landing.files if file.key}
    may_come = possible(known, [day])
    asked = {
        file
        for file, must in may_come.items()
        if must
        or file in arrived
        or file in verdicts
        or _is_promised(landing, file)
        or (file.kind in ADVISORY_KINDS and (file.sender_id, file.platform_id) in informing)
    }
    files = [
        _row(
            file,
            due.due_at(file),
            arrived.get(file),
            verdicts.get(file),
            _waiver_key(file) in waived,
            now,
        )
        for file in sorted(asked)
    ]
    came = _manifests(settings, day, now)
    for row in files:
        row["manifest_at"] = came.get(row["sender_id"])
    counts = {state: sum(row["state"] == state for row in files) for state in STATES}
    return {"business_date": day.isoformat(), "now": now.isoformat(), "files": files, "counts": counts}


def _row(
    file: Expected, due_at: datetime, arrived: Arrived | None, verdict: Mapping[str, Any] | None, is_waived: bool, now: datetime
) -> dict[str, Any]:
    # a file that came after the run that judged the date waits for the next one
    is_judged = verdict is not None and (arrived is None or verdict["received_at"] == arrived.received_at)
    arrived_at = arrived.received_at if arrived else verdict["received_at"] if verdict else None
    is_late = arrived_at > due_at if arrived_at else now > due_at
    if is_judged and verdict is not None and verdict["state"] in ("ACCEPTED", "REFUSED"):
        state = verdict["state"]
    elif arrived is not None:
        state = "LATE" if is_late else "ARRIVED"
    else:
        state = "MISSING" if is_late else "DUE"
    if is_waived and state != "ACCEPTED":
        state = "WAIVED"
    return {
        "sender_id": file.sender_id,
        "platform_id": file.platform_id,
        "file_kind": file.kind,
        "file_name": file.file_name,
        "state": state,
        "due_at": due_at.isoformat(),
        "arrived_at": arrived_at.isoformat() if arrived_at else None,
        "is_late": is_late,
        "is_advisory": file.kind in ADVISORY_KINDS,
        "reason": verdict["reason"] if is_judged and verdict is not None else None,
    }


def _manifests(settings: Settings, day: date, now: datetime) -> dict[str, str]:
    """When each sender's manifest came."""
    came = {}
    for path in sorted((settings.landing_dir / day.isoformat()).glob(f"*/{FILE_NAME}")):
        at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if at <= now:
            came[path.parent.name] = at.isoformat()
    return came


def _is_promised(landing: Landing, file: Expected) -> bool:
    manifest = landing.manifests.get((file.business_date, file.sender_id))
    return manifest is not None and file.file_name in manifest.promises


def _key(row: Mapping[str, Any], day: date) -> Expected:
    return Expected(day, row["sender_id"], row["platform_id"], row["file_kind"])


def _waiver_key(file: Expected) -> tuple[date, str, str, str]:
    return file.business_date, file.sender_id, file.platform_id, file.kind
