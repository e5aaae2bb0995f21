"""Arrow data into tables of a DuckDB connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb


def create_table(connection: duckdb.DuckDBPyConnection, name: str, arrow: pa.Table | pa.RecordBatchReader) -> None:
    """Create a table of Arrow data, streamed; for example ``create_table(connection, "side_left", reader)``."""
    connection.from_arrow(arrow).create(name)
