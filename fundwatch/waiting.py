"""Which files the next night waits for: a probe without Spark, cheap enough to be asked every minute (spec 07, R9).

It looks at names and times in the landing folder and at the manifests; whether a file is any good is for step `land` to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import psycopg

from domain.errors import BadInput
from domain.vocabulary import ADVISORY_KINDS
from fundwatch import deadlines
from fundwatch.settings import Settings
from ingest.landing import Landing, Registry, possible, scan
from ingest.records import Expected
from lake import operators, registry
from lake.postgres import connection

LISTED_MAX = 200
_Lacks = tuple[Expected, str]
_Waits = tuple[Expected, str, datetime]
_UNPUBLISHED = """
select p.platform_id, d::date from (select platform_id, min(onboarded_on) as since from night.platform group by platform_id) p
 cross join lateral generate_series(p.since::timestamp, %(to)s::timestamp, interval '1 day') d
 where not exists (select from run.published q where q.business_date = d::date and q.platform_id = p.platform_id)"""

# the bureau sends nothing about most platforms: who sent before is waited for (as ingest.control.judge expects it)
INFORMING = """
select distinct file.sender_id, file.platform_id from (
    select platform_id, max(business_date) as business_date from run.published group by platform_id) newest
 cross join lateral (select run_id from run.published p where p.platform_id = newest.platform_id
                     and p.business_date = newest.business_date order by version desc limit 1) version
  join mart.file_control file on file.run_id = version.run_id and file.business_date = newest.business_date
       and file.platform_id = newest.platform_id
 where file.file_kind = any(%(kinds)s) and coalesce(file.reason_code, '') <> 'UNEXPECTED'"""


def probe(settings: Settings, to: date) -> dict[str, Any]:
    """State of the expected files of every date up to `to` that is not published, by the service's clock.

    Each file is waited for until its own deadline (`fundwatch.deadlines`); `deadline` is the last one of those that lack.

    ``{"ready", "reason", "missing": […], "missing_count", "advisory_missing": […], "dates": […], "deadline", "deadline_passed",
    "held"}``. Ready: nothing that a date needs is missing, files that only inform have come or the deadline has passed, and
    nobody holds the night. Not waited for: files that an approved control goes on without, and files of earlier dates whose own
    deadline has passed. Lists name at most 200 files.

    BadInput: no platform is registered. ServiceMissing: no database.
    """
    with connection(settings, autocommit=True) as database:
        now = _now(database)
        hold = operators.hold(database)
        unpublished = set(database.execute(_UNPUBLISHED, {"to": to}).fetchall())
        known = Registry(registry.platforms(database), registry.payment_companies(database), settings.bank_id)
        informing = set(database.execute(INFORMING, {"kinds": list(ADVISORY_KINDS)}).fetchall())
        if not known.onboarded_on:
            raise BadInput("no platform is registered yet")
        dates = sorted({day for _, day in unpublished})
        waived = operators.waived_files(database, dates[0], dates[-1]) if dates else set()
        due = deadlines.read(settings, database, dates)
    lacking = [
        (expected, what, due.due_at(expected))
        for expected, what in _lacking(settings, known, dates, now, informing)
        if (expected.platform_id, expected.business_date) in unpublished
        and _key(expected) not in waived
        # an earlier date's file is waited for until its deadline: the night that closes a later one does not wait for it again
        and (expected.business_date == to or now < due.due_at(expected))
    ]
    return _told(settings, to, now, hold, dates, lacking)


def _told(
    settings: Settings, to: date, now: datetime, hold: str | None, dates: list[date], lacking: list[_Waits]
) -> dict[str, Any]:
    blocking = [lack for lack in lacking if lack[0].kind not in ADVISORY_KINDS]
    informing = [lack for lack in lacking if lack[0].kind in ADVISORY_KINDS]
    ends_at = max((due_at for *_, due_at in lacking), default=deadlines.usual(settings, to))
    is_late = now >= ends_at
    return {
        "to": to.isoformat(),
        "ready": not (blocking or (informing and not is_late) or hold),
        "reason": hold or _reason(to, dates, blocking, informing),
        "held": hold is not None,
        "missing": _listed(blocking),
        "missing_count": len(blocking),
        "advisory_missing": _listed(informing),
        "dates": [day.isoformat() for day in dates],
        "deadline": ends_at.isoformat(),
        "deadline_passed": is_late,
    }


def _reason(to: date, dates: list[date], blocking: list[_Waits], informing: list[_Waits]) -> str:
    if not dates:
        return f"every date up to {to} is published"
    if blocking:
        expected, what, _ = blocking[0]
        return f"{len(blocking)} files are missing, the first: {_named(expected)}: {what}"
    if informing:
        return f"{len(informing)} files that only inform are missing, the first: {_named(informing[0][0])}"
    return "every file that is waited for has come"


def _lacking(
    settings: Settings, known: Registry, dates: list[date], now: datetime, informing: set[tuple[str, str]]
) -> Iterable[_Lacks]:
    """Files that must come (by rule, or promised by a manifest) and lie there not at all, or without their manifest."""
    asked = possible(known, dates)
    landing = scan(settings.landing_dir, dates, now)
    arrived = {file.key for file in landing.files if file.key}
    for expected in sorted(asked):
        is_informing = expected.kind in ADVISORY_KINDS and (expected.sender_id, expected.platform_id) in informing
        if not (asked[expected] or is_informing or _promised(landing, expected)):
            continue
        if expected not in arrived:
            yield expected, "the file did not come"
        elif (expected.business_date, expected.sender_id) not in landing.manifests:
            yield expected, f"the manifest of {expected.sender_id} did not come"


def _promised(landing: Landing, expected: Expected) -> bool:
    manifest = landing.manifests.get((expected.business_date, expected.sender_id))
    return manifest is not None and expected.file_name in manifest.promises


def _key(expected: Expected) -> tuple[date, str, str, str]:
    return expected.business_date, expected.sender_id, expected.platform_id, expected.kind


def _named(expected: Expected) -> str:
    return f"{expected.business_date}/{expected.sender_id}/{expected.file_name}"


def _listed(lacking: list[_Waits]) -> list[str]:
    return [f"{_named(expected)}: {what}" for expected, what, _ in lacking[:LISTED_MAX]]


def _now(database: psycopg.Connection[Any]) -> datetime:
    row = database.execute("select ledger.clock_now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
