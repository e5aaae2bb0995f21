"""`run`: two or three sets of records reconciled by a spec, alone, from files to a folder of results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from domain.errors import BadInput, WrongUse
from recon import answer_key, page, results, sources, staging
from recon.engine import DuckEngine, run_statements
from recon.landing import Landed
from recon.reconcile import Pair, pairs, statements
from recon.spec import SourceSpec, Spec
from recon.working_days import ordinal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENGINES = ("duckdb", "spark")
SPARK_ROWS_MIN = 5_000_000
"""Rows of a side from which Spark is chosen: below, its start costs more than the whole run on DuckDB."""


def run(
    spec: Spec,
    files: Mapping[str, Sequence[Path]],
    out: Path,
    engine: str | None = None,
    as_of: date | None = None,
    key: Path | None = None,
    spark: SparkSession | None = None,
) -> dict[str, Any]:
    """Reconcile the files of each side (``left``, ``right`` and, if the spec has it, ``third``) into a folder; returns the
          summary.

    Raises BadInput when a file cannot be read as a whole; single bad rows go to ``quarantine`` and stop nothing.
    """
    engine = engine or by_size(spec, files)
    if engine not in ENGINES:
        raise WrongUse(f"there is no engine {engine!r}; there are {' and '.join(ENGINES)}")
    sides = staging.sides(spec)
    if set(sides) != set(files):
        raise WrongUse(f"the spec has the sides {', '.join(sides)}; files were given for {', '.join(files)}")
    expected = answer_key.read(key) if key else None
    out.mkdir(parents=True, exist_ok=True)
    with _scratch(out) as scratch, _connection(scratch) as connection:
        on_spark = engine == "spark"
        landed = {name: _landed(connection, name, files[name], source, spec, on_spark) for name, source in sides.items()}
        facts = staging.facts(connection, landed)
        compared = pairs(spec, sides, _as_of_ordinal(connection, spec, as_of, list(sides)), facts, by_join=on_spark)
        if on_spark:
            from recon.on_spark import Inputs, reconcile

            in_place = {name: files[name] for name, one in landed.items() if one.is_in_place}
            reconcile(connection, spec, compared, Inputs(sides, in_place), scratch, spark)
        else:
            _on_duckdb(connection, spec, compared)
        written = results.write(connection, landed, out)
        inputs = {name: results.file_hashes(files[name]) for name in sides}
        found = results.summary(connection, spec, compared, landed, written, inputs)
        found |= {"engine": engine, "as_of": str(_as_of(connection, spec, as_of, list(sides)) or "")}
        if expected is not None:
            found["quality"] = answer_key.quality(connection, expected)
        page.write(connection, spec, found, out)
    results.write_json(out / "summary.json", found)
    return found


def _landed(
    connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], source: SourceSpec, spec: Spec, on_spark: bool
) -> Landed:
    looked = staging.look_at(connection, name, paths, source, spec) if on_spark else None
    return looked or staging.stage(connection, name, paths, source, spec)


def by_size(spec: Spec, files: Mapping[str, Sequence[Path]]) -> str:
    """The engine for files of this size, by the rows of the larger side."""
    sides = {name: getattr(spec, name) for name in files if getattr(spec, name, None) is not None}
    rows = [sum(sources.rows_of(path, source) for path in files[name]) for name, source in sides.items()]
    return "spark" if max(rows, default=0) >= SPARK_ROWS_MIN else "duckdb"


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".scratch-", dir=out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _connection(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    # the order of rows means nothing here, and keeping it costs memory
    settings = {"preserve_insertion_order": "false", "temp_directory": str(scratch / "spill")}
    with duckdb.connect(":memory:", config=settings) as connection:
        yield connection


def _as_of(connection: duckdb.DuckDBPyConnection, spec: Spec, as_of: date | None, names: list[str]) -> date | None:
    """The date that ages count to: given, of the spec, or the newest of the records."""
    if as_of or spec.as_of:
        return as_of or spec.as_of
    newest = " union all ".join(f"select max(business_date) as newest from side_{name}" for name in names)
    found = connection.execute(f"select max(newest) from ({newest})").fetchone()
    return found[0] if found else None


def _as_of_ordinal(connection: duckdb.DuckDBPyConnection, spec: Spec, as_of: date | None, names: list[str]) -> int | None:
    day = _as_of(connection, spec, as_of, names)
    if day is None:
        return None
    try:
        return ordinal(spec.calendar, day)
    except BadInput as error:
        raise BadInput(f"ages cannot be counted: {error}") from None


def _on_duckdb(connection: duckdb.DuckDBPyConnection, spec: Spec, compared: Sequence[Pair]) -> None:
    engine = DuckEngine(connection)
    for pair in compared:
        run_statements(engine, statements(spec, pair))
    for name in (*results.TABLES, results.BLOCKS):
        parts = " union all ".join(f"select * from {pair.prefix}{name}" for pair in compared)
        # matches are a cheap projection of what is kept; the rest is small and read several times
        kind = "view" if name == "matches" else "table"
        connection.execute(f"create or replace temp {kind} {name} as {parts}")
