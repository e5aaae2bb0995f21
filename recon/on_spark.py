"""The reconciliation's statements on a Spark session: it reads plain files where they are and the staged records of others as
Parquet; what it finds comes back as Parquet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon import plain, results, working_days
from recon.engine import DuckEngine, SparkEngine, run_statements
from recon.landing import schema
from recon.reconcile import Pair, statements
from recon.spec import SourceSpec, Spec
from recon.working_days import EVERY_DAY

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import DataFrame, SparkSession

_PARTITIONS = "spark.sql.shuffle.partitions"
_ROW_INDEX = "_tmp_metadata_row_index"
"""Column of a Parquet file's row numbers as its reader makes it: `_metadata` would build a struct a row, asked for or not."""
_ROWS_A_PARTITION = 600_000
"""What a partition's hash map holds beside a heap of 2 GB; a shuffled hash join does not spill."""

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


@dataclass(frozen=True)
class Inputs:
    """The sources of the sides, and the files of those that Spark reads where they are."""

    sources: Mapping[str, SourceSpec]
    in_place: Mapping[str, Sequence[Path]]


class _FilingEngine(SparkEngine):
    """A Spark session whose matches are left as Parquet files of their parts, for DuckDB to put together and write."""

    def __init__(self, spark: SparkSession, connection: duckdb.DuckDBPyConnection, scratch: Path, filed: set[str]) -> None:
        super().__init__(spark)
        self._connection, self._scratch, self._filed = connection, scratch, filed

    def keep(self, name: str, frame: DataFrame) -> DataFrame:
        """Compute a frame once: what matches are made of as a file, everything else as ever."""
        if name not in self._filed:
            return super().keep(name, frame)
        place = self._scratch / name
        frame.write.parquet(str(place))
        self._connection.execute(f"create or replace temp view {name} as from read_parquet('{place}/*.parquet')")
        kept = self.session.read.parquet(str(place))
        self.provide(name, kept)
        return kept


def reconcile(
    connection: duckdb.DuckDBPyConnection,
    spec: Spec,
    compared: Sequence[Pair],
    inputs: Inputs,
    scratch: Path,
    spark: SparkSession | None = None,
) -> None:
    """Run the statements of every pair on Spark; the results are views of the connection, as DuckDB would have made them."""
    own = spark is None
    spark = spark or session()
    queue = [statement for pair in compared for statement in statements(spec, pair)]
    ends = [one for one in queue if one.name.endswith(("_match", "_matches"))]
    filed = {one.name for one in queue if one.keep} & {word for end in ends for word in re.findall(r"\w+", end.sql)}
    engine = _FilingEngine(spark, connection, scratch, filed)
    partitions = str(spark.conf.get(_PARTITIONS))
    try:
        rows = [_provide_side(engine, connection, name, inputs, spec, scratch) for name in inputs.sources]
        spark.conf.set(_PARTITIONS, str(max(int(partitions), -(-max(rows) // _ROWS_A_PARTITION))))
        run_statements(engine, queue)
        on_duckdb = DuckEngine(connection)
        run_statements(on_duckdb, ends)
        for name in (*results.TABLES, results.BLOCKS):
            parts = " union all ".join(f"select * from {pair.prefix}{name}" for pair in compared)
            if name != "matches":
                spark.sql(parts).write.parquet(str(scratch / name))
                parts = f"from read_parquet('{scratch / name}/*.parquet')"
            connection.execute(f"create or replace temp view {name} as {parts}")
    finally:
        spark.conf.set(_PARTITIONS, partitions)
        engine.close()
        if own:
            spark.stop()


def _provide_side(
    engine: SparkEngine, connection: duckdb.DuckDBPyConnection, name: str, inputs: Inputs, spec: Spec, scratch: Path
) -> int:
    """A side as Spark's view: plain files read where they are, in splits, else what Arrow staged; gives its rows."""
    from pyspark.sql.functions import col

    spark, source = engine.session, inputs.sources[name]
    paths = inputs.in_place.get(name)
    if paths is None:
        staged = scratch / f"side_{name}"
        connection.execute(f"copy side_{name} to '{staged}' (format parquet, per_thread_output true)")
        engine.provide(f"side_{name}", spark.read.parquet(str(staged)))
        found = connection.execute(f"select count(*) from side_{name}").fetchone()
        return int(found[0]) if found else 0
    if spec.calendar != EVERY_DAY:
        engine.provide(plain.CALENDAR, spark.createDataFrame(working_days.table(spec.calendar)))
    raws = [f"raw_{name}_{number}" for number in range(len(paths))]
    for raw, path in zip(raws, paths, strict=True):
        file = spark.read.schema(spark.read.parquet(str(path)).schema.add(_ROW_INDEX, "long")).parquet(str(path))
        columns = [col(_quoted(given)).alias(word) for given, word in plain.names(source).items()]
        engine.provide(raw, file.select(*columns, col(_ROW_INDEX).alias("line_index")))
    text = plain.statement(raws, paths, source, spec)
    others = ", ".join(one for one in schema(source).names if one != "record_id")
    named = plain.own_id(source, plain_ids=True)
    frame = spark.sql(f"select {named} as record_id, {others} from ({text}) as landed where {plain.kept(source)}")
    engine.provide(f"side_{name}", frame)
    return plain.rows(paths)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
