"""A list of book B as CSV, for platforms and for the bank's people: whole, counted, of one moment.

The rows are read through a cursor of the server in one snapshot into a file on disk, then sent: a slow
reader holds no connection.
``X-Row-Count`` and ``Content-Length`` are known before the first byte, so a reader notices an answer that breaks half-way.
"""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from transactional.csv_file import BLOCK_BYTES, IN_MEMORY_BYTES, queried
from transactional.query_reader import Reader
from transactional.service import service_of
from transactional.staff import note

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
CSV_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page as JSON, or with `format=csv` all rows as CSV",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


def wants_csv(request: Request, given: str | None) -> bool:
    """Whether the caller asks for CSV, by `format=csv` or, without `format`, by ``Accept: text/csv``."""
    return given == "csv" or (given is None and request.headers.get("accept", "").partition(";")[0].strip() == "text/csv")


async def send(
    request: Request,
    reader: Reader,
    name: str,
    columns: Sequence[str],
    query: str,
    values: Sequence[Any],
    filters: dict[str, Any],
) -> StreamingResponse:
    """Answer with all rows of `query` as `name`.csv; a person's export is written to the access log before it is sent."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 -- whoever sends it closes it
    try:
        count = await _write(file, columns, queried(service_of(request).pool, query, *values))
        size = file.tell()
        if reader.staff is not None:
            asked = {key: str(value) for key, value in filters.items() if value is not None}
            await note(request, reader.staff, "EXPORT", name, count, {"filters": asked})
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


async def _write(file: IO[bytes], columns: Sequence[str], rows: AsyncIterator[Any]) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
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
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
