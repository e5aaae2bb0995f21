"""Which version of a date counts: the views of the marts say it once, for pages, reports and history."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg

VERSIONS = (
    # date, platform, version, run, state
    ("2026-08-30", "P01", 1, 1, "COMPLETE"),
    ("2026-08-31", "P01", 1, 2, "COMPLETE"),
    ("2026-08-31", "P01", 2, 3, "INCOMPLETE"),
    ("2026-08-30", "P02", 1, 1, "INCOMPLETE"),
    ("2026-08-30", "P02", 2, 2, "COMPLETE"),
    ("2026-08-31", "P02", 1, 2, "INCOMPLETE"),
    ("2026-08-31", "P02", 2, 3, "INCOMPLETE"),
)


def staged(connection: psycopg.Connection[Any]) -> None:
    """Two platforms with versions of every kind, P03 without any."""
    connection.execute(
        """INSERT INTO registry.platform SELECT id, id, id, 'CNY', 'CN_2017', '2026-01-01', '2026-01-01'
           FROM unnest(ARRAY['P01', 'P02', 'P03']) id"""
    )
    connection.execute(
        """INSERT INTO run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
           SELECT id, '2026-08-30', '2026-08-31', 0, '[]', 'x', 'PUBLISHED', now() FROM generate_series(1, 3) id"""
    )
    for day, platform, version, run_id, state in VERSIONS:
        connection.execute(
            "INSERT INTO run.published VALUES (%s, %s, %s, %s, %s, NULL, now())", (day, platform, version, run_id, state)
        )


def test_complete_counts_before_incomplete_and_then_the_highest_version(database: Any) -> None:
    with psycopg.connect(database.url("migrator")) as connection:
        staged(connection)
        found = connection.execute(
            "SELECT business_date, platform_id, run_id, state FROM mart.winner_of_any_state ORDER BY 2, 1"
        ).fetchall()
    assert found == [
        (date(2026, 8, 30), "P01", 1, "COMPLETE"),
        (date(2026, 8, 31), "P01", 2, "COMPLETE"),
        (date(2026, 8, 30), "P02", 2, "COMPLETE"),
        (date(2026, 8, 31), "P02", 3, "INCOMPLETE"),
    ]


def test_each_platform_has_one_newest_date_complete_or_not(database: Any) -> None:
    with psycopg.connect(database.url("migrator")) as connection:
        staged(connection)
        complete = connection.execute("SELECT platform_id, business_date, run_id FROM mart.newest_complete ORDER BY 1").fetchall()
        newest = connection.execute(
            "SELECT platform_id, business_date, run_id, state FROM mart.newest_of_any_state ORDER BY 1"
        ).fetchall()
    assert complete == [("P01", date(2026, 8, 31), 2), ("P02", date(2026, 8, 30), 2)]
    assert newest == [("P01", date(2026, 8, 31), 2, "COMPLETE"), ("P02", date(2026, 8, 31), 3, "INCOMPLETE")]


def test_the_reader_sees_masked_names_and_nothing_else_of_a_person(database: Any) -> None:
    with psycopg.connect(database.url("reader")) as connection:
        columns = [column.name for column in connection.execute("SELECT * FROM mart.customer_name").description or ()]
    assert columns == ["platform_id", "customer_no", "name_masked"]
