"""Landed sides as views of a DuckDB connection, each record with an id that is unique on its side and does not depend on its
place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from recon import plain, sequence, working_days
from recon.arrow_tables import create_table
from recon.landing import Landed, land, schema
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
    text = _plain_text(paths, source, spec)
    if text is None:
        return None
    _provide_calendar(connection, spec)
    try:
        connection.execute(f"create or replace table landed_{name} as {text}")
        if connection.execute(f"select 1 from landed_{name} where {plain.faults(source)} limit 1").fetchone():
            return None
    except duckdb.Error:
        # whatever it is, Arrow's readers say it of the file and the line
        return None
    landed = Landed([path.name for path in paths], plain.rows(paths))
    landed.left_out = _drop_others(connection, name, source)
    landed.plain_ids = connection.execute(f"select 1 from landed_{name} where {plain.escaped(source)} limit 1").fetchone() is None
    return landed


def look_at(
    connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[Path], source: SourceSpec, spec: Spec
) -> Landed | None:
    """Plain files left where they are, as the view ``side_NAME``, for an engine that reads them itself; None when they have to
    be staged: a fault, a record without its key, or an id that the first tier does not number."""
    text = _plain_text(paths, source, spec)
    if text is None or not is_first_key(spec, name, source):
        return None
    _provide_calendar(connection, spec)
    taking_part = f"select * from ({text}) as landed where {plain.kept(source)}"
    named = plain.own_id(source, plain_ids=True)
    try:
        found = connection.execute(
            f"""select bool_or({plain.faults(source)}), count(*) filter ({plain.kept(source)}),
                coalesce(bool_or({plain.escaped(source)} or ({named}) is null) filter ({plain.kept(source)}), false)
              from ({text}) as landed"""
        ).fetchone()
    except duckdb.Error:
        return None
    if found is None or found[0] or found[2]:
        return None
    landed = Landed([path.name for path in paths], plain.rows(paths), is_in_place=True)
    landed.left_out = landed.rows - found[1]
    own = f"select * replace ({named} as record_id)"
    connection.execute(f"create or replace view side_{name} as {own} from ({taking_part}) as taking")
    return landed


def _plain_text(paths: Sequence[Path], source: SourceSpec, spec: Spec) -> str | None:
    columns = [f"{_quoted(name)} as {word}" for name, word in plain.names(source).items()]
    listed = ", ".join([*columns, "file_row_number as line_index"])
    raws = [f"(select {listed} from read_parquet({literal(str(path))}, file_row_number = true))" for path in paths]
    return plain.statement(raws, paths, source, spec)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _provide_calendar(connection: duckdb.DuckDBPyConnection, spec: Spec) -> None:
    if spec.calendar != EVERY_DAY:
        connection.execute(f"drop table if exists {plain.CALENDAR}")
        create_table(connection, plain.CALENDAR, working_days.table(spec.calendar))


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
    is_keyed = all(one.is_in_place for one in landed.values())
    return Facts(all(one.plain_ids for one in landed.values()), found[0][0] if len(found) == 1 else None, is_keyed)


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
