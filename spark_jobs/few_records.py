"""The reconciliation of a night of few records, on the machine where the lake lies: the same SQL text on DuckDB (decision 0022).

For so few rows Spark's time is planning: a hundred statements, each analysed, planned and cut into tasks. The result is the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import duckdb

from domain.errors import WrongUse
from lake import store
from lake.steps import StepContext, StepResult
from lake.tables import TABLES
from recon.engine import DuckEngine, run_statements
from recon.on_duckdb import EARLIER, create_inputs
from recon.outputs import WRITTEN
from recon.pipeline import INPUTS, Scope, statements
from recon.rules import RuleSet

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS_MAX = 500_000
"""Rows of all books together up to which a night is small."""
_LOCAL = ("sc://localhost", "sc://127.0.0.1")


@dataclass(frozen=True)
class DataFile:
    """A data file of the run's rows in the lake."""

    table: str
    path: Path
    rows: int


def chosen(context: StepContext) -> list[DataFile] | None:
    """The files to reconcile on DuckDB, or None when Spark has to: many rows, or a lake and a Spark that are elsewhere.

    WrongUse when DuckDB is asked for and cannot reach the lake.
    """
    settings = context.settings
    if settings.recon_engine == "spark":
        return None
    is_near = urlsplit(settings.lake_warehouse).scheme in ("", "file")
    is_near &= (settings.spark_remote or _LOCAL[0]).startswith(_LOCAL) and settings.spark_master.startswith("local")
    files = _files(context) if is_near else []
    is_here = is_near and all(file.path.exists() for file in files)
    if settings.recon_engine == "duckdb":
        if not is_here:
            raise WrongUse("recon_engine is duckdb, but the lake or Spark is not on this machine: make it auto or spark")
        return files
    return files if is_here and sum(file.rows for file in files) <= ROWS_MAX else None


def _files(context: StepContext) -> list[DataFile]:
    """What Iceberg says of the run's files: names, never rows."""
    query = " union all ".join(
        f"select '{name}' as name, file_path, record_count from {TABLES[name].identifier}.files "
        f"where content = 0 and partition.run_id = {context.run.run_id}"
        for name in INPUTS
    )
    return [
        DataFile(row["name"], Path(unquote(urlsplit(row["file_path"]).path)), row["record_count"])
        for row in context.spark.sql(query).collect()
    ]


def run(
    context: StepContext,
    rules: RuleSet,
    files: Sequence[DataFile],
    before: Mapping[str, DataFrame],
    scope: Callable[[date | None], Scope],
) -> StepResult:
    """Reconcile the files and what earlier dates left (`before`) and write the tables of `recon.outputs.WRITTEN`.

    `scope`: from the date on which the oldest carried item opened. Killed half-way it leaves a folder that the next run clears.
    """
    scratch = context.settings.home / "spark" / "tmp" / "few_records"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with duckdb.connect(config={"temp_directory": str(scratch / "spill")}) as connection:
            connection.execute("set TimeZone = 'UTC'")
            create_inputs(connection)
            for name in INPUTS:
                _insert(connection, name, name, [file.path for file in files if file.table == name])
            for name, frame in before.items():
                frame.write.parquet(str(scratch / name))
                _insert(connection, name, EARLIER[name], sorted((scratch / name).glob("*.parquet")))
            return _reconcile(context, connection, rules, scope, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _insert(connection: duckdb.DuckDBPyConnection, name: str, table: str, paths: Sequence[Path]) -> None:
    if paths:
        columns = ", ".join(
            f"cast({column} as {kind}) as {column}" for column, kind in (part.split(" ", 1) for part in TABLES[table].declared)
        )
        connection.execute(
            f"insert into {name} by name select {columns} from read_parquet($paths, union_by_name = true)",
            {"paths": [str(path) for path in paths]},
        )


def _reconcile(
    context: StepContext,
    connection: duckdb.DuckDBPyConnection,
    rules: RuleSet,
    scope: Callable[[date | None], Scope],
    scratch: Path,
) -> StepResult:
    opened = connection.execute("select min(opened_on) from carried").fetchone()
    queue = statements(rules, scope(opened[0] if opened else None))
    with closing(DuckEngine(connection)) as engine:
        run_statements(engine, queue)
        frames = {}
        for name in WRITTEN:
            place, columns = scratch / f"out_{name}.parquet", ", ".join(TABLES[name].columns)
            connection.execute(f"copy (select {columns} from out_{name}) to '{place}' (format parquet)")
            frames[name] = context.spark.read.schema(TABLES[name].ddl).parquet(place.as_uri())
        tables = store.write_all(context, frames)
        rows = {one.name: engine.number(f"select count(*) from {one.name}") for one in queue if one.keep}
        records = engine.number("select coalesce(sum(n_left + n_right), 0) from key_group")
    return StepResult(records, sum(tables.values()), tables, {"engine": "duckdb", "rows": rows})
