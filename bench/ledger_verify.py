"""Movements a second that `fundwatch ledger verify` checks: a ledger of MOVEMENTS rows, made by SQL and sealed by the sealer.

`python -m bench.ledger_verify [MOVEMENTS]` (two million unless told) makes a home of its own, loads, verifies in full, then since
the last anchor, writes bench/results/ledger_verify.json and removes the home: some three minutes and 3 GB of disk.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import psycopg

from bench import result
from bench.orders_over_http import cpu_seconds, own_postgres
from fundwatch.services import postgres, process
from fundwatch.settings import Settings
from transactional.verify import Verdict, verify
from transactional.verify_anchors import Anchors

MOVEMENTS, ACCOUNTS, LATER, BLOCKS_A_CALL = 2_000_000, 20_000, 20_000, 20
NAME = "ledger_verify"

_REGISTRY = """
INSERT INTO registry.platform (platform_id, name, legal_name, currency, pack_id, onboarded_on, recorded_at)
VALUES ('P01', 'One', 'One Ltd', 'CNY', 'CN_2017', '2026-01-01', ledger.clock_now());
INSERT INTO registry.payment_company (paycom_id, name, recorded_at) VALUES ('PC01', 'Pay', ledger.clock_now());
INSERT INTO registry.account (account_no, platform_id, account_role, is_control, currency, paycom_id, recorded_at)
SELECT 'P01-X-CHANNEL-PC01', 'P01', 'CHANNEL_RECEIVABLE', true, 'CNY', 'PC01', ledger.clock_now();
INSERT INTO registry.account (account_no, platform_id, account_role, is_control, currency, recorded_at)
SELECT 'P01-L-' || n, 'P01', 'INVESTOR', false, 'CNY', ledger.clock_now() FROM generate_series(1, {accounts}) n;
"""
# Order n recharges account n mod ACCOUNTS by 100: every figure of every table follows from n, so halves are made side by side.
_ROWS = """
CREATE TEMP TABLE made ON COMMIT DROP AS
SELECT n, (SELECT account_id FROM registry.account WHERE is_control) AS channel, a.account_id AS lender,
       (n - 1) / {accounts} + 1 AS turn, timestamptz '2026-01-02' + n * interval '1 ms' AS at
FROM generate_series({first}, {last}) n
JOIN (SELECT account_id, row_number() OVER (ORDER BY account_id) - 1 AS place FROM registry.account WHERE NOT is_control) a
  ON a.place = (n - 1) % {accounts};
INSERT INTO ledger.trade_order ({order_columns})
SELECT n, 'P01', 'R-' || n, 'RECHARGE', 'CNY', 100, at, at, (at AT TIME ZONE 'Asia/Shanghai')::date {order_values}
FROM made ORDER BY n;
INSERT INTO ledger.movement (movement_id, order_id, seq, movement_type, debit_account_id, credit_account_id, amount_minor,
  currency, effective_at, recorded_at, business_date)
SELECT n, n, 1, 'RECHARGE', channel, lender, 100, 'CNY', at, at, (at AT TIME ZONE 'Asia/Shanghai')::date FROM made ORDER BY n;
INSERT INTO ledger.entry (account_id, account_version, movement_id, amount_minor, balance_after_minor)
SELECT line.* FROM made, LATERAL (VALUES (channel, n, n, -100, -100 * n), (lender, turn, n, 100, 100 * turn)) line ORDER BY n;
"""
_TOTALS = """
UPDATE ledger.balance b SET credit_minor = 100 * a.turn, version = a.turn
FROM (SELECT account_id, ({last} - 1 - place) / {accounts} + 1 AS turn
      FROM (SELECT account_id, row_number() OVER (ORDER BY account_id) - 1 AS place FROM registry.account WHERE NOT is_control) p
      WHERE place < {last}) a WHERE b.account_id = a.account_id;
