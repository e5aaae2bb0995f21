"""What the watchdog looks at: PostgreSQL, the landing folder, our processes, the scheduler's heartbeat. No Spark, no Airflow."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from domain.errors import FundwatchError
from fundwatch import waiting
from fundwatch.services import airflow, home, local, process
from fundwatch.settings import Settings
from fundwatch.watch.judgement import Incomplete, Judgement, Late, Seen, closed_date, due_date, judge, unknown
from lake import operators
from lake.postgres import connection

CALL_S = 5.0
STATEMENT_TIMEOUT_MS = 20_000
_PLATFORMS = """
select p.platform_id, max(q.business_date) from night.platform p left join run.published q using (platform_id)
 where p.onboarded_on <= %(due)s group by p.platform_id order by p.platform_id"""
_LATE = """
select p.platform_id, min(d)::date, count(*)
  from (select platform_id, min(onboarded_on) as since from night.platform group by platform_id) p
 cross join lateral generate_series(p.since::timestamp, %(due)s::timestamp, interval '1 day') d
 where not exists (select from run.published q where q.business_date = d::date and q.platform_id = p.platform_id)
 group by p.platform_id order by p.platform_id"""
_INCOMPLETE = """
select platform_id, business_date, string_agg(distinct reason, '; ') from run.published where business_date = %(due)s
 group by platform_id, business_date having bool_and(state = 'INCOMPLETE') order by platform_id"""
_LAST_RUN = """
select run_id, state, first_date, last_date, platform_id, opened_at, closed_at,
       (select string_agg(step || ': ' || coalesce(detail ->> 'error', ''), '; ') from run.step s
         where s.run_id = r.run_id and s.state = 'FAILED') as failed
  from run.run r order by run_id desc limit 1"""


def look(settings: Settings) -> Judgement:
    """Look once; whatever does not answer, there is a judgement: `unknown` when PostgreSQL is what does not."""
    dead = dead_services(settings)
    try:
        seen = _seen(settings)
    except (FundwatchError, psycopg.Error, OSError) as error:
        return unknown(str(error).strip().partition("\n")[0], dead)
    return judge(seen, dead, scheduler_beat_age_s(settings))


def dead_services(settings: Settings) -> list[str]:
    """Services that were started here and ended by themselves."""
    return [state.service for state in local.status(settings) if state.state == "dead"]


def scheduler_beat_age_s(settings: Settings) -> float | None:
    """Seconds since the scheduler's last heartbeat, by Airflow's own health page; None where it cannot be asked."""
    if process.recorded(settings, airflow.API_SERVER.NAME) is None:
        return None
    asked = http.client.HTTPConnection(process.HOST, home.port(settings, "airflow"), timeout=CALL_S)
    try:
        asked.request("GET", airflow.HEALTH)
        beat = json.loads(asked.getresponse().read())["scheduler"]["latest_scheduler_heartbeat"]
        return round((datetime.now(UTC) - datetime.fromisoformat(beat)).total_seconds(), 1)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        asked.close()


def _seen(settings: Settings) -> Seen:
    with connection(settings, autocommit=True) as database:
        database.execute(f"set statement_timeout = {STATEMENT_TIMEOUT_MS}".encode())
        now = _now(database)
        due = due_date(settings, now)
        values = {"due": due}
        platforms: dict[str, date | None] = dict(database.execute(_PLATFORMS, values).fetchall())
        late = [Late(*row) for row in database.execute(_LATE, values).fetchall()]
        incomplete = [Incomplete(*row) for row in database.execute(_INCOMPLETE, values).fetchall()]
        with database.cursor(row_factory=dict_row) as cursor:
            last_run = cursor.execute(_LAST_RUN).fetchone()
        held = operators.hold(database)
    missing = waiting.probe(settings, closed_date(settings, now))["missing_count"] if platforms else None
    published_to = {platform_id: day for platform_id, day in platforms.items() if day is not None}
    return Seen(now, due, published_to, late, incomplete, held, last_run, missing)


def _now(database: psycopg.Connection[Any]) -> datetime:
    row = database.execute("select ledger.clock_now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
