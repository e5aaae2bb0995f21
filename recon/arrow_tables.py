"""Arrow data into tables of a DuckDB connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb


def create_table(
    connection: duckdb.DuckDBPyConnection, name: str, arrow: pa.Table | pa.RecordBatchReader, select: str = "*"
) -> None:
    """Create a table from a select list over Arrow data, streamed.

    For example ``create_table(connection, "side_left", reader, "record_id, amount_minor")``.
    """
    connection.from_arrow(arrow).project(select).create(name)
