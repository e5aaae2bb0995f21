"""What a reconciliation leaves behind: tables as CSV and Parquet with content hashes, and the summary with its identity."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recon.arrow_tables import create_table
from recon.landing import PREFIX, Landed
from recon.reconcile import Pair
from recon.spec import Spec

if TYPE_CHECKING:
    import duckdb

TABLES = ("matches", "breaks", "explanations")
BLOCKS = "blocks"
"""Only told in the summary: how large the blocks of candidates were."""
_PLACES = {"left_places", "right_places"}
# what follows from the other columns is left out: a hash of ten million matches should not cost more than finding them
_CONTENT = {
    "matches": ["pair", "state", "tier", "score", "left_ids", "right_ids", "left_minor", "right_minor", "currency"],
    "quarantine": ["side", "column", "reason", "raw"],
}
_SHARED = {"matches": ["pair", "state", "tier", "score", "currency"]}
_ORDER = {
    "matches": "pair, group_id",
    "breaks": "pair, break_id, currency",
    "explanations": "pair, subject_id, step, signal",
    "quarantine": 'side, file, line, "column", reason',
    "sequences": "side, field, record_id",
}
ORDERED_ROWS_MAX = 250_000
"""Tables up to so many rows are written in order, byte for byte the same again; sorting more would cost more than matching."""
_CHUNK = 2**20
QUARANTINE = pa.schema([("side", pa.string()), ("file", pa.string()), ("line", pa.int64()), ("column", pa.string()),
                        ("reason", pa.string()), ("reason_zh", pa.string()), ("raw", pa.string())])  # fmt: skip


def write(connection: duckdb.DuckDBPyConnection, landed: Mapping[str, Landed], out: Path) -> dict[str, dict[str, Any]]:
    """Write the result views and the quarantine of a connection; gives rows and content hash of each."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"side": side, **asdict(fault)} for side, one in landed.items() for fault in one.faults]
    create_table(connection, "quarantine", pa.Table.from_pylist(rows, schema=QUARANTINE))
    places = _sequences(landed)
    if places:
        connection.execute(f"create or replace temp view sequences as {places}")
    return {name: _written(connection, name, out) for name in (*TABLES, "quarantine", *(["sequences"] if places else []))}


def _sequences(landed: Mapping[str, Landed]) -> str:
    """Places inside an account's day by record, of the sides whose spec asks for them."""
    return " union all ".join(
        f"""select '{side}' as side, record_id, business_date, '{name}' as field, {PREFIX["text"]}{name} as place
          from side_{side} where {PREFIX["text"]}{name} is not null"""
        for side, one in landed.items()
        for name in one.sequences
    )


def _written(connection: duckdb.DuckDBPyConnection, name: str, out: Path) -> dict[str, Any]:
    found = content(connection, name)
    order = f" order by {_ORDER[name]}" if found["rows"] <= ORDERED_ROWS_MAX else ""
    for suffix, options in (("parquet", "format parquet, compression zstd"), ("csv", "format csv, header true")):
        target = str(out / f"{name}.{suffix}").replace("'", "''")
        connection.execute(f"copy (select * from {name}{order}) to '{target}' ({options})")
    return found


