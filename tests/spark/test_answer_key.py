"""A small simulated world through `land` and `reconcile` on Spark: every planted fault is found, and nothing else (spec 07)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date
from typing import TYPE_CHECKING, Any

import pytest

from bench.world_books import ledger_rows, position_rows
from domain.errors import WrongUse
from fundwatch.settings import Settings
from ingest.landing import Registry
from lake import store
from lake.steps import Run, StepContext
from lake.tables import TABLES
from recon.outputs import WRITTEN
from simulator.answer_key import Finding, compare, expected_findings
from simulator.channel_fee import terms_of
from simulator.parameters import BANK, WorldParameters
from simulator.world import World, make_world, write_world
from spark_jobs import few_records, land, reconcile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PARAMETERS = WorldParameters(platforms=2, customers=60, history_months=4, days=9, faults_per_code=1)
CODES = {
    *(f"B{number:02d}" for number in range(1, 29)),
}  # fmt: skip
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

    given = {one.name: getattr(test_settings, one.name) for one in fields(test_settings)}
    settings = Elsewhere(**given | {"recon_engine": "spark"})
    run = Run(RUN, PARAMETERS.opening_date, PARAMETERS.end, None, None, 0)
    context = StepContext(run, settings, spark)
    store.ensure_tables(spark)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FUNDWATCH_LAKE", raising=False)
        patch.setattr(land, "registry", lambda _: registry_of(world))
        patch.setattr(store, "winners_before", lambda *_: [])
        patch.setattr(reconcile.channel_fees, "of_run", lambda *_: tuple(map(terms_of, PARAMETERS.platform_ids)))
        land.run(context)
        for table, rows in (ledger_rows(world) | position_rows(world)).items():
            columns = TABLES[table].columns
            values = [tuple(row.get(name) for name in columns) for row in map(of_run, rows)]
            frame = spark.createDataFrame(values, TABLES[table].ddl)
            store.write(context, table, frame)
        assert reconcile.run(context).detail["engine"] == "spark"
        yield context


def registry_of(world: World) -> Registry:
    onboarded = {row["platform_id"]: date.fromisoformat(str(row["onboarded_on"])) for row in world.registry["platforms"]}
    companies: dict[str, tuple[str, ...]] = {}
    for company in world.registry["payment_companies"]:
        for platform_id in company["platform_ids"]:
            companies[platform_id] = (*companies.get(platform_id, ()), company["paycom_id"])
    return Registry(onboarded, companies, BANK)


def of_run(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the night writes it: of this run, its times in UTC."""
    moment = row.get("recorded_at")
    return row | {"run_id": RUN} | ({"recorded_at": moment.replace(tzinfo=UTC)} if moment else {})


def test_every_planted_fault_is_found_and_nothing_else(world: World, reconciled: StepContext) -> None:
    rows = store.of_run(reconciled, "open_item").select("opened_code", "platform_id", "opened_on", "match_key").distinct()
    found = {Finding(code, platform_id, opened_on.isoformat(), key) for code, platform_id, opened_on, key in rows.collect()}
    score = compare(expected_findings(item.as_json() for item in world.items), found)
    assert (score["missed"], score["extra"]) == ([], [])
    assert {code: count["planted"] for code, count in score["codes"].items()} == Counter(item.code for item in world.items)
    assert {item.code for item in world.items} == CODES


def test_a_night_of_few_records_reconciled_on_duckdb_has_the_same_content(reconciled: StepContext) -> None:
    def content() -> dict[str, list[Any]]:
        return {name: sorted(map(repr, store.of_run(reconciled, name).collect())) for name in WRITTEN}

    on_spark, alone = content(), replace(reconciled, settings=replace(reconciled.settings, recon_engine="auto"))
    assert all(on_spark.values())
    done = reconcile.run(alone)
    assert (done.detail["engine"], content()) == ("duckdb", on_spark)
    assert done.rows_in > 0 and done.tables == {name: len(rows) for name, rows in on_spark.items()}


@pytest.mark.parametrize(
    "otherwise",
    [{"recon_engine": "spark"}, {"spark_master": "yarn"}],
    ids=["Spark was asked for", "Spark is elsewhere"],
)
def test_duckdb_is_not_chosen(reconciled: StepContext, otherwise: dict[str, Any]) -> None:
    settings = replace(reconciled.settings, **{"recon_engine": "auto", **otherwise})
    assert few_records.chosen(replace(reconciled, settings=settings)) is None


def test_a_night_of_many_records_or_a_lake_elsewhere_is_reconciled_on_spark(
    reconciled: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(reconciled, settings=replace(reconciled.settings, recon_engine="auto"))
    files = few_records.chosen(alone)
    assert files is not None
    monkeypatch.setattr(few_records, "ROWS_MAX", sum(file.rows for file in files) - 1)
    assert few_records.chosen(alone) is None
    monkeypatch.undo()
    monkeypatch.setenv("FUNDWATCH_LAKE", "s3a://bank/lake")
    assert few_records.chosen(alone) is None
    with pytest.raises(WrongUse, match="not on this machine"):
        few_records.chosen(replace(alone, settings=replace(alone.settings, recon_engine="duckdb")))


def test_every_item_says_the_same_in_english_and_chinese(reconciled: StepContext) -> None:
    rows = store.of_run(reconciled, "open_item").collect()
    for row in rows:
        said, said_zh = row.explanation, row.explanation_zh
        assert re.search("[\u4e00-\u9fff]", said_zh) and re.search("[\u4e00-\u9fff]", row.suggested_action_zh), row
        # the same amounts, keys and rules; "largest remainder" is 最大余数法 in one and in the other
        assert Counter(re.findall(r"[0-9]+", said)) == Counter(re.findall(r"[0-9]+", said_zh)), (said, said_zh)
        if row.code not in ("B24", "B25"):  # what file control and readers say of a file is English
            assert not re.search(r"(?<![\w-])(has|differ|of|the|units|and)(?![\w-])", said_zh), said_zh
    assert len({row.code for row in rows}) > 20


def test_timing_items_are_gone_on_the_date_that_cures_them(world: World, reconciled: StepContext) -> None:
    rows = store.of_run(reconciled, "open_item").collect()
    open_on = {(row.platform_id, row.match_key, row.business_date) for row in rows}
    cured = [item for item in world.items if item.cured_on is not None]
    assert cured
    assert not {(item.platform_id, item.match_key, item.cured_on) for item in cured} & open_on


def test_every_difference_is_explained_by_the_effects_of_its_items_but_what_b21_says(
    world: World, reconciled: StepContext
) -> None:
    residuals = store.of_run(reconciled, "balance_equation").where("is_residual")
    equations = {row.equation for row in residuals.collect()}
    of_the_bank = {f"GL-{number}" for number in range(1, 9)}
    assert equations == {"B-1", "B-2", "B-3", "B-4", "B-5", "B-6", "PROMISE_1_V", "PROMISE_1_C"} | of_the_bank
    left = {(row.platform_id, row.business_date, row.equation) for row in residuals.where("amount_minor <> 0").collect()}
    assert left == {(item.platform_id, item.business_date, item.match_key) for item in world.items if item.code == "B21"}
