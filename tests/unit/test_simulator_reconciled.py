"""The default world through the real reconciliation (on DuckDB): precision and recall against the answer key are 1."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from bench.world_books import insert, landed_rows, ledger_rows, position_rows
from recon.on_duckdb import create_inputs, reconciled
from recon.pipeline import Scope
from simulator.answer_key import Finding, compare, expected_findings
from simulator.bank_day import is_working_day, next_working_day
from simulator.channel_fee import terms_of
from simulator.parameters import WorldParameters
from simulator.world import make_world


@pytest.fixture(scope="module")
def reconciliation() -> Any:
    world = make_world(WorldParameters())
    with duckdb.connect() as connection:
        create_inputs(connection)
        for table, rows in (landed_rows(world) | ledger_rows(world) | position_rows(world)).items():
            insert(connection, table, rows)
        dates = world.parameters.dates
        terms = tuple(map(terms_of, world.parameters.platform_ids))
        scope = Scope(1, dates[0], dates[-1], dates[0], ZoneInfo("Asia/Shanghai"), fee_terms=terms)
        with reconciled(connection, scope) as views:
            items = connection.execute(
                f"select distinct opened_code, platform_id, opened_on, match_key, code, recon_id from {views['open_item']}"
            ).fetchall()
            days = connection.execute(
                "select opened_code, platform_id, match_key, opened_on, count(distinct business_date) "
                f"from {views['open_item']} group by all"
            ).fetchall()
            shown = connection.execute(f"select platform_id, match_key, business_date from {views['open_item']}").fetchall()
            yield world, items, days, shown


def test_the_default_world_s_answer_key_is_found_exactly(reconciliation: Any) -> None:
    world, items, *_ = reconciliation
    found = {Finding(code, platform, str(opened_on), key) for code, platform, opened_on, key, *_ in items}
    result = compare(expected_findings(item.as_json() for item in world.items), found)
    assert result["missed"] == []
    assert result["extra"] == []
    assert result["ok"] is True


def test_items_keep_their_code_and_the_rule_that_the_key_names(reconciliation: Any) -> None:
    world, items, *_ = reconciliation
    expected = {(item.code, item.platform_id, item.match_key, item.recon_id) for item in world.items}
    assert {(code, platform, key, recon_id) for _, platform, _, key, code, recon_id in items} == expected


def test_items_with_a_cure_are_open_one_date_and_the_others_until_the_end(reconciliation: Any) -> None:
    world, _, days, shown = reconciliation
    open_days = {tuple(key): count for *key, count in days}
    last = world.parameters.end
    for item in world.items:
        broken = {other.business_date for other in world.items if other.code == "B24" and other.platform_id == item.platform_id}
        span = (last - item.business_date).days + 1
        hidden = sum(item.business_date < day <= last for day in broken)
        # an item only when it has waited for more than so many working days; a batch is due on the next one
        waits = {"R1P": 3, "R5B": 0, "R4B": 0}.get(item.recon_id, -1) if item.code != "B18" else -1
        days_on = [item.business_date + timedelta(days=step) for step in range(span)]
        if item.code == "B18" and "another amount" in item.what:
            # shown when the money goes back, on the date of the failure or the next working day
            first = min(day for *key, day in shown if tuple(key) == (item.platform_id, item.match_key))
            assert first in (item.business_date, next_working_day(item.business_date))
            span, hidden = (last - first).days + 1, sum(first < day <= last for day in broken)
        elif waits >= 0:
            span = sum(sum(map(is_working_day, days_on[1 : step + 1])) > waits for step in range(span))
            hidden = sum(sum(is_working_day(one) for one in days_on[1:] if one <= day) > waits for day in broken if day <= last)
        expected = 1 if item.cured_on or item.code in ("B24", "B25") else span - hidden
        assert open_days[item.code, item.platform_id, item.match_key, item.business_date] == expected, item
