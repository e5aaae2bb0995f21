"""The reconciliation's statements on a Spark session: the staged records go in as Parquet, the results come back as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recon import results
from recon.engine import SparkEngine, run_statements
from recon.reconcile import Pair, statements
from recon.spec import Spec

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import SparkSession

_CONF = {
    "spark.master": "local[*]",
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "16",
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -XX:ReservedCodeCacheSize=512m",
    "spark.driver.memory": "4g",
}


def session() -> SparkSession:
    """The session at hand, or a local one of its own."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("reconciliation")
    for name, value in _CONF.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def reconcile(
    connection: duckdb.DuckDBPyConnection,
    spec: Spec,
    compared: Sequence[Pair],
    sides: Sequence[str],
    scratch: Path,
    spark: SparkSession | None = None,
) -> None:
    """Run the statements of every pair on Spark; the results are views of the connection, as DuckDB would have made them."""
    own = spark is None
    spark = spark or session()
    engine = SparkEngine(spark)
    try:
        for side in sides:
            staged = scratch / f"side_{side}"
            connection.execute(f"copy side_{side} to '{staged}' (format parquet, per_thread_output true)")
            engine.provide(f"side_{side}", spark.read.parquet(str(staged)))
        for pair in compared:
            run_statements(engine, statements(spec, pair))
        for name in results.TABLES:
            text = " union all ".join(f"select * from {pair.prefix}{name}" for pair in compared)
            spark.sql(text).write.parquet(str(scratch / name))
            connection.execute(f"create or replace temp view {name} as from read_parquet('{scratch / name}/*.parquet')")
    finally:
        engine.close()
        if own:
            spark.stop()
