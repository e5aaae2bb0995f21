"""Publishing, reconciliation and snapshots agree on which dates are complete; B24 names exactly the files that are lacking."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg

from fundwatch.services import postgres
from lake.publication import date_states
from lake.steps import Run
from lake.tables import TABLES
from recon.on_duckdb import create_inputs, reconciled
from recon.pipeline import Scope
from spark_jobs.positions import complete_dates

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = date(2026, 8, 1)
ACCEPTED = ("ACCEPTED", None, None)
# what file control found besides the accepted statement, and whether the date is complete
CASES: list[tuple[str, list[tuple[str, str, tuple[str, str | None, str | None]]], bool]] = [
    ("everything came", [("orders", "P01.orders.csv.gz", ACCEPTED)], True),
    (
        "a copy beside the original",
        [
            ("orders", "P01.orders.csv.gz", ACCEPTED),
            ("orders", "P01.orders.again.csv.gz", ("REFUSED", "DUPLICATE", "a copy")),
        ],
        True,
    ),
    ("a copy under any name", [("unknown", "copy.csv.gz", ("REFUSED", "DUPLICATE", "a copy"))], True),
    ("a file nobody expects", [("payments", "P01.payments.csv.gz", ("REFUSED", "UNEXPECTED", "nobody expects it"))], True),
    ("a file that did not come", [("orders", "P01.orders.csv.gz", ("MISSING", "MISSING", "it did not come"))], False),
    ("a broken file", [("orders", "P01.orders.csv.gz", ("REFUSED", "HASH", "another hash"))], False),
    ("an expected file sent before", [("orders", "P01.orders.csv.gz", ("REFUSED", "DUPLICATE", "sent before"))], False),
    ("a file that operators go on without", [("orders", "P01.orders.csv.gz", ("WAIVED", "MISSING", "control 7"))], True),
    (
        "a refused file that they go on without, and a copy elsewhere",
        [
            ("orders", "P01.orders.csv.gz", ("WAIVED", "HASH", "control 7")),
            ("orders", "P01.orders.old.csv.gz", ("REFUSED", "DUPLICATE", "a copy")),
        ],
        True,
    ),
    (
        "one file waived and another missing",
        [
            ("orders", "P01.orders.csv.gz", ("WAIVED", "MISSING", "control 7")),
            ("postings", "P01.postings.csv.gz", ("MISSING", "MISSING", "it did not come")),
        ],
        False,
    ),
    (
        "a missing file and its copy elsewhere",
        [
            ("orders", "P01.orders.csv.gz", ("MISSING", "MISSING", "it did not come")),
            ("orders", "P01.orders.old.csv.gz", ("REFUSED", "DUPLICATE", "a copy")),
        ],
        False,
    ),
]
LAST = FIRST + timedelta(days=len(CASES) - 1)


def control_rows() -> list[tuple[Any, ...]]:
    """One date a case; each has an accepted bank statement too."""
    rows = []
    for number, (_, files, _) in enumerate(CASES):
        day = FIRST + timedelta(days=number)
        for kind, name, (state, code, reason) in [("statement", "P01.statement.csv.gz", ACCEPTED), *files]:
            sender = "BANK" if kind == "statement" else "P01"
            rows.append((day, 1, "P01", sender, kind, name, state, code, reason, None, None, None, None, None, None))
    return rows


def published_as_complete(database: Any, rows: list[tuple[Any, ...]]) -> tuple[set[date], dict[date, str]]:
    """Complete dates, and the reasons of the others, as `publish` would state them."""
    address = postgres.superuser_url(database.settings).rpartition("/")[0]
    with psycopg.connect(f"{address}/{database.name}") as connection:
        connection.execute("insert into registry.platform values ('P01', 'a', 'b', 'CNY', 'CN_2017', %s, now())", [FIRST])
        columns = ", ".join(TABLES["file_control"].columns)
        marks = ", ".join(["%s"] * len(rows[0]))
        connection.cursor().executemany(f"insert into mart.file_control ({columns}) values ({marks})", rows)
        states = date_states(connection, Run(1, FIRST, LAST, None, None, 0))
    return {day for day, _, reason in states if not reason}, {day: reason for day, _, reason in states if reason}


def reconciled_dates(rows: list[tuple[Any, ...]]) -> tuple[set[date], set[date]]:
    """Dates that the reconciliation compares, and dates with a B24 item."""
    with duckdb.connect() as connection:
        create_inputs(connection)
        marks = ", ".join(["?"] * len(rows[0]))
        connection.executemany(f"insert into file_control values ({marks})", rows)
        with reconciled(connection, Scope(1, FIRST, LAST, FIRST, ZoneInfo("Asia/Shanghai"))) as views:
            compared = connection.execute("select business_date from complete_date").fetchall()
            items = connection.execute(f"select business_date from {views['open_item']} where code = 'B24'").fetchall()
    return {day for (day,) in compared}, {day for (day,) in items}


def test_publishing_reconciliation_and_snapshots_agree_on_the_dates_that_are_complete(spark: SparkSession, database: Any) -> None:
    rows = control_rows()
    due = {FIRST + timedelta(days=number) for number, (_, _, is_complete) in enumerate(CASES) if is_complete}
    published, reasons = published_as_complete(database, rows)
    compared, items = reconciled_dates(rows)
    frame = spark.createDataFrame(rows, TABLES["file_control"].ddl)
    in_snapshot = complete_dates(frame, None).collect()
    assert published == compared == {row.business_date for row in in_snapshot} == due
    assert items == set(reasons) == {FIRST + timedelta(days=number) for number in range(len(CASES))} - due
    assert reasons[FIRST + timedelta(days=5)] == "P01.orders: another hash"


def test_a_run_of_one_platform_sees_its_dates_only(spark: SparkSession) -> None:
    other = [(row[0], row[1], "P02", *row[3:5], row[5].replace("P01", "P02"), *row[6:]) for row in control_rows()[:2]]
    frame = spark.createDataFrame([*control_rows(), *other], TABLES["file_control"].ddl)
    assert [(row.platform_id, row.business_date) for row in complete_dates(frame, "P02").collect()] == [("P02", FIRST)]
