"""Plan, delete, verify, certify: the whole of `fundwatch retention apply`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from domain.errors import Failed
from fundwatch import night
from fundwatch.retention import deliveries, folders, logins, marts
from fundwatch.retention import lake as lake_parts
from fundwatch.retention.plan import Deletion, Plan, Site, certify, read_plan, write_plan
from fundwatch.retention.policy import Policy, policies
from fundwatch.settings import Settings
from lake.lock import exclusive
from lake.manifest import versions
from lake.postgres import connection

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELETIONS: Mapping[str, Deletion] = {
    "abandoned_run_rows": lake_parts.AbandonedRuns(),
    "superseded_mart_rows": marts.SUPERSEDED,
    "past_position_rows": marts.PAST_POSITIONS,
    "lake_snapshots": lake_parts.Snapshots(),
    "lake_orphans": lake_parts.Orphans(),
    "logs": folders.Logs(),
    "quarantine": folders.Quarantine(),
    "outbound": folders.Outbound(),
    "settled_deliveries": deliveries.SettledDeliveries(),
    "past_sum_rows": marts.PAST_SUMS,
    "ended_sessions": logins.SESSIONS,
    "login_attempts": logins.ATTEMPTS,
}


def apply(
    settings: Settings,
    say: Callable[[str], None],
    dry_run: bool = False,
    table: Sequence[Policy] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Delete what the policies say has been kept for its time; no night runs meanwhile.

    ``{"certificate", "totals", "items"}``; with `dry_run` the plan only; ``{"skipped": true}`` when there is nothing. A plan that
    an earlier call did not finish is finished first, as it was made: nothing else is deleted in that call.
    Failed when something is still there after it was deleted, or the plan names what may not be deleted.
    """
    rules = policies() if table is None else table
    unknown = sorted({policy.name for policy in rules} - set(DELETIONS))
    if unknown:
        raise Failed(f"nobody knows how to delete {', '.join(unknown)}")
    with exclusive(settings), _site(settings, now) as site:
        plan = read_plan(settings)
        is_unfinished = plan is not None
        if plan is None:
            plan = _planned(site, rules, say)
        told = {"totals": plan.totals(), "items": [item.what for item in plan.items], "made_at": plan.made_at.isoformat()}
        if dry_run:
            return {"dry_run": True, "unfinished": is_unfinished, **told}
        if not plan.items and not is_unfinished:
            return {"skipped": True, "reason": "nothing has been kept for longer than its time"}
        write_plan(settings, plan)
        _carry_out(site, plan, say)
        certificate = certify(settings, plan, versions()["fundwatch"], datetime.now(UTC))
    return {"certificate": str(certificate), "was_unfinished": is_unfinished, **told}


def _planned(site: Site, rules: Sequence[Policy], say: Callable[[str], None]) -> Plan:
    items = []
    for policy in rules:
        found = DELETIONS[policy.name].plan(site, policy)
        say(f"{policy.name}: {len(found)} to delete, kept for {policy.days} days")
        items += found
    return Plan(site.now, site.service_now, rules, items)


def _carry_out(site: Site, plan: Plan, say: Callable[[str], None]) -> None:
    for policy in plan.policies:
        items = plan.of(policy.name)
        if not items:
            continue
        deletion = DELETIONS[policy.name]
        deletion.delete(site, items)
        left = deletion.left(site, items)
        if left:
            raise Failed(f"{policy.name}: still there after it was deleted: {', '.join(left[:5])}")
        say(f"{policy.name}: {len(items)} deleted")


@contextmanager
def _site(settings: Settings, now: datetime | None) -> Iterator[Site]:
    """Where retention works, with a Spark session that starts when it is asked for and stops at the end."""
    with connection(settings) as database:
        row = database.execute("select ledger.clock_now()").fetchone()
    assert row is not None
    with ExitStack() as stack:
        sessions: list[SparkSession] = []

        def spark() -> SparkSession:
            if not sessions:
                sessions.append(stack.enter_context(night.spark_session(settings, "retention")))
            return sessions[0]

        moment = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
        yield Site(settings, moment, row[0], spark)
