"""How well a reconciliation did against an answer key: found, missed and extra per scenario, false confirmations, review queue.

A key is CSV or JSON rows of `scenario, outcome, left_ids, right_ids` and, with a third side, `pair`: outcome MATCH for records
that must be confirmed together, PROPOSED for those that belong together and may only be proposed, else the kind of their break;
ids are separated by ';'.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from domain.errors import BadInput
from recon.arrow_tables import create_table
from recon.kinds import KINDS

if TYPE_CHECKING:
    import duckdb

COLUMNS = ("pair", "scenario", "outcome", "left_ids", "right_ids")
MATCH, PROPOSED = "MATCH", "PROPOSED"
_IDS = "array_to_string(list_sort(string_split({0}, ';')), ';')"


def read(path: Path) -> pa.Table:
    """The rows of a key; BadInput when it is not one."""
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = [{name: str(row.get(name, "")) for name in COLUMNS} for row in content]
            table = pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in COLUMNS]))
        else:
            options = csv.ConvertOptions(
                column_types={name: pa.string() for name in COLUMNS}, include_columns=list(COLUMNS), include_missing_columns=True
            )
            table = csv.read_csv(path, convert_options=options)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"answer key {path.name}: {error}") from None
    unknown = sorted(set(table["outcome"].to_pylist()) - {MATCH, PROPOSED, *KINDS})
    if unknown:
        raise BadInput(f"answer key {path.name}: unknown outcomes {', '.join(map(repr, unknown))}")
    return table


def quality(connection: duckdb.DuckDBPyConnection, key: pa.Table) -> dict[str, Any]:
    """Precision and recall of confirmed matches and of breaks, false confirmations and precision of what was proposed.

    Confirmations count only when the key says which records belong together. A ratio without cases is None.
    """
    create_table(connection, "answer_key", key)
    connection.execute(_EXPECTED)
    connection.execute(_FOUND)
    scenarios = _rows(connection, _BY_SCENARIO)
    total = _rows(connection, _TOTAL)[0]
    has_matches = bool(total["expected_matches"])
    confirmed, correct = total["confirmed"], total["confirmed_rightly"]
    return {
        "scenarios": scenarios,
        "match_precision": _ratio(correct, confirmed) if has_matches else None,
        "match_recall": _ratio(correct, total["expected_matches"]) if has_matches else None,
        "false_confirmations": confirmed - correct if has_matches else total["confirmed_broken"],
        "break_precision": _ratio(total["breaks_rightly"], total["breaks"]),
        "break_recall": _ratio(total["breaks_rightly"], total["expected_breaks"]),
        "review_precision": _ratio(total["proposed_rightly"], total["proposed"]) if has_matches else None,
        "missed": sum(row["missed"] for row in scenarios),
        "extra": total["extra"],
    }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _rows(connection: duckdb.DuckDBPyConnection, text: str) -> list[dict[str, Any]]:
    cursor = connection.execute(text)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_EXPECTED = f"""create or replace temp table expected as
  select distinct coalesce(nullif(pair, ''), 'left-right') as pair, scenario, outcome,
    {_IDS.format("coalesce(left_ids, '')")} as left_ids, {_IDS.format("coalesce(right_ids, '')")} as right_ids from answer_key"""
_FOUND = f"""create or replace temp table found as
  select distinct pair, state as outcome, {_IDS.format("left_ids")} as left_ids, {_IDS.format("right_ids")} as right_ids from
    matches
  union all select distinct pair, kind, {_IDS.format("left_ids")}, {_IDS.format("right_ids")} from breaks"""
# a pair inside a tolerance is confirmed and has an item of rounding: both answers are in a key
_BY_SCENARIO = f"""select e.scenario, e.outcome, count(*) as expected, count(f.left_ids) as found,
    count(*) - count(f.left_ids) as missed
  from expected as e left join (select distinct case outcome when 'CONFIRMED' then '{MATCH}' else outcome end as outcome, pair,
      left_ids, right_ids from found) as f
    on f.pair = e.pair and f.left_ids = e.left_ids and f.right_ids = e.right_ids and f.outcome = e.outcome
  group by all order by e.scenario, e.outcome"""
_SAID = f"""with matched as (select distinct pair, left_ids, right_ids from expected where outcome = '{MATCH}'),
  alike as (select distinct pair, left_ids, right_ids from expected where outcome in ('{MATCH}', '{PROPOSED}')),
  broken as (select distinct pair, outcome, left_ids, right_ids from expected where outcome not in ('{MATCH}', '{PROPOSED}')),
  said as (select f.*, f.outcome in ('CONFIRMED', '{PROPOSED}') as is_pairing, m.left_ids is not null as is_match,
      a.left_ids is not null as is_alike, b.left_ids is not null as is_break,
      exists (select 1 from broken as x
        where x.pair = f.pair and x.left_ids = f.left_ids and x.right_ids = f.right_ids) as is_broken
    from found as f
    left join matched as m on m.pair = f.pair and m.left_ids = f.left_ids and m.right_ids = f.right_ids
    left join alike as a on a.pair = f.pair and a.left_ids = f.left_ids and a.right_ids = f.right_ids
    left join broken as b on b.pair = f.pair and b.left_ids = f.left_ids and b.right_ids = f.right_ids
      and b.outcome = f.outcome)"""
_TOTAL = f"""{_SAID}
  select (select count(*) from matched) as expected_matches, (select count(*) from broken) as expected_breaks,
    count(*) filter (where outcome = 'CONFIRMED') as confirmed,
    count(*) filter (where outcome = 'CONFIRMED' and is_match) as confirmed_rightly,
    count(*) filter (where outcome = 'CONFIRMED' and is_broken and not is_match) as confirmed_broken,
    count(*) filter (where outcome = '{PROPOSED}') as proposed,
    count(*) filter (where outcome = '{PROPOSED}' and is_alike) as proposed_rightly,
    count(*) filter (where not is_pairing) as breaks, count(*) filter (where not is_pairing and is_break) as breaks_rightly,
    count(*) filter (where not is_pairing and not is_break) as extra
  from said"""
