"""HBase through Spark: rows/s written and read by `fundwatch_hbase`, cold and warm → bench/results/hbase_through_spark.json.

    python -m bench.hbase_through_spark [ROWS]

It needs `fundwatch up`; its session is one of the Connect server that `FUNDWATCH_SPARK_REMOTE` names, else one of its own.
Its table lies under the prefix `bench_`; rows are balances of one date.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pyspark.sql import functions as F

from bench import result
from fundwatch.settings import load
from hbase_schema import apply
from hbase_schema.spark_source import NAME, HistorySource, options
from hbase_schema.tables import TABLES
from lake.session import spark_session
from spark_jobs.history import pack

TABLE = "acct_bal"
MEASUREMENT = "hbase_through_spark"


def balances(spark: Any, rows: int) -> Any:
    """Packed balances of `rows` accounts on one date."""
    zero = F.lit(0).cast("bigint")
    plain = spark.range(0, rows, 1, 4).select(
        F.col("id").alias("account_id"),
        F.lit("2026-08-31").cast("date").alias("business_date"),
        F.lit("P01").alias("platform_id"),
        F.concat(F.lit("P01-L-"), F.col("id")).alias("account_no"),
        F.lit("CNY").alias("currency"),
        zero.alias("opening_minor"),
        zero.alias("debit_minor"),
        F.col("id").alias("credit_minor"),
        F.col("id").alias("closing_minor"),
        zero.alias("held_minor"),
    )
    return pack(TABLES[TABLE], plain)


def measured(rows: int, work: Callable[[], object]) -> dict[str, float]:
    """Seconds and rows per second of one piece of work."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2), "rows_per_second": round(rows / seconds)}


def main(rows: int) -> None:
    """Write and read twice each, check the count, and keep the figures."""
    os.environ["FUNDWATCH_HBASE_PREFIX"] = "bench_"
    settings = replace(load(), spark_memory="1g")
    apply.apply(settings)
    spark = spark_session(settings, "bench")
    spark.dataSource.register(HistorySource)
    target = options(settings, TABLE)

    def write() -> None:
        balances(spark, rows).write.format(NAME).options(**target, timestamp="1").mode("append").save()

    def read() -> None:
        found = spark.read.format(NAME).options(**target).load().agg(F.count("*"), F.sum(F.length("p"))).collect()[0]
        if found[0] != rows or found[1] != rows * TABLES[TABLE].cell.width:
            sys.exit(f"{found[0]} rows with {found[1]} bytes were read, {rows} were written")

    figures: dict[str, Any] = {"rows": rows, "key_bytes": TABLES[TABLE].key.width, "cell_bytes": TABLES[TABLE].cell.width}
    for name, work in (("write_first", write), ("write_warm", write), ("read_first", read), ("read_warm", read)):
        figures[name] = measured(rows, work)
        print(name, figures[name], flush=True)
    spark.stop()
    result.write(MEASUREMENT, figures, settings)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
