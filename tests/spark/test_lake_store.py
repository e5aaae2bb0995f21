"""The lake's store: a run writes its own rows or nothing, and reads what was published before its dates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from domain.errors import Failed, WrongUse
from fundwatch.services import postgres
from fundwatch.settings import Settings
from lake import store
from lake.published import Winner, winners_before
from lake.steps import Run, StepContext
from lake.tables import GROWN
from recon.diff import differences

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PLATFORM, OTHER_PLATFORM = "P81", "P82"
DAYS = [date(2032, 5, day) for day in (1, 2, 3, 4)]
COLUMNS = store.TABLES["open_item_effect"].columns
EARLIER, LATER = datetime(2032, 6, 1, tzinfo=UTC), datetime(2032, 6, 2, tzinfo=UTC)
Row = tuple[date, int, str, str, int]


def context(spark: SparkSession, settings: Settings, run_id: int, first: date, last: date, platform: str | None) -> StepContext:
    return StepContext(Run(run_id, first, last, platform, None, 0), settings, spark)


def frame(spark: SparkSession, *rows: tuple[date | None, int | None, str | None, str, int]) -> DataFrame:
    """Rows of `open_item_effect`: date, run, platform, item, effect in minor units."""
    fixed = {"recon_id": "R3", "code": "B01", "book": "V", "account_no": "A", "currency": "CNY"}
    named = [
        fixed | {"business_date": day, "run_id": run, "platform_id": platform, "item_id": item, "effect_minor": effect}
        for day, run, platform, item, effect in rows
    ]
    return spark.createDataFrame(
        [tuple(row.get(column) for column in COLUMNS) for row in named], store.TABLES["open_item_effect"].ddl
    )


def rows_of(found: DataFrame) -> list[tuple[date, int, str, int]]:
    return sorted(tuple(row) for row in found.select("business_date", "run_id", "item_id", "effect_minor").collect())


@pytest.fixture(scope="module")
def lake(spark: SparkSession, test_settings: Settings) -> SparkSession:
    store.ensure_tables(spark)
    return spark


def test_a_table_of_an_older_lake_is_given_the_columns_that_came_later(lake: SparkSession) -> None:
    (name,) = GROWN
    table = store.TABLES[name]
    lake.sql(f"alter table {table.identifier} drop column {table.columns[-1]}")
    store.ensure_tables(lake)
    store.ensure_tables(lake)
    assert tuple(lake.table(table.identifier).columns) == table.columns


def test_a_foreign_row_commits_nothing_and_the_rows_before_stay(lake: SparkSession, test_settings: Settings) -> None:
    mine = context(lake, test_settings, 810_001, DAYS[0], DAYS[1], PLATFORM)
    good = (DAYS[0], 810_001, PLATFORM, "before", 1)
    store.write(mine, "open_item_effect", frame(lake, good))
    foreign = {
        "another run": (DAYS[0], 810_002, PLATFORM, "x", 1),
        "a date outside": (DAYS[2], 810_001, PLATFORM, "x", 1),
        "another platform": (DAYS[0], 810_001, OTHER_PLATFORM, "x", 1),
        "no date": (None, 810_001, PLATFORM, "x", 1),
    }
    for what, row in foreign.items():
        with pytest.raises(Failed, match="nothing written"):
            store.write(mine, "open_item_effect", frame(lake, (DAYS[0], 810_001, PLATFORM, "new", 2), row))
        assert rows_of(store.of_run(mine, "open_item_effect")) == [(DAYS[0], 810_001, "before", 1)], what
    whole_bank = replace(mine, run=replace(mine.run, platform_id=None))
    with pytest.raises(Failed, match="nothing written"):
        store.write(whole_bank, "open_item_effect", frame(lake, (DAYS[0], 810_001, None, "x", 1)))


def test_writing_replaces_the_runs_own_rows_and_nobody_elses(lake: SparkSession, test_settings: Settings) -> None:
    first, second = (context(lake, test_settings, run_id, DAYS[0], DAYS[1], None) for run_id in (810_011, 810_012))
    for each in (first, second):
        run_id = each.run.run_id
        rows = ((DAYS[0], run_id, PLATFORM, "a", 1), (DAYS[1], run_id, OTHER_PLATFORM, "b", 2))
        assert store.write(each, "open_item_effect", frame(lake, *rows)) == 2
    assert store.write(first, "open_item_effect", frame(lake, (DAYS[1], 810_011, PLATFORM, "c", 3))) == 1
    assert rows_of(store.of_run(first, "open_item_effect")) == [(DAYS[1], 810_011, "c", 3)]
    assert store.write(first, "open_item_effect", frame(lake)) == 0
    assert rows_of(store.of_run(first, "open_item_effect")) == []
    assert len(rows_of(store.of_run(second, "open_item_effect"))) == 2


def test_a_frame_without_the_tables_columns_and_an_unknown_table_are_refused(lake: SparkSession, test_settings: Settings) -> None:
    mine = context(lake, test_settings, 810_021, DAYS[0], DAYS[0], None)
    with pytest.raises(WrongUse, match="lack the columns effect_minor"):
        store.write(mine, "open_item_effect", frame(lake).drop("effect_minor"))
    with pytest.raises(WrongUse, match="no table 'ledger'"):
        store.of_run(mine, "ledger")


def test_two_runs_are_compared_item_by_item_on_the_dates_that_both_have(lake: SparkSession, test_settings: Settings) -> None:
    columns = store.TABLES["open_item"].columns

    def items(run_id: int, *rows: tuple[date, str, str, int]) -> Run:
        mine = context(lake, test_settings, run_id, DAYS[0], DAYS[1] if run_id == 810_051 else DAYS[2], PLATFORM)
        named = [
            {
                "business_date": day,
                "run_id": run_id,
                "platform_id": PLATFORM,
                "item_id": item,
                "code": code,
                "amount_minor": amount,
            }
            | {"recon_id": "R3", "match_key": item, "currency": "CNY", "evidence": "{}", "explanation": f"said by {run_id}"}
            for day, item, code, amount in rows
        ]
        content = lake.createDataFrame([tuple(row.get(name) for name in columns) for row in named], store.TABLES["open_item"].ddl)
        store.write(mine, "open_item", content)
        return mine.run

    then = items(810_051, (DAYS[0], "same", "B01", 5), (DAYS[0], "gone", "B01", 5), (DAYS[1], "code", "B14", 5))
    now = items(
        810_052, (DAYS[0], "same", "B01", 5), (DAYS[1], "code", "B01", 5), (DAYS[1], "new", "B02", 7), (DAYS[2], "x", "B02", 1)
    )
    found = differences(test_settings, then, now)
    assert [(row[0], row[1], row[4], row[6], row[7]) for row in found.rows] == [
        ("GONE", DAYS[0], "gone", "B01", None),
        ("CHANGED", DAYS[1], "code", "B14", "B01"),
        ("ADDED", DAYS[1], "new", None, "B02"),
    ]
    assert found.counts == {"ADDED B02": 1, "CHANGED B01": 1, "GONE B01": 1}
    assert differences(test_settings, then, then).rows == []


def publish(database: Any, *versions: tuple[date, str, int, int, str, datetime]) -> None:
    """Rows of `run.published`: date, platform, version, run, state, when."""
    address = postgres.superuser_url(database.settings).rpartition("/")[0]
    with psycopg.connect(f"{address}/{database.name}") as connection:
        for platform in (PLATFORM, OTHER_PLATFORM):
            connection.execute(
                "insert into registry.platform values (%s, 'a', 'b', 'CNY', 'CN_2017', '2032-01-01', now())", [platform]
            )
        for run_id in sorted({version[3] for version in versions}):
            connection.execute(
                """insert into run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
                   overriding system value values (%s, %s, %s, 0, '{}', 'test', 'PUBLISHED', now())""",
                [run_id, DAYS[0], DAYS[-1]],
            )
        for day, platform, version, run_id, state, at in versions:
            connection.execute(
                "insert into run.published values (%s, %s, %s, %s, %s, null, %s)", [day, platform, version, run_id, state, at]
            )


def test_the_highest_complete_version_wins_else_the_highest_incomplete_one(database: Any) -> None:
    publish(
        database,
        (DAYS[0], PLATFORM, 1, 1, "COMPLETE", EARLIER),
        (DAYS[0], PLATFORM, 2, 2, "COMPLETE", LATER),
        (DAYS[0], PLATFORM, 3, 3, "INCOMPLETE", LATER),
        (DAYS[1], PLATFORM, 1, 1, "INCOMPLETE", EARLIER),
        (DAYS[1], PLATFORM, 2, 2, "INCOMPLETE", LATER),
        (DAYS[0], OTHER_PLATFORM, 1, 1, "COMPLETE", EARLIER),
        (DAYS[2], PLATFORM, 1, 2, "COMPLETE", LATER),
    )

    def winners(platform: str | None, known_as_of: datetime | None) -> set[tuple[date, str, int, str]]:
        run = Run(9, DAYS[2], DAYS[3], platform, known_as_of, 0)
        found = winners_before(database.settings, run, DAYS[2])
        return {(one.business_date, one.platform_id, one.run_id, one.state) for one in found}

    mine = {(DAYS[0], PLATFORM, 2, "COMPLETE"), (DAYS[1], PLATFORM, 2, "INCOMPLETE")}
    assert winners(None, None) == mine | {(DAYS[0], OTHER_PLATFORM, 1, "COMPLETE")}
    assert winners(PLATFORM, None) == mine
    assert winners(PLATFORM, EARLIER) == {(DAYS[0], PLATFORM, 1, "COMPLETE"), (DAYS[1], PLATFORM, 1, "INCOMPLETE")}


def test_as_of_reads_the_winners_before_the_run_and_its_own_rows(
    lake: SparkSession, test_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, mine = 810_031, 810_032, 810_033
    for run_id in (old, new):
        rows = [(day, run_id, PLATFORM, f"{run_id}", number) for number, day in enumerate(DAYS[:3])]
        rows.append((DAYS[0], run_id, OTHER_PLATFORM, f"{run_id} other", 9))
        store.write(context(lake, test_settings, run_id, DAYS[0], DAYS[3], None), "open_item_effect", frame(lake, *rows))
    tonight = context(lake, test_settings, mine, DAYS[2], DAYS[3], None)
    store.write(tonight, "open_item_effect", frame(lake, (DAYS[2], mine, PLATFORM, "mine", 7)))
    chosen = [Winner(DAYS[0], PLATFORM, new, 2, "COMPLETE"), Winner(DAYS[1], PLATFORM, old, 1, "INCOMPLETE")]
    asked: list[date] = []
    monkeypatch.setattr(store, "winners_before", lambda _settings, _run, before: asked.append(before) or chosen)
    before = [(DAYS[0], new, f"{new}", 0), (DAYS[1], old, f"{old}", 1)]
    assert rows_of(store.published_before(tonight, "open_item_effect", DAYS[2])) == before
    assert rows_of(store.as_of(tonight, "open_item_effect")) == [*before, (DAYS[2], mine, "mine", 7)]
    assert set(asked) == {DAYS[2]}
    monkeypatch.setattr(store, "winners_before", lambda *_: [])
    assert rows_of(store.as_of(tonight, "open_item_effect")) == [(DAYS[2], mine, "mine", 7)]


def test_the_catalogs_password_is_on_no_command_line(lake: SparkSession, test_settings: Settings) -> None:
    assert lake.conf.get("spark.sql.catalog.lake.jdbc.user") == "catalog"
    secret = test_settings.secret("pg_catalog")
    told = [
        process.info["pid"]
        for process in psutil.process_iter(["pid", "cmdline"])
        if secret in " ".join(process.info["cmdline"] or [])
    ]
    assert told == []
    assert not [*(test_settings.home / "spark" / "tmp").glob("*.properties")]
