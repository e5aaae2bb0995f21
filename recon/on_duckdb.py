"""The reconciliation on one machine without Spark: same rules, same SQL text, same content (architecture section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lake.tables import TABLES
from recon.engine import DuckEngine, run_statements
from recon.outputs import WRITTEN
from recon.pipeline import INPUTS, Scope, statements
from recon.rules import RuleSet, load_rules

if TYPE_CHECKING:
    import duckdb

EARLIER = {"carried": "recon_carry", "match_history": "match_group", "channel_history": "channel_order"}
"""Input views of earlier published dates, and the lake table whose columns they have."""


def create_inputs(connection: duckdb.DuckDBPyConnection) -> None:
    """Empty tables for every input, with the lake's columns; those of `EARLIER` are of earlier dates."""
    for name, table in {**{name: name for name in INPUTS}, **EARLIER}.items():
        connection.execute(f"create or replace table {name} ({TABLES[table].ddl})")


@contextmanager
def reconciled(connection: duckdb.DuckDBPyConnection, scope: Scope, rules: RuleSet | None = None) -> Iterator[dict[str, str]]:
    """Reconcile the inputs of a connection; gives the name of the result view of each written table while open.

    For example ``with reconciled(connection, scope) as views: connection.sql(f"from {views['open_item']}")``.
    """
    engine = DuckEngine(connection)
    try:
        run_statements(engine, statements(rules or load_rules(), scope))
        yield {table: f"out_{table}" for table in WRITTEN}
    finally:
        engine.close()
