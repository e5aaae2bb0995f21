"""A query's whole answer as CSV: complete, counted and written to the access log before its first byte is sent.

UTF-8 with a byte order mark for spreadsheets, CRLF, times in UTC, nested values as JSON; a text that a spreadsheet would take for
a formula gets an apostrophe before it. Never cut: the file grows on disk, not in memory.
"""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from transactional.staff import Staff, note

IN_MEMORY_BYTES = 4_000_000
BLOCK_BYTES = 65_536
FETCH_ROWS = 2_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


async def send(
    request: Request, staff: Staff | None, name: str, columns: Sequence[str], rows: AsyncIterable[Any], filters: dict[str, Any]
) -> StreamingResponse:
    """Answer with the file `name`.csv of `rows` (mappings with `columns`).

    ``X-Row-Count`` and ``Content-Length`` are known before the first byte, so a reader notices an answer that breaks half-way.
    `filters` is what was asked for: it stands in the access log; a platform's own export (`staff` None) is not logged.
    """
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 -- whoever sends it closes it
    try:
        count = await _write(file, columns, rows)
        size = file.tell()
        if staff is not None:
            await note(request, staff, "EXPORT", name, count, {"filters": filters})
        file.seek(0)
    except BaseException:
        file.close()
        raise
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        "Content-Length": str(size),
        "X-Row-Count": str(count),
        "Cache-Control": "no-store",
    }
    return StreamingResponse(_blocks(file), 200, headers, "text/csv; charset=utf-8")


async def queried(pool: Any, query: str, *values: Any) -> AsyncIterator[Any]:
    """Rows of a query from a cursor, all of one moment."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(query, *values, prefetch=FETCH_ROWS):
            yield row


async def _write(file: IO[bytes], columns: Sequence[str], rows: AsyncIterable[Any]) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    text.write("\ufeff")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    count = 0
    async for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
        count += 1
    text.detach()
    return count


async def _blocks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
