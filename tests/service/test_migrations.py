"""Migrations go up, down and up again, and the marts have the columns of the lake."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from domain.errors import WrongUse
from lake.marts import EVERY_DATE, LAST_DATE_ONLY
from lake.tables import TABLES
from transactional.migrate import migrate, names, rollback

SCHEMAS = (
    *("registry", "ledger", "api", "run", "mart", "night", "catalog", "ops", "auth", "credit"),
    *("loans", "audit", "work", "outbox", "outside", "limits", "payments", "files", "live"),
)
MARTS = (*EVERY_DATE, *LAST_DATE_ONLY)
TYPES = {"timestamp with time zone": "timestamp", "text": "string", "integer": "int"}
_OBJECTS = """
SELECT format('%%s.%%s %%s', n.nspname, c.relname, c.relkind) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s)
UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY(%(schemas)s)
UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = ANY(%(schemas)s) ORDER BY 1"""


def _objects(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(_OBJECTS, {"schemas": list(SCHEMAS)})]


def test_up_down_and_up_again_gives_the_same_schema(empty_database: Any) -> None:
    url = empty_database.url("migrator")
    assert migrate(url, "system") == names()
    there = _objects(url)
    assert set(SCHEMAS) <= set(there)
    assert migrate(url, "system") == []
    for name in reversed(names()):
        assert rollback(url) == [name]
    assert _objects(url) == []
    assert migrate(url, "system") == names()
    assert _objects(url) == there


def test_the_clock_of_a_database_is_chosen_at_its_creation(empty_database: Any) -> None:
    url = empty_database.url("migrator")
    migrate(url, "system")
    with pytest.raises(WrongUse, match="another clock"):
        migrate(url, "simulated")


@pytest.mark.parametrize("name", MARTS)
def test_a_mart_has_the_columns_of_the_lake_table(database: Any, name: str) -> None:
    with psycopg.connect(database.url("migrator")) as connection:
        found = connection.execute(
            """SELECT column_name,
                      CASE data_type WHEN 'numeric' THEN format('decimal(%%s,%%s)', numeric_precision, numeric_scale)
                                     ELSE data_type END
               FROM information_schema.columns
               WHERE table_schema = 'mart' AND table_name = %s ORDER BY ordinal_position""",
            (name,),
        ).fetchall()
    columns = ", ".join(f"{column} {TYPES.get(kind, kind)}" for column, kind in found)
    assert columns == TABLES[name].ddl


def test_current_views_show_the_newest_complete_version_and_missing_files_of_the_newest(database: Any) -> None:
    with psycopg.connect(database.url("migrator")) as connection:
        for run_id, version, state in ((1, 1, "COMPLETE"), (2, 2, "COMPLETE"), (3, 3, "INCOMPLETE")):
            connection.execute(
                """INSERT INTO run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
                   VALUES (%s, '2026-08-31', '2026-08-31', 0, '[]', 'x', 'PUBLISHED', now())""",
                (run_id,),
            )
            connection.execute(
                "INSERT INTO run.published VALUES ('2026-08-31', 'P01', %s, %s, %s, NULL, now())", (version, run_id, state)
            )
            for code in ("B01", "B24"):
                connection.execute(
                    """INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, code)
                       VALUES ('2026-08-31', %s, 'P01', %s, %s)""",
                    (run_id, code, code),
                )
        shown = connection.execute("SELECT code, run_id FROM mart.current_open_item ORDER BY code").fetchall()
    assert shown == [("B01", 2), ("B24", 3)]
