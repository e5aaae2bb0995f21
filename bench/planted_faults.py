"""More than ten thousand planted faults, found by the reconciliation: precision, recall and ages, not speed (spec 07, 7.4).

`python -m bench.planted_faults` makes worlds of some 1,000, 100,000 and 1,000,000 records (or `[RECORDS …]`), reconciles each on
DuckDB, compares what is open with the answer key and writes bench/results/planted_faults.json: a quarter of an hour, 8 GB.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from bench import result
from bench.world_books import insert, landed_rows, ledger_rows, position_rows
from fundwatch.settings import load
from recon.on_duckdb import create_inputs, reconciled
from recon.pipeline import Scope
from simulator.answer_key import Finding, compare, expected_findings
from simulator.bank_day import is_working_day
from simulator.channel_fee import terms_of
from simulator.parameters import WorldParameters
from simulator.world import make_world

NAME = "planted_faults"
WORLDS = {
    1_000: WorldParameters(seed=1, platforms=1, customers=60, history_months=2, days=12, faults_per_code=3),
    100_000: WorldParameters(seed=2, platforms=3, customers=6_000, days=30, faults_per_code=60),
    1_000_000: WorldParameters(seed=3, platforms=14, customers=42_000, days=31, faults_per_code=50),
}
"""By about how many records of all books they have."""


def score(parameters: WorldParameters) -> dict[str, Any]:
    """Planted, found, missed and extra faults of a world, wrong ages, and how many records were compared."""
    world = make_world(parameters)
    started = time.perf_counter()
    with duckdb.connect() as connection:
        create_inputs(connection)
        rows = landed_rows(world) | ledger_rows(world) | position_rows(world)
        for table in list(rows):
            insert(connection, table, rows.pop(table))
        dates = world.parameters.dates
        terms = tuple(terms_of(state.platform_id) for state in world.states)
        scope = Scope(1, dates[0], dates[-1], dates[0], ZoneInfo("Asia/Shanghai"), fee_terms=terms)
        with reconciled(connection, scope) as views:
            items = connection.execute(
                f"select distinct opened_code, platform_id, opened_on, match_key from {views['open_item']}"
            ).fetchall()
            ages = connection.execute(
                f"select distinct opened_on, business_date, age_working_days from {views['open_item']}"
            ).fetchall()
            compared = connection.execute("select sum(n_left + n_right) from key_group").fetchone()
    found = {Finding(code, platform, str(opened_on), key) for code, platform, opened_on, key in items}
    verdict = compare(expected_findings(item.as_json() for item in world.items), found)
    assert compared is not None
    return {
        "records_compared": int(compared[0]),
        "planted": len(world.items),
        "planted_by_code": dict(sorted(Counter(item.code for item in world.items).items())),
        "missed": len(verdict["missed"]),
        "extra": len(verdict["extra"]),
        "wrong_ages": sum(age != _working_days(opened, shown) for opened, shown, age in ages),
        "reconcile_seconds": round(time.perf_counter() - started, 1),
        "first_missed_and_extra": [*verdict["missed"][:5], *verdict["extra"][:5]],
    }


def _working_days(opened_on: date, shown_on: date) -> int:
    """Bank working days behind a date up to another, by the simulator's own calendar."""
    days = (shown_on - opened_on).days
    return sum(is_working_day(opened_on + timedelta(days=step)) for step in range(1, days + 1))


def main(sizes: list[int]) -> None:
    """Score the worlds and write the result; exit code 1 when anything was missed, extra or of a wrong age."""
    worlds = {str(size): score(WORLDS[size]) for size in sizes}
    planted = sum(world["planted"] for world in worlds.values())
    wrong = sum(world[name] for world in worlds.values() for name in ("missed", "extra", "wrong_ages"))
    figures = {"what": "planted faults against open items, DuckDB", "planted": planted, "wrong": wrong, "worlds": worlds}
    print(result.write(NAME, figures, load()).read_text(encoding="utf-8"))
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or list(WORLDS))
