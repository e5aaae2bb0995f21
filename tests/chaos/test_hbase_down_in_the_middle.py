"""HBase killed in the middle of a Spark write: the write fails in words, and doing it again leaves exactly its rows."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from domain.errors import ServiceMissing
from fundwatch.services import hbase as service
from fundwatch.services import home, process
from fundwatch.settings import Settings, load
from hbase_schema import apply
from hbase_schema.client import HistoryClient
from hbase_schema.spark_source import NAME, HistorySource, cause, options
from hbase_schema.tables import TABLES
from spark_jobs.history import pack

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = 100_000
PARTS = 8


@pytest.fixture
def own_hbase(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An HBase of this test alone, with our tables."""
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path))
    settings = load()
    home.prepare(settings)
    try:
        service.start(settings)
        apply.apply(settings)
        yield settings
    finally:
        process.stop(settings, service.NAME, service.STOP_SIGNAL)


def orders(spark: SparkSession) -> DataFrame:
    values = {
        "platform_id": F.lit("P01"),
        "request_no": F.concat(F.lit("R"), F.col("id")),
        "order_type": F.lit("RECHARGE"),
        "amount_minor": F.col("id"),
        "currency": F.lit("CNY"),
        "recorded_at": F.lit("2026-08-31 04:00:00").cast("timestamp"),
        "business_date": F.lit("2026-08-31").cast("date"),
    }
    rows = spark.range(0, ROWS, 1, PARTS)
    return pack(TABLES["ord"], rows.select(F.col("id").alias("order_id"), *(value.alias(name) for name, value in values.items())))


def kill_at_the_first_row(settings: Settings) -> None:
    """SIGKILL for HBase as soon as the table holds a row; the write runs in the main thread, where its session is active."""
    deadline = time.monotonic() + 120
    with HistoryClient.of(settings) as client:
        while not client.scan("ord", b"", b"", 1):
            assert time.monotonic() < deadline, "no row came within two minutes"
    process.stop(settings, service.NAME, signal.SIGKILL)


@pytest.mark.chaos
def test_a_write_through_spark_that_was_cut_off_is_whole_after_it_is_done_again(spark: SparkSession, own_hbase: Settings) -> None:
    spark.dataSource.register(HistorySource)
    rows = orders(spark)
    target = options(own_hbase, "ord")

    def write() -> None:
        rows.write.format(NAME).options(**target, timestamp="5").mode("append").save()

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_at_the_first_row, own_hbase)
        with pytest.raises(Exception) as broken:
            write()
        killing.result()
    assert isinstance(cause(broken.value), ServiceMissing)
    service.start(own_hbase)
    with HistoryClient.of(own_hbase, timeout_seconds=30) as client:
        assert 0 < client.count("ord") < ROWS
    write()
    there = spark.read.format(NAME).options(**target).load()
    assert there.count() == ROWS
    assert there.exceptAll(rows).isEmpty()
