"""More than ten thousand planted faults, found by the reconciliation: precision, recall and ages, not speed (spec 07, 7.4).

`python -m bench.planted_faults` makes worlds of some 1,000, 100,000 and 1,000,000 records (or `[months] [RECORDS …]`), reconciles
each on DuckDB, compares what is open with the answer key and writes bench/results/planted_faults.json: half an hour, 8 GB.
Another world of 75 days (`months`) is reconciled a date a run, and once more when its refused files came late.
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
from bench.nights import Ages, Items, Nights
from bench.world_books import insert, landed_rows, ledger_rows, position_rows
from fundwatch.settings import load
from recon.on_duckdb import create_inputs, reconciled
from recon.pipeline import Scope
from simulator.answer_key import Finding, KeyItem, compare, expected_findings
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
MONTHS = WorldParameters(seed=4, platforms=2, customers=160, history_months=4, days=75, faults_per_code=5)
"""The world that is reconciled a date a run."""


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
    assert compared is not None
    return _verdict(world.items, items, ages, int(compared[0]), started)


def score_nightly(parameters: WorldParameters) -> dict[str, dict[str, Any]]:
    """The same, a date a run over months; then the refused files come late, and what follows them runs again, a date a run."""
    world = make_world(parameters)
    started = time.perf_counter()
    with duckdb.connect() as connection:
        nights = Nights(world, connection)
        for day in parameters.dates:
            nights.run(day, day)
        nightly = _verdict(world.items, nights.items(), nights.ages(), nights.compared, started)
        started, first, nights.compared = time.perf_counter(), nights.resend(), 0
        for day in parameters.dates:
            if day >= first:
                nights.run(day, day)
        left = [item for item in world.items if item.code != "B24"]
        return {"night by night": nightly, "late files": _verdict(left, nights.items(), nights.ages(), nights.compared, started)}


def _verdict(key: list[KeyItem], items: Items, ages: Ages, records: int, started: float) -> dict[str, Any]:
    found = {Finding(code, platform, str(opened_on), match_key) for code, platform, opened_on, match_key in items}
    verdict = compare(expected_findings(item.as_json() for item in key), found)
    return {
        "records_compared": records,
        "planted": len(key),
        "planted_by_code": dict(sorted(Counter(item.code for item in key).items())),
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


def main(sizes: list[int], with_months: bool = True) -> None:
    """Score the worlds and write the result; exit code 1 when anything was missed, extra or of a wrong age."""
    worlds = {str(size): score(WORLDS[size]) for size in sizes} | (score_nightly(MONTHS) if with_months else {})
    planted = sum(world["planted"] for world in worlds.values())
    wrong = sum(world[name] for world in worlds.values() for name in ("missed", "extra", "wrong_ages"))
    figures = {"what": "planted faults against open items, DuckDB", "planted": planted, "wrong": wrong, "worlds": worlds}
    print(result.write(NAME, figures, load()).read_text(encoding="utf-8"))
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    asked = sys.argv[1:] or ["months", *map(str, WORLDS)]
    main([int(word) for word in asked if word != "months"], "months" in asked)
