"""How every endpoint of the loans side writes, reads one record and pages through many.

Platforms write with their API keys, for themselves; keys and the bank's people (permission `see_rows`) read. What belongs to
another platform looks like nothing (404).
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from domain.ids import is_text_id
from transactional import csv_file
from transactional.idempotent import once
from transactional.keys import EVERY_PLATFORM, covers
from transactional.listings import wants_csv
from transactional.loans_bodies import OfPlatform
from transactional.problems import Problem
from transactional.query_reader import reader_of
from transactional.service import scope_of, service_of
from transactional.staff import staff_of

PAGE_MAX = 1_000
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Query(max_length=400)]
Platform = Annotated[str | None, Query(max_length=64, description="Required for keys of every platform and for staff.")]
Number = Annotated[str | None, Query(max_length=64)]


@dataclass(frozen=True)
class Records:
    """A view of schema `loans`: its name, the column of its number, and the problem when there is no such record."""

    view: str
    number: str
    missing: str = "RECORD_NOT_FOUND"


async def record(request: Request, body: OfPlatform, function: str, status: int = 201, **more: Any) -> Response:
    """Let `loans.FUNCTION` judge and keep the body with what the path adds; answers what it says.

    Problems: NOT_FOUND for another platform, those of `once`, and what the function refuses.
    """
    scope = await scope_of(request)
    check_mine(scope, body.platform_id)
    for name, value in more.items():
        if name.endswith("_no") and not is_text_id(str(value)):
            raise Problem("NOT_FOUND", f"{name} cannot be a number of ours", field=name)
    given = json.dumps(msgspec.to_builtins(body) | more)

    async def act(connection: Any) -> Any:
        answer = await connection.fetchval(f"SELECT loans.{function}($1::jsonb, $2)", given, f"key:{scope}")
        return msgspec.Raw(answer.encode())

    return await once(request, scope, body, act, status)


async def platform_read(request: Request, platform_id: str | None) -> str:
    """The one platform that this reader asks about: a platform's key needs no `platform_id`, all others do."""
    reader = await reader_of(request, "see_rows")
    request.state.reader = reader
    wanted = platform_id or reader.reach
    if wanted == EVERY_PLATFORM:
        raise Problem("PARAMETER_INVALID", "say which platform: platform_id=", field="platform_id")
    check_mine(reader.reach, wanted)
    return wanted


async def one(request: Request, records: Records, platform_id: str, number: str) -> dict[str, Any]:
    """The record of a number; the records' own problem when the platform has none. A person's look is written down."""
    query = f"SELECT * FROM loans.{records.view} WHERE platform_id = $1 AND {records.number} = $2"
    row = await service_of(request).pool.fetchrow(query, platform_id, number) if is_text_id(number) else None
    if row is None:
        raise Problem(records.missing, f"there is no {records.number} {number!r}", field=records.number)
    await request.state.reader.looked(request, "LOAN_SEEN", f"{records.number} {platform_id} {number}")
    return dict(row)


async def page(
    request: Request, records: Records, platform_id: str | None, filters: dict[str, Any], cursor: str | None, limit: int
) -> Any:
    """Records by number; `next_cursor` leads on, is null at the end, and counts for these filters only.

    With ``Accept: text/csv`` all records as one file (people: permission `export`). A person's look at a customer or loan is
    written down.
    """
    platform = await platform_read(request, platform_id)
    asked = {name: value for name, value in filters.items() if value is not None}
    for name, value in asked.items():
        if isinstance(value, str) and not is_text_id(value):
            raise Problem("PARAMETER_INVALID", f"{name} cannot be such a word", field=name)
    conditions = "".join(f" AND {name} = ${place}" for place, name in enumerate(asked, 2))
    query = f"SELECT * FROM loans.{records.view} WHERE platform_id = $1{conditions}"
    if wants_csv(request, None):
        return await _whole(request, records, query, platform, asked)
    for name, kind in (("customer_no", "CUSTOMER_SEEN"), ("loan_no", "LOAN_SEEN")):
        if name in asked:
            await request.state.reader.looked(request, kind, f"{records.view} of {platform} {asked[name]}")
    mark = json.loads(json.dumps([records.view, platform, asked], default=str))
    after = _after(cursor, mark)
    place = len(asked) + 2
    rows = await service_of(request).pool.fetch(
        f"{query} AND {records.number} > ${place} ORDER BY {records.number} LIMIT ${place + 1}",
        *(platform, *asked.values(), after, limit + 1),
    )
    more = len(rows) > limit
    return {
        "items": [dict(row) for row in rows[:limit]],
        "next_cursor": _cursor(mark, rows[limit - 1][records.number]) if more else None,
    }


async def _whole(request: Request, records: Records, query: str, platform: str, asked: dict[str, Any]) -> Response:
    reader = request.state.reader
    if reader.staff is not None:
        await staff_of(request, "export")
    pool = service_of(request).pool
    async with pool.acquire() as connection:
        columns = [column.name for column in (await connection.prepare(query)).get_attributes()]
    rows = csv_file.queried(pool, f"{query} ORDER BY {records.number}", platform, *asked.values())
    filters = {"platform_id": platform, **{name: str(value) for name, value in asked.items()}}
    return await csv_file.send(request, reader.staff, records.view, columns, rows, filters)


def check_mine(scope: str, platform_id: str) -> None:
    """Problem NOT_FOUND unless a key of `scope` may act for the platform."""
    if not (is_text_id(platform_id) and covers(scope, platform_id)):
        raise Problem("NOT_FOUND", f"there is no platform {platform_id!r}", field="platform_id")


def _cursor(mark: list[Any], number: str) -> str:
    return urlsafe_b64encode(json.dumps([*mark, number]).encode()).decode()


def _after(cursor: str | None, mark: list[Any]) -> str:
    if cursor is None:
        return ""
    try:
        *of, number = json.loads(urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError, RecursionError):
        of, number = [], None
    if of != mark or not isinstance(number, str) or not is_text_id(number):
        raise Problem("PARAMETER_INVALID", "the cursor is not one of this list and these filters", field="cursor")
    return number
