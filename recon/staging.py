"""Landed sides as tables of a DuckDB connection, each record with an id that is unique on its side and does not depend on its
place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from recon.arrow_tables import create_table
from recon.landing import Landed, land, schema
from recon.spec import Expected, KeyTier, SourceSpec, Spec, Tier
from recon.tiers.scene import Facts

if TYPE_CHECKING:
    import duckdb

_NOT_CONTENT = {"record_id", "file_no", "line_no"}


def sides(spec: Spec) -> dict[str, SourceSpec]:
    """The sources of a spec by the name of their side, each with the fields that identify a record."""
    expected: dict[str, tuple[SourceSpec, list[Tier]]] = {"left": (spec.left, spec.tiers), "right": (spec.right, spec.tiers)}
    if spec.third is not None:
        expected["third"] = (spec.third, spec.third_tiers)
    return {name: _identified(source, tiers) for name, (source, tiers) in expected.items()}


def _identified(source: SourceSpec, tiers: list[Tier]) -> SourceSpec:
    """Without an `id` of its own a record is known by the first strong key, if that is text; else by its content."""
    if source.id or not isinstance(tiers[0], KeyTier):
        return source
    keys = [name for name in tiers[0].keys if name in source.fields]
    if len(keys) < len(tiers[0].keys) or any(source.fields[name].type != "text" for name in keys):
        return source
    return source.model_copy(update={"id": keys})


def stage(connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], source: SourceSpec, spec: Spec) -> Landed:
    """Land files into the table ``side_NAME``; BadInput when a file as a whole cannot be read."""
    landed = Landed()
    failures: list[Exception] = []
    minutes = max(_cutoff_minutes(spec.expected), _cutoff_minutes(spec.third_expected))

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from land(paths, source, spec, minutes, landed)
        except Exception as error:
            # through Arrow's stream only the text of an error would come back
            failures.append(error)
            raise

    columns = schema(source)
    reader = pa.RecordBatchReader.from_batches(columns, batches())
    try:
        create_table(connection, f"side_{name}", reader)
    except Exception:
        if failures:
            raise failures[0] from None
        raise
    # a record without an id is known by its content
    connection.execute(f"update side_{name} set record_id = {_content_id(columns)} where record_id is null")
    _make_ids_unique(connection, f"side_{name}", columns)
    return landed


def _cutoff_minutes(expected: Expected) -> int:
    return expected.cutoff_minutes


def facts(connection: duckdb.DuckDBPyConnection, landed: Mapping[str, Landed]) -> Facts:
    """What is so of all records of all sides, and spares the tiers work on each."""
    currencies = " union all ".join(f"select distinct currency from side_{name}" for name in landed)
    found = connection.execute(f"select distinct currency from ({currencies}) limit 2").fetchall()
    return Facts(all(one.plain_ids for one in landed.values()), found[0][0] if len(found) == 1 else None)


def _content_id(columns: pa.Schema) -> str:
    parts = ", ".join(f"coalesce(cast({name} as varchar), '')" for name in columns.names if name not in _NOT_CONTENT)
    return f"'x' || substring(md5(concat_ws(chr(31), {parts})), 1, 16)"


def _make_ids_unique(connection: duckdb.DuckDBPyConnection, table: str, columns: pa.Schema) -> None:
    """Repeated ids get ``~2``, ``~3`` … in the order of the records' content, so that equal input gives equal ids."""
    # hashes first: grouping numbers costs a third of grouping texts, and few if any repeat
    hashes = f"select hash(record_id) from {table} group by all having count(*) > 1"
    repeated = f"select record_id from {table} where hash(record_id) in ({hashes}) group by record_id having count(*) > 1"
    content = ", ".join(name for name in columns.names if name not in _NOT_CONTENT)
    connection.execute(
        f"""update {table} as t set record_id = t.record_id || '~' || n.turn
        from (select rowid as row_no, row_number() over (partition by record_id order by {content}, file_no, line_no) as turn
          from {table} where record_id in ({repeated})) as n
        where t.rowid = n.row_no and n.turn > 1"""
    )
