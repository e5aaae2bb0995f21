"""The two engines that run the reconciliation's SQL text: a Spark session or a DuckDB connection."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import DataFrame, SparkSession


BROADCAST_ROWS_MAX = 100_000
_DROPS_AT_ONCE = 8
_PROPAGATION = "spark.sql.constraintPropagation.enabled"


@dataclass(frozen=True)
class Statement:
    """A named SELECT over the views before it.

    `keep`: several statements read it, so compute it once. Where Spark and DuckDB share a queue (`recon.on_spark`), one that is
    `on_driver` runs on DuckDB, and one that `narrows` gives the number of records that are left to be looked at.
    """

    name: str
    sql: str
    keep: bool = False
    on_driver: bool = False
    narrows: bool = False


class Engine(Protocol):
    """Runs statements in order, each as a view of its name that the next ones may read."""

    def define(self, statement: Statement) -> None:
        """Make the view of one statement."""

    def close(self) -> None:
        """Let go of what was kept."""


def run_statements(engine: Engine, statements: Iterable[Statement]) -> None:
    """Define every statement of a queue on an engine."""
    for statement in statements:
        engine.define(statement)


class SparkEngine:
    """A Spark session, classic or Connect; what is kept is checkpointed, which cuts the plan.

    Plans that only persist grow with every view (the analyser copies the whole tree at each join): minutes without work.
    """

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._names: list[str] = []
        self._propagates = str(spark.conf.get(_PROPAGATION))
        self.rows: dict[str, int] = {}
        # Spark 4.1 fails to carry the constraints of a union over a checkpoint ("key not found").
        spark.conf.set(_PROPAGATION, "false")

    @property
    def session(self) -> SparkSession:
        """The session that runs the statements."""
        return self._spark

    def provide(self, name: str, frame: DataFrame) -> None:
        """Give an input to the statements as a view."""
        frame.createOrReplaceTempView(name)
        self._names.append(name)

    def keep(self, name: str, frame: DataFrame) -> DataFrame:
        """Compute a frame once and give the result to the statements as a view; its rows are counted in `rows`."""
        # new column identities: a checkpoint keeps those of its source, which Spark then mixes up when both are joined
        checkpoint = frame.localCheckpoint(eager=False)
        kept = checkpoint.toDF(*checkpoint.columns)
        # the count is the one action that fills the checkpoint
        rows = self.rows[name] = kept.count()
        # A checkpoint has no size the planner trusts: say which frames are small, so that large sides are not shuffled.
        kept = kept.hint("broadcast") if rows <= BROADCAST_ROWS_MAX else kept
        self.provide(name, kept)
        return kept

    def define(self, statement: Statement) -> None:
        """Make the view of one statement."""
        frame = self._spark.sql(statement.sql)
        if statement.keep:
            self.keep(statement.name, frame)
        else:
            self.provide(statement.name, frame)

    def frame(self, name: str) -> DataFrame:
        """Result of a statement."""
        return self._spark.table(name)

    def close(self) -> None:
        """Drop the views (checkpoints go with them) and leave the session as it was."""
        self._spark.conf.set(_PROPAGATION, self._propagates)
        # a drop is one round trip to a Connect server
        with ThreadPoolExecutor(_DROPS_AT_ONCE) as drops:
            list(drops.map(self._spark.catalog.dropTempView, self._names))
        self._names.clear()


_SPARK_WORDS = (
    "create or replace temp macro array_join(items, separator) as array_to_string(items, separator)",
    "create or replace temp macro sha2(text, bits) as sha256(text)",
    # another number than Spark's: to find what may be equal, never to show
    "create or replace temp macro xxhash64(item) as hash(item)",
    "create or replace temp macro explode(items) as unnest(items)",
    "create or replace temp macro get_json_object(document, path) as json_extract_string(document, path)",
)


class DuckEngine:
    """A DuckDB connection that knows the few functions Spark names differently."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._names: list[tuple[str, str]] = []
        for macro in _SPARK_WORDS:
            connection.execute(macro)

    def define(self, statement: Statement) -> None:
        """Make the view (or, when kept, the temporary table) of one statement."""
        kind = "table" if statement.keep else "view"
        self._connection.execute(f"create or replace temp {kind} {statement.name} as {statement.sql}")
        self._names.append((kind, statement.name))

    def number(self, query: str) -> int:
        """The one whole number that a query gives; 0 when it gives none."""
        found = self._connection.execute(query).fetchone()
        return int(found[0]) if found else 0

    def close(self) -> None:
        """Drop what was defined, newest first."""
        for kind, name in reversed(self._names):
            self._connection.execute(f"drop {kind} if exists {name}")
        self._names.clear()
