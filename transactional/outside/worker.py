"""The delivery loop: expand the outbox, take what is due, make a try, write down what came of it.

At least once: a delivery is settled in its own transaction after the try, so a worker that dies in between leaves a lease that
runs out, and the next one tries again under the same message id. In order: only the first unsettled delivery of a subject is
taken (`outside.claim`), so any number of workers, in threads or processes, may run.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from domain.errors import ServiceMissing
from fundwatch.settings import Settings
from transactional.outside.core_banking import CoreBanking
from transactional.outside.mail import Mail
from transactional.outside.outreach import Outreach
from transactional.outside.reporting import Reporting
from transactional.outside.sms import Sms
from transactional.outside.verdict import Adapter, Dead, Delivered, Delivery, Retry, Target, Verdict, Wait

log = logging.getLogger(__name__)
EVENTS_MAX = 2_000
POLL_S = 0.2
# a lease outlasts the longest try: 60 s and what a bundle of many files needs
LEASE_S = 900
TRIES_MAX, RETRY_BASE_S, RETRY_CAP_S = 12, 2.0, 900.0


class Worker:
    """One worker with a connection of its own; `run` works until it is told to stop, `turn` once."""

    def __init__(self, settings: Settings, lease_s: int = LEASE_S) -> None:
        self._settings = settings
        self._lease_s = lease_s
        self._name = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"[:100]
        self._clock = datetime.now(UTC)
        now = lambda: self._clock  # noqa: E731
        self._adapters: Mapping[str, Adapter] = {
            "core-banking": CoreBanking(),
            "outreach": Outreach(),
            "sms": Sms(now, settings.zone),
            "email": Mail(now, settings.zone),
            "reporting": Reporting(settings.reports_dir),
        }

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a lost database is tried again."""
        while not stop.is_set():
            try:
                with psycopg.connect(self._settings.database_url("service"), autocommit=True, connect_timeout=10) as connection:
                    while not stop.is_set():
                        if not self.turn(connection):
                            stop.wait(POLL_S)
            except (psycopg.OperationalError, ServiceMissing) as error:
                log.warning("the database does not answer: %s", str(error).strip())
                stop.wait(1.0)

    def turn(self, connection: psycopg.Connection[TupleRow]) -> bool:
        """Expand some events and make one try; False when there was nothing to do."""
        taken = _value(connection, "SELECT outside.fan_out(%s, %s)", EVENTS_MAX, str(self._settings.zone))
        claimed = _value(connection, "SELECT outside.claim(%s)", self._lease_s)
        if claimed is None:
            return bool(taken)
        self._clock = _value(connection, "SELECT ledger.clock_now()")
        found = claimed["delivery"]
        delivery = Delivery(
            found["delivery_id"],
            found["event_id"],
            found["part"],
            found["topic"],
            found["platform_id"],
            found["subject"],
            found["payload"],
            datetime.fromisoformat(found["recorded_at"]),
        )
        verdict = self._try(delivery, claimed["target"])
        options = claimed["target"]["settings"]
        wait_s = _wait_s(
            verdict,
            found["tries"],
            float(options.get("retry_base_s", RETRY_BASE_S)),
            float(options.get("retry_cap_s", RETRY_CAP_S)),
        )
        _value(
            connection,
            "SELECT outside.settle(%s, %s::uuid, %s, %s, %s, %s, %s)",
            *(delivery.delivery_id, found["lease"], self._name, _OUTCOME[type(verdict)], _reason(verdict), wait_s),
            int(options.get("tries_max", TRIES_MAX)),
        )
        return True

    def _try(self, delivery: Delivery, row: Mapping[str, Any]) -> Verdict:
        try:
            secrets = [self._settings.secret(name) for name in row["secret_names"]]
            target = Target(row["target"], row["adapter"], row["endpoint"], secrets, row["settings"])
            return self._adapters[target.adapter].deliver(delivery, target)
        except ServiceMissing:
            return Retry(f"a secret of target {row['target']} is missing")
        except Exception as error:
            # a fault of ours must not stop the other subjects; it is told with the delivery and in the log
            log.exception("delivery %s", delivery.delivery_id)
            return Retry(f"{type(error).__name__} in our adapter")


_OUTCOME = {Delivered: "DELIVERED", Retry: "RETRY", Wait: "WAIT", Dead: "DEAD"}


def _reason(verdict: Verdict) -> str:
    return verdict.note if isinstance(verdict, Delivered) else verdict.reason


def _wait_s(verdict: Verdict, tries: int, base_s: float, cap_s: float) -> float:
    """Seconds until the next try: doubling from `base_s` up to `cap_s`, its upper half left to chance, never before asked."""
    if isinstance(verdict, Wait):
        return verdict.after_s
    if isinstance(verdict, Retry):
        doubled = min(cap_s, base_s * 2.0 ** min(tries, 40))
        return max(random.uniform(doubled / 2, doubled), verdict.after_s or 0.0)
    return 0.0


def _value(connection: psycopg.Connection[TupleRow], query: str, *values: Any) -> Any:
    """The one value of a query, in a transaction of its own."""
    row = connection.execute(query.encode(), values).fetchone()
    return row[0] if row else None


def health(connection: psycopg.Connection[TupleRow]) -> list[dict[str, Any]]:
    """Each target with what waits: `pending`, `dead`, and the age of the oldest undelivered in seconds."""
    row = connection.execute("SELECT coalesce(json_agg(h ORDER BY h.target), '[]')::text FROM outside.health h").fetchone()
    return list(json.loads(row[0])) if row else []
