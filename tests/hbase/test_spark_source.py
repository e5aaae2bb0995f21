"""The Spark data source against a real HBase: what is written is read, twice is once, every region is a task."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from fundwatch.settings import Settings
from hbase_schema.client import HistoryClient
from hbase_schema.spark_source import NAME, HistorySource, options, options_of_all
from hbase_schema.tables import TABLES
from spark_jobs.history import pack

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = 20_000
BALANCES = TABLES["acct_bal"]


@pytest.fixture(scope="module")
def session(spark: SparkSession) -> SparkSession:
    """The shared session with our source registered."""
    spark.dataSource.register(HistorySource)
    return spark


def frame(session: SparkSession, rows: int) -> DataFrame:
    """Balances of `rows` accounts on one date, keys and cells packed by Spark."""
    plain = session.range(rows).select(
        F.col("id").alias("account_id"),
        F.lit("2026-08-31").cast("date").alias("business_date"),
        F.lit("P01").alias("platform_id"),
        F.concat(F.lit("P01-L-"), F.col("id")).alias("account_no"),
        F.lit("CNY").alias("currency"),
        F.lit(0).cast("bigint").alias("opening_minor"),
        F.lit(None).cast("bigint").alias("debit_minor"),
        F.col("id").alias("credit_minor"),
        (F.col("id") * -3).alias("closing_minor"),
        F.lit(0).cast("bigint").alias("held_minor"),
    )
    return pack(BALANCES, plain)


def read(session: SparkSession, settings: Settings, table: str = "acct_bal", **extra: str) -> DataFrame:
    return session.read.format(NAME).options(**options(settings, table), **extra).load()


def write(rows: DataFrame, settings: Settings, run_id: int, table: str = "acct_bal") -> None:
    rows.write.format(NAME).options(**options(settings, table), timestamp=str(run_id)).mode("append").save()


def test_rows_written_twice_through_spark_are_read_once_and_equal(session: SparkSession, tables: Settings) -> None:
    rows = frame(session, ROWS)
    write(rows, tables, 7)
    write(rows, tables, 7)
    there = read(session, tables)
    assert there.rdd.getNumPartitions() == 16
    assert there.count() == ROWS
    assert there.exceptAll(rows).isEmpty() and rows.exceptAll(there).isEmpty()

    with HistoryClient.of(tables) as client:
        found = client.balance_on(4711, date(2026, 9, 1))
        regions = client.regions("acct_bal")
        assert min(len(client.scan("acct_bal", *region, ROWS)) for region in regions) > ROWS / 16 / 2
    assert found is not None
    assert (found["account_no"], found["closing_minor"], found["debit_minor"]) == ("P01-L-4711", -3 * 4711, None)


def test_a_prefix_and_a_run_bound_limit_what_is_read(session: SparkSession, tables: Settings) -> None:
    write(frame(session, 500), tables, 30, "loan_snap")
    prefix = BALANCES.key.prefix(17)
    assert [row.row.startswith(prefix) for row in read(session, tables, "loan_snap", prefix=prefix.hex()).collect()] == [True]
    assert read(session, tables, "loan_snap", run_bound="29").count() == 0
    assert read(session, tables, "loan_snap", run_bound="30", batch_rows="7").count() == 500
    low, high = bytes((3,)).hex(), bytes((5,)).hex()
    salts = {row.row[0] for row in read(session, tables, "loan_snap", start=low, stop=high).collect()}
    assert salts == {3, 4}


def test_a_null_cell_deletes_the_row(session: SparkSession, tables: Settings) -> None:
    rows = frame(session, 100)
    write(rows, tables, 40, "ord")
    doomed = rows.where(F.expr("substring(row, 10, 1) < X'0A'")).select("row", F.lit(None).cast("binary").alias("p"))
    write(doomed, tables, 41, "ord")
    assert read(session, tables, "ord").count() == 100 - 10


def test_rows_that_name_their_table_are_written_to_it_in_one_write(session: SparkSession, tables: Settings) -> None:
    rows = frame(session, 300).select(F.when(F.col("row") < b"\x05", "mv").otherwise("cust_360").alias("table"), "row", "p")
    rows.coalesce(1).write.format(NAME).options(**options_of_all(tables), timestamp="50").mode("append").save()
    with HistoryClient.of(tables) as client:
        low, high = client.scan("mv", b"", b"", 1000), client.scan("cust_360", b"", b"", 1000)
    assert [key[0] < 5 for key, _ in low + high] == [True] * len(low) + [False] * len(high)
    assert len(low) > 0 and len(low) + len(high) == 300


def test_rows_of_different_widths_are_read_by_the_careful_way(session: SparkSession, tables: Settings) -> None:
    uneven = [(bytes((salt, 1)) + b"k" * (salt + 1) * n, b"v" * n) for salt in range(16) for n in range(1, 9)]
    with HistoryClient.of(tables) as client:
        client.put_many("recon", uneven, timestamp=1)
    found = sorted((bytes(row.row), bytes(row.p)) for row in read(session, tables, "recon").collect())
    assert found == sorted(uneven)


def test_wrong_use_is_refused_in_words(session: SparkSession, tables: Settings) -> None:
    rows = frame(session, 10)
    with pytest.raises(Exception, match="needs the option timestamp"):
        rows.write.format(NAME).options(**options(tables, "ord")).mode("append").save()
    with pytest.raises(Exception, match="rows of other runs must stay"):
        rows.write.format(NAME).options(**options(tables, "ord"), timestamp="1").mode("overwrite").save()
    with pytest.raises(Exception, match="columns table, row, p"):
        rows.write.format(NAME).options(**options_of_all(tables), timestamp="1").mode("append").save()
    with pytest.raises(Exception, match="hbase apply"):
        session.read.format(NAME).options(**options(tables, "nobody_made_it")).load().count()