def content(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """Row count and a hash that depends on the rows alone, not on their order nor on the lines they came from.

    Each row's 128-bit md5 is cut into halves that are summed: sums do not depend on the order and, unlike XOR, see a row twice.
    What is the same in many rows is hashed once with their sums, and a right value like the left one is not hashed twice.
    """
    columns = _CONTENT.get(name) or [row[0] for row in connection.execute(f"describe {name}").fetchall() if row[0] not in _PLACES]
    shared = _SHARED.get(name, [])
    text = ", ".join(_hashed(one, columns) for one in columns if one not in shared)
    digest = f"select {', '.join(['1 as one', *shared])}, md5_number(concat_ws(chr(31), {text})) as digest from {name}"
    low = "18446744073709551615::uhugeint"
    sums = connection.execute(
        f"""select {", ".join(["count(*)", *shared])}, sum((digest & {low})::uint64), sum((digest >> 64)::uint64)
          from ({digest}) group by {", ".join(["one", *shared])} order by all"""
    ).fetchall()
    rows = sum(found[0] for found in sums)
    return {"rows": rows, "sha256": sha256("\n".join("|".join(map(str, found)) for found in sums).encode()).hexdigest()}


def _hashed(name: str, columns: Sequence[str]) -> str:
    twin = name.replace("right_", "left_", 1)
    text = f"""coalesce(cast("{name}" as varchar), chr(30))"""
    return f"""case when "{name}" = "{twin}" then chr(29) else {text} end""" if twin != name and twin in columns else text


def file_hashes(paths: Sequence[Path]) -> dict[str, str]:
    """sha256 of files by their names."""
    hashes = {}
    for path in paths:
        digest = sha256()
        with path.open("rb") as stream:
            while data := stream.read(_CHUNK):
                digest.update(data)
        hashes[path.name] = digest.hexdigest()
    return hashes


def summary(
    connection: duckdb.DuckDBPyConnection,
    spec: Spec,
    compared: Sequence[Pair],
    landed: Mapping[str, Landed],
    written: Mapping[str, dict[str, Any]],
    inputs: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Counts, sums per currency, the identity of each pair and currency, hashes and versions.

    ``result_sha256`` is the content hash of matches, breaks and explanations together.
    """
    result = sha256("|".join(str(written[name]["sha256"]) for name in TABLES).encode()).hexdigest()
    pairs = {pair.name: _pair_summary(connection, pair) for pair in compared}
    return {
        "name": spec.name,
        "spec_version": spec.version,
        "sides": {
            side: {"files": dict(inputs[side]), "rows": one.rows, "quarantined": one.quarantined, "left_out": one.left_out,
                   "records": one.rows - one.quarantined - one.left_out, "sequences": one.sequences}
            for side, one in landed.items()
        },
        "pairs": pairs,
        "balanced": all(entry["holds"] for pair in pairs.values() for entry in pair["identity"]),
        "tables": dict(written),
        "spec_sha256": spec.sha256,
        "result_sha256": result,
        "versions": {"fundwatch": version("fundwatch"), "duckdb": version("duckdb"), "pyarrow": version("pyarrow"),
                     "python": platform.python_version()},
    }  # fmt: skip


def _pair_summary(connection: duckdb.DuckDBPyConnection, pair: Pair) -> dict[str, Any]:
    def rows(text: str) -> list[dict[str, Any]]:
        cursor = connection.execute(text)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    tiers = rows(
        f"""select tier, state, count(*)::bigint as matches, sum(left_count)::bigint as left_records, sum(right_count)::bigint
              as right_records
          from matches where pair = '{pair.name}' group by all order by tier, state"""
    )
    kinds = rows(
        f"""select kind, code, currency, count(*)::bigint as breaks, sum(effect_minor)::bigint as effect_minor,
            sum(abs(effect_minor))::bigint as size_minor, max(age_working_days) as oldest_working_days
          from breaks where pair = '{pair.name}' group by all order by kind, code, currency"""
    )
    blocks = rows(
        f"select tier, blocks, largest_records, largest_pairs, processed from {BLOCKS} where pair = '{pair.name}' order by tier"
    )
    return {"tiers": tiers, "kinds": kinds, "blocks": blocks, "identity": rows(_identity(pair))}


def _identity(pair: Pair) -> str:
    """Left total less right total against the effects of all open items, per currency."""
    return f"""with total as (
        select currency, amount_minor as left_minor, 0 as right_minor, 0 as effect_minor, 1 as lefts, 0 as rights from
          side_{pair.left_name} where {pair.left_condition}
        union all select currency, 0, amount_minor, 0, 0, 1 from side_{pair.right_name}
        union all select currency, 0, 0, effect_minor, 0, 0 from breaks where pair = '{pair.name}')
      select currency, sum(lefts)::bigint as left_records, sum(rights)::bigint as right_records, sum(left_minor)::bigint as
        left_minor,
        sum(right_minor)::bigint as right_minor, (sum(left_minor) - sum(right_minor))::bigint as difference_minor,
        sum(effect_minor)::bigint as open_items_minor, sum(left_minor) - sum(right_minor) = sum(effect_minor) as holds
      from total group by currency order by currency"""


def write_json(path: Path, content_of: Mapping[str, Any]) -> None:
    """Keep a mapping as readable JSON."""
    path.write_text(json.dumps(content_of, indent=2, ensure_ascii=False, default=str, sort_keys=True) + "\n", encoding="utf-8")
