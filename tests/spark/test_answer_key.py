"""A small simulated world through `land` and `reconcile` on Spark: every planted fault is found, and nothing else (spec 07)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fundwatch.settings import Settings
from ingest.landing import Registry
from lake import store
from lake.steps import Run, StepContext
from lake.tables import TABLES
from simulator.answer_key import Finding, compare, expected_findings
from simulator.parameters import BANK, CURRENCY, WorldParameters
from simulator.state import PlatformState
from simulator.world import World, make_world, write_world
from spark_jobs import land, reconcile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PARAMETERS = WorldParameters(platforms=2, customers=60, history_months=4, days=6, faults_per_code=1)
CODES = {"B01", "B02", "B04", "B08", "B12", "B14", "B20", "B24"}
RUN = 840_001


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(PARAMETERS)


@pytest.fixture(scope="module")
def reconciled(
    world: World, spark: SparkSession, test_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StepContext]:
    """All dates of the world in one pass: its files landed, its own orders as book B, both reconciled."""
    folder = tmp_path_factory.mktemp("answer-key")
    write_world(world, folder / "world")

    class Elsewhere(Settings):
        landing_dir = property(lambda _: folder / "world" / "landing")  # type: ignore[assignment]
        quarantine_dir = property(lambda _: folder / "quarantine")  # type: ignore[assignment]

    settings = Elsewhere(**{one.name: getattr(test_settings, one.name) for one in fields(test_settings)})
    run = Run(RUN, PARAMETERS.opening_date, PARAMETERS.end, None, None, 0)
    context = StepContext(run, settings, spark)
    store.ensure_tables(spark)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(land, "registry", lambda _: registry_of(world))
        patch.setattr(store, "winners_before", lambda *_: [])
        land.run(context)
        for table, rows in (("ledger_movement", movements(world)), ("ledger_balance", balances(world))):
            columns = TABLES[table].columns
            frame = spark.createDataFrame([tuple(row.get(name) for name in columns) for row in rows], TABLES[table].ddl)
            store.write(context, table, frame)
        reconcile.run(context)
        yield context


def registry_of(world: World) -> Registry:
    onboarded = {row["platform_id"]: date.fromisoformat(str(row["onboarded_on"])) for row in world.registry["platforms"]}
    companies: dict[str, tuple[str, ...]] = {}
    for company in world.registry["payment_companies"]:
        for platform_id in company["platform_ids"]:
            companies[platform_id] = (*companies.get(platform_id, ()), company["paycom_id"])
    return Registry(onboarded, companies, BANK)


def movements(world: World) -> list[dict[str, Any]]:
    """Book B as the service would have it, from the world's orders."""
    return [
        {
            "business_date": order.business_date,
            "run_id": RUN,
            "platform_id": order.platform_id,
            "request_no": order.request_no,
            "seq": seq,
            "order_type": str(order.order_type),
            "movement_type": str(movement.movement_type),
            "debit_account_no": movement.debit,
            "debit_role": str(state.book.roles[movement.debit]),
            "credit_account_no": movement.credit,
            "credit_role": str(state.book.roles[movement.credit]),
            "amount_minor": movement.amount_minor,
            "currency": CURRENCY,
            "recorded_at": order.at,
        }
        for state in world.states
        for order in state.book.orders
        if order.business_date <= PARAMETERS.end
        for seq, movement in enumerate(order.movements, start=1)
    ]


def balances(world: World) -> list[dict[str, Any]]:
    return [row for state in world.states for day in PARAMETERS.dates for row in closings(state, day)]


def closings(state: PlatformState, day: date) -> Iterator[dict[str, Any]]:
    before = state.closes.get(day - timedelta(days=1))
    for account_no, closing in state.closes[day].balance.items():
        yield {
            "business_date": day,
            "run_id": RUN,
            "platform_id": state.platform_id,
            "account_no": account_no,
            "account_role": str(state.book.roles[account_no]),
            "is_control": not state.book.is_sub_account(account_no),
            "currency": CURRENCY,
            "opening_minor": before.balance[account_no] if before else 0,
            "closing_minor": closing,
        }


def test_every_planted_fault_is_found_and_nothing_else(world: World, reconciled: StepContext) -> None:
    rows = store.of_run(reconciled, "open_item").select("opened_code", "platform_id", "opened_on", "match_key").distinct()
    found = {Finding(code, platform_id, opened_on.isoformat(), key) for code, platform_id, opened_on, key in rows.collect()}
    score = compare(expected_findings(item.as_json() for item in world.items), found)
    assert (score["missed"], score["extra"]) == ([], [])
    assert {code: count["planted"] for code, count in score["codes"].items()} == Counter(item.code for item in world.items)
    assert {item.code for item in world.items} == CODES


def test_timing_items_are_gone_on_the_date_that_cures_them(world: World, reconciled: StepContext) -> None:
    open_on = {(row.match_key, row.business_date) for row in store.of_run(reconciled, "open_item").collect()}
    cured = [item for item in world.items if item.cured_on is not None]
    assert cured
    assert not {(item.match_key, item.cured_on) for item in cured} & open_on


def test_every_difference_is_explained_by_the_effects_of_its_items(reconciled: StepContext) -> None:
    residuals = store.of_run(reconciled, "balance_equation").where("is_residual")
    assert {row.equation for row in residuals.collect()} == {"B-1", "B-2", "B-6", "PROMISE_1_V", "PROMISE_1_C"}
    assert residuals.where("amount_minor <> 0").count() == 0
