"""The reconciliation's statements on a Spark session: it reads plain files where they are and the staged records of others as
Parquet, and joins and judges them; what is left when that is done is DuckDB's (decision 0021)."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from recon import plain, results, working_days
from recon.engine import BROADCAST_ROWS_MAX, DuckEngine, SparkEngine, Statement
from recon.landing import schema
from recon.reconcile import Pair, statements
from recon.spec import SourceSpec, Spec
from recon.working_days import EVERY_DAY

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

_PARTITIONS, _ADAPTIVE = "spark.sql.shuffle.partitions", "spark.sql.adaptive.enabled"
_ROW_INDEX = "_tmp_metadata_row_index"
"""Column of a Parquet file's row numbers as its reader makes it: `_metadata` would build a struct a row, asked for or not."""
LEFT_ROWS_MAX = 2_000_000
"""Records up to which what is left after a tier is no longer worth a cluster's work."""
_ROWS_A_PARTITION = 600_000
"""What a partition's hash map holds beside a heap of 2 GB; a shuffled hash join does not spill."""

_PLAINLY = {"compression": "none", "parquet.enable.dictionary": "false"}
_WORD = re.compile(r"\w+")
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


class _SharedQueue:
    """Spark and DuckDB over one queue: what grows with the sides runs on Spark, what is left of them on DuckDB.

    Every kept statement is seen by both: Spark leaves its rows as Parquet files, DuckDB's are handed on as such.
    """

    def __init__(self, spark: SparkSession, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._spark, self._duck = SparkEngine(spark), DuckEngine(connection)
        self._connection, self._scratch = connection, scratch
        self._only_here: set[str] = set()

    @property
    def spark(self) -> SparkEngine:
        """The part that runs on Spark."""
        return self._spark

    def run(self, queue: Sequence[Statement]) -> None:
        """Define the statements of one pair of sides: on Spark until little is left, then on DuckDB."""
        is_narrow = False
        for statement in queue:
            if is_narrow or statement.on_driver:
                self._duck.define(statement)
                self._only_here.add(statement.name)
            elif statement.keep:
                self._file(statement)
            else:
                self._hand_on(statement.sql)
                self._spark.define(statement)
                self._duck.define(statement)
            if statement.narrows and self._duck.number(f"select records from {statement.name}") <= LEFT_ROWS_MAX:
                is_narrow = True

    def _file(self, statement: Statement) -> None:
        """What Spark computes, as Parquet files that both read; plainly written, since they do not live long."""
        self._hand_on(statement.sql)
        place = self._scratch / statement.name
        self._spark.session.sql(statement.sql).write.options(**_PLAINLY).parquet(str(place))
        self._connection.execute(f"create or replace temp view {statement.name} as from read_parquet('{place}/*.parquet')")
        self._provide(statement.name, place)

    def _hand_on(self, sql: str) -> None:
        """Give Spark what a statement reads and only DuckDB has."""
        for name in sorted(self._only_here.intersection(_WORD.findall(sql))):
            place = self._scratch / f"{name}.parquet"
            self._connection.execute(f"copy {name} to '{place}' (format parquet)")
            self._provide(name, place)
            self._only_here.remove(name)

    def _provide(self, name: str, place: Path) -> None:
        first = place if place.is_file() else min(place.glob("*.parquet"))
        frame = self._spark.session.read.schema(_schema(first)).parquet(str(place))
        rows = self._duck.number(f"select count(*) from {name}")
        self._spark.provide(name, frame.hint("broadcast") if rows <= BROADCAST_ROWS_MAX else frame)

    def close(self) -> None:
        """Let go of Spark's views; the results are views of the connection."""
        self._spark.close()


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
    shared = _SharedQueue(spark, connection, scratch)
    before = {name: str(spark.conf.get(name)) for name in (_PARTITIONS, _ADAPTIVE)}
    try:
        rows = [_provide_side(shared.spark, connection, name, inputs, spec, scratch) for name in inputs.sources]
        spark.conf.set(_PARTITIONS, str(max(int(before[_PARTITIONS]), -(-max(rows) // _ROWS_A_PARTITION))))
        # the sides' sizes are known and no key is heavy: planning again between stages only costs
        spark.conf.set(_ADAPTIVE, "false")
        for pair in compared:
            shared.run(statements(spec, pair))
        for name in (*results.TABLES, results.BLOCKS):
            parts = " union all ".join(f"select * from {pair.prefix}{name}" for pair in compared)
            kind = "view" if name == "matches" else "table"
            connection.execute(f"create or replace temp {kind} {name} as {parts}")
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
        shared.close()
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
        file = spark.read.schema(_schema(path, plain.names(source)).add(_ROW_INDEX, "long")).parquet(str(path))
        columns = [col(_quoted(given)).alias(word) for given, word in plain.names(source).items()]
        engine.provide(raw, file.select(*columns, col(_ROW_INDEX).alias("line_index")))
    text = plain.statement(raws, paths, source, spec)
    others = ", ".join(one for one in schema(source).names if one != "record_id")
    named = plain.own_id(source, plain_ids=True)
    frame = spark.sql(f"select {named} as record_id, {others} from ({text}) as landed where {plain.kept(source)}")
    engine.provide(f"side_{name}", frame)
    return plain.rows(paths)


def _schema(path: Path, names: Container[str] | None = None) -> StructType:
    """Spark's types of a Parquet file's columns by its footer: asking Spark itself is a job."""
    from pyspark.sql.pandas.types import from_arrow_schema

    found = pq.read_schema(path)
    return from_arrow_schema(pa.schema([one for one in found if names is None or one.name in names]))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
