"""The posting rate on a small ledger and on a large one: it must fall by less than a tenth.

`python -m bench.ledger_growth [MOVEMENTS]` (else FUNDWATCH_BENCH_MOVEMENTS, else two million) loads rows as the engine writes
them, with SQL and all indexes in place, a million at a time, seals them, and posts over HTTP in both homes. A million take some
45 seconds and 0.7 GB of disk: fifty million, forty minutes and 35 GB.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import psycopg

from bench import result
from bench.ledger_verify import ACCOUNTS, load
from bench.orders_over_http import ACCOUNTS as CLIENTS_ACCOUNTS
from bench.orders_over_http import own_postgres, pgbench, post_orders, served
from transactional.verify import verify

STEP, SECONDS = 1_000_000, 6.0
NAME = "ledger_growth"
# the loader's accounts are P01-L-1 …, the clients' P01-L-000000 …; ids go on where the loader ended
_CLIENTS_ROWS = """
INSERT INTO registry.account (account_no, platform_id, account_role, is_control, currency, recorded_at)
SELECT 'P01-L-' || to_char(n, 'FM000000'), 'P01', 'INVESTOR', false, 'CNY', ledger.clock_now() FROM generate_series(0, {last}) n;
SELECT setval('ledger.order_id', (SELECT max(order_id) FROM ledger.trade_order)),
       setval('ledger.movement_id', (SELECT max(movement_id) FROM ledger.movement))"""


def posted_on(movements: int) -> dict[str, Any]:
    """Rates of a ledger that has so many movements already, in a home of its own, beside pgbench there."""
    with own_postgres() as settings:
        url = settings.database_url("migrator")
        started = time.perf_counter()
        for first in range(1, movements + 1, STEP):
            load(url, first, min(first + STEP - 1, movements))
        loaded_s = time.perf_counter() - started
        with psycopg.connect(url) as owner:
            owner.execute(_CLIENTS_ROWS.format(last=CLIENTS_ACCOUNTS - 1).encode())
        tps = pgbench(settings)
        with served() as (port, _):
            posted = asyncio.run(post_orders(port, settings.secret("api_admin_key"), CLIENTS_ACCOUNTS, SECONDS))
        started = time.perf_counter()
        verdict = verify(url)
        verified_s = time.perf_counter() - started
        with psycopg.connect(url) as owner:
            size = owner.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        figures = {
            **posted,
            "movements": verdict.movements,
            "load_s": round(loaded_s, 1),
            "pgbench_tps": tps,
            "verify_movements_per_second": round(verdict.movements / verified_s),
            "database_gb": round(size[0] / 1e9, 2),
            "ledger_faults": len(verdict.faults),
        }
        return figures | {"result": settings}


def main(movements: int) -> None:
    """Post on a small ledger, then on a large one, and write the figures."""
    small, large = posted_on(ACCOUNTS), posted_on(movements)
    settings = large.pop("result")
    small.pop("result")
    figures = {
        "what": "orders per second over HTTP on a small ledger and on a large one, one after the other",
        "small": small,
        "large": large,
        "rate_kept": round(large["orders_per_second"] / small["orders_per_second"], 3),
        "pgbench_kept": round(large["pgbench_tps"] / small["pgbench_tps"], 3),
    }
    print(result.write(NAME, figures, settings).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("FUNDWATCH_BENCH_MOVEMENTS", "2000000")))