UPDATE ledger.balance SET debit_minor = 100::bigint * {last}, version = {last} WHERE is_control;
UPDATE ledger.clock SET now_at = greatest(now_at, timestamptz '2026-01-02' + {last} * interval '1 ms');
"""


def load(url: str, first: int, last: int) -> None:
    """Orders `first` to `last`, consistent with all invariants, sealed and analysed."""
    if first == 1:
        with psycopg.connect(url) as owner:
            owner.execute(_REGISTRY.format(accounts=ACCOUNTS).encode())
    middle = (first + last) // 2
    with ThreadPoolExecutor() as both:
        list(both.map(lambda part: _insert(url, *part), [(first, middle), (middle + 1, last)]))
    with psycopg.connect(url) as owner:
        owner.execute(_TOTALS.format(accounts=ACCOUNTS, last=last).encode())
    with psycopg.connect(url, autocommit=True) as owner:
        while (owner.execute("SELECT ledger.seal_pending(%s)", [BLOCKS_A_CALL]).fetchone() or (0,))[0]:
            pass
        owner.execute("VACUUM ANALYZE")


def _insert(url: str, first: int, last: int) -> None:
    columns = "order_id, platform_id, request_no, order_type, currency, amount_minor, effective_at, recorded_at, business_date"
    with psycopg.connect(url) as owner:
        owner.execute("SET work_mem = '256MB'")
        names = {
            row[0] for row in owner.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'ledger.trade_order'::regclass")
        }
        more = (", entered_by", ", 'key:*'") if "entered_by" in names else ("", "")
        words = _ROWS.format(accounts=ACCOUNTS, first=first, last=last, order_columns=columns + more[0], order_values=more[1])
        owner.execute(words.encode())


def _cpu_seconds(settings: Settings) -> float:
    """Of this process and of the server, with its children that live and those that have ended."""
    server = process.find(settings, postgres.NAME)
    assert server is not None
    ended = psutil.Process(server.pid).cpu_times()
    return time.process_time() + cpu_seconds(server.pid) + float(ended.children_user + ended.children_system)


def timed(settings: Settings, anchors: Anchors | None, since: int = 0) -> tuple[Verdict, dict[str, Any]]:
    """One verification with its wall time and the CPU of client and server, in seconds."""
    cpu, started = _cpu_seconds(settings), time.perf_counter()
    verdict = verify(settings.database_url("migrator"), anchors, since)
    seconds = time.perf_counter() - started
    used = _cpu_seconds(settings) - cpu
    return verdict, {"seconds": round(seconds, 2), "cpu_s": round(used, 2)}


def main(movements: int = MOVEMENTS) -> None:
    """Load, verify in full, keep an anchor, load a little more, verify since the anchor; write the figures."""
    with own_postgres() as settings:
        url = settings.database_url("migrator")
        started = time.perf_counter()
        load(url, 1, movements)
        loaded = time.perf_counter() - started
        anchors = Anchors(settings.home / "anchors")
        full, figures = timed(settings, None)
        started = time.perf_counter()
        anchors.keep(url)
        anchored = time.perf_counter() - started
        both, with_anchors = timed(settings, anchors)
        load(url, movements + 1, movements + LATER)
        later, since = timed(settings, anchors, since=both.blocks)
        written = {
            "what": "ledger verify over one movement an order: in full, against anchors, and since the last anchor",
            "movements": movements,
            "load_s": round(loaded, 1),
            "full": figures
            | {
                "movements_per_second": round(movements / figures["seconds"]),
                "cpu_us_a_movement": round(figures["cpu_s"] / movements * 1e6, 2),
            },
            "keep_anchor_s": round(anchored, 2),
            "full_with_anchors": with_anchors | {"movements_per_second": round(movements / with_anchors["seconds"])},
            "since_anchor": since | {"movements": LATER},
            "faults": len(full.faults) + len(both.faults) + len(later.faults),
        }
        print(result.write(NAME, written, settings).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
