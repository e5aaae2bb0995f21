"""Landed sides as views of a DuckDB connection, each record with an id that is unique on its side and does not depend on its
place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recon import plain, sequence, working_days
from recon.arrow_tables import create_table
from recon.landing import Landed, column, land, schema
from recon.spec import KeyTier, SourceSpec, Spec, Tier
from recon.tiers.scene import Facts, literal
from recon.working_days import EVERY_DAY

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
    """Land files as the view ``side_NAME``; BadInput when a file as a whole cannot be read."""
    columns = schema(source)
    landed = _as_it_stands(connection, name, paths, source, spec) or _through_arrow(connection, name, paths, source, spec)
    text_id = plain.own_id(source, plain_ids=landed.plain_ids)
    # a record without an id is known by its content
    nameless = f"record_id is null and ({text_id}) is null" if text_id else "record_id is null"
    connection.execute(f"update landed_{name} set record_id = {_content_id(columns)} where {nameless}")
    own = f"coalesce(record_id, {text_id})" if text_id else "record_id"
    _make_ids_unique(connection, f"landed_{name}", own, columns, only_kept=is_first_key(spec, name, source))
    connection.execute(f"create or replace view side_{name} as select * replace ({own} as record_id) from landed_{name}")
    return landed


def is_first_key(spec: Spec, name: str, source: SourceSpec) -> bool:
    """Whether the id is the key of the first tier, which numbers the repeats itself because it finds them anyway."""
    first = spec.tiers[0]
    return isinstance(first, KeyTier) and source.id == first.keys and (name == "left" or spec.third is None)


def _as_it_stands(
    connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], source: SourceSpec, spec: Spec
) -> Landed | None:
    """Files whose columns are plain and hold no fault; None when they have to be read by Arrow."""
    types = plain.columns_of(paths, source)
    if types is None:
        return None
    parts = []
    for number, path in enumerate(paths):
        raw = f"read_parquet({literal(str(path))}, file_row_number = true)"
        part = plain.select(raw, "p.file_row_number", number, source, spec, types)
        if part is None:
            return None
        parts.append(part)
    if spec.calendar != EVERY_DAY:
        connection.execute(f"drop table if exists {plain.CALENDAR}")
        create_table(connection, plain.CALENDAR, working_days.table(spec.calendar))
    try:
        connection.execute(f"create or replace table landed_{name} as {' union all '.join(parts)}")
        if connection.execute(f"select 1 from landed_{name} where {plain.faults(source)} limit 1").fetchone():
            return None
    except duckdb.Error:
        # whatever it is, Arrow's readers say it of the file and the line
        return None
    landed = Landed([path.name for path in paths], sum(pq.read_metadata(path).num_rows for path in paths))
    landed.left_out = _drop_others(connection, name, source)
    escaped = " or ".join(f"contains({column(field, source.fields[field])}, ';')" for field in source.id) or "false"
    landed.plain_ids = connection.execute(f"select 1 from landed_{name} where {escaped} limit 1").fetchone() is None
    return landed


def _through_arrow(
    connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], source: SourceSpec, spec: Spec
) -> Landed:
    landed = Landed()
    failures: list[Exception] = []
    minutes = max(spec.expected.cutoff_minutes, spec.third_expected.cutoff_minutes)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from land(paths, source, spec, minutes, landed)
        except Exception as error:
            # through Arrow's stream only the text of an error would come back
            failures.append(error)
            raise

    reader = pa.RecordBatchReader.from_batches(schema(source), batches())
    connection.execute(f"drop table if exists landed_{name}")
    try:
        create_table(connection, f"landed_{name}", reader)
    except Exception:
        if failures:
            raise failures[0] from None
        raise
    if source.has_sequence:
        landed.sequences = sequence.number_days(connection, f"landed_{name}", source)
        landed.left_out = _drop_others(connection, name, source)
    return landed


def _drop_others(connection: duckdb.DuckDBPyConnection, name: str, source: SourceSpec) -> int:
    """Records that do not take part go; gives their number."""
    if not source.keep:
        return 0
    dropped = connection.execute(f"delete from landed_{name} where ({plain.kept(source)}) is not true").fetchone()
    return int(dropped[0]) if dropped else 0


def facts(connection: duckdb.DuckDBPyConnection, landed: Mapping[str, Landed]) -> Facts:
    """What is so of all records of all sides, and spares the tiers work on each."""
    currencies = " union all ".join(f"select distinct currency from side_{name}" for name in landed)
    found = connection.execute(f"select distinct currency from ({currencies}) limit 2").fetchall()
    return Facts(all(one.plain_ids for one in landed.values()), found[0][0] if len(found) == 1 else None)


def _content_id(columns: pa.Schema) -> str:
    parts = ", ".join(f"coalesce(cast({name} as varchar), '')" for name in columns.names if name not in _NOT_CONTENT)
    return f"'x' || substring(md5(concat_ws(chr(31), {parts})), 1, 16)"


def _make_ids_unique(connection: duckdb.DuckDBPyConnection, table: str, own: str, columns: pa.Schema, *, only_kept: bool) -> None:
    """Repeated ids get ``~2``, ``~3`` … in the order of the records' content, so that equal input gives equal ids.

    `own`: expression of the id; `only_kept`: just the ids that stand in the table itself.
    """
    among = f"{table} where record_id is not null" if only_kept else table
    # hashes first: grouping numbers costs a third of grouping texts, and few if any repeat
    hashes = f"select hash({own}) from {among} group by all having count(*) > 1"
    repeated = f"select {own} as own_id from {table} where hash({own}) in ({hashes}) group by own_id having count(*) > 1"
    content = ", ".join(name for name in columns.names if name not in _NOT_CONTENT)
    connection.execute(
        f"""update {table} as t set record_id = n.own_id || '~' || n.turn
        from (select rowid as row_no, {own} as own_id, row_number() over (partition by {own} order by {content}, file_no, line_no)
            as turn
          from {table} where {own} in ({repeated})) as n
        where t.rowid = n.row_no and n.turn > 1"""
    )
