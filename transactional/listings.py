"""One list of book B: its query, its order and its filters; answered page by page or whole as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import Query
from pydantic import AfterValidator, AwareDatetime
from starlette.requests import Request

from transactional import csv_file
from transactional.answers import Answer
from transactional.cursors import CURSOR_LENGTH_MAX, decode, encode
from transactional.openapi import answering
from transactional.problems import Problem
from transactional.query_reader import Reader, reader_of
from transactional.service import service_of

PAGE_MAX = 1_000
FIRST_YEAR, LAST_YEAR = 1970, 2199


_Time = TypeVar("_Time", date, datetime)


def _in_range(moment: _Time) -> _Time:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"years go from {FIRST_YEAR} to {LAST_YEAR}")
    return moment


Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX, description="`next_cursor` of the page before")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="rows a page")]
Format = Annotated[Literal["json", "csv"] | None, Query(description="csv: all rows as one file")]
Text = Annotated[str | None, Query(max_length=64, pattern=r"^[!-~]+$")]
Amount = Annotated[int | None, Query(ge=1, le=2**62)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
Day = Annotated[date, AfterValidator(_in_range)]
CSV_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page as JSON, or with `format=csv` all rows as CSV",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


# numbers among the names; every other number says its unit
_INTEGERS = {
    *("order_id", "movement_id", "seq", "issue_no", "reversal_of", "hold_event_id", "backroll_order_id", "run_id"),
}


@dataclass(frozen=True)
class Listing:
    """`conditions` holds the SQL of each filter, ``{}`` where its value stands; `key` orders the list, each with its type."""

    name: str
    columns: tuple[str, ...]
    source: str
    key: tuple[tuple[str, type], ...]
    conditions: Mapping[str, str]
    is_newest_first: bool = True

    def query(self, filters: Mapping[str, Any], after: list[Any] | None) -> tuple[str, list[Any]]:
        """SQL text and values of the rows that pass all filters given, behind the key `after`."""
        values: list[Any] = []
        wheres = ["true"]
        for name, value in filters.items():
            if value is not None:
                values.append(value)
                wheres.append(self.conditions[name].replace("{}", f"${len(values)}"))
        keys = [name for name, _ in self.key]
        if after is not None:
            places = ", ".join(f"${len(values) + at}" for at in range(1, len(keys) + 1))
            wheres.append(f"({', '.join(keys)}) {'<' if self.is_newest_first else '>'} ({places})")
            values += after
        order = ", ".join(f"{name} {'DESC' if self.is_newest_first else 'ASC'}" for name in keys)
        text = f"SELECT {', '.join(self.columns)} FROM ({self.source}) listed WHERE {' AND '.join(wheres)} ORDER BY {order}"
        return text, values


def paged(listing: Listing) -> dict[str, Any]:
    """Extra of a list's route: a page has these columns and no other, each of the kind that its name says."""
    name = _name(listing)
    row = msgspec.defstruct(f"{name}Row", _fields(listing), bases=(Answer,), kw_only=True)
    fields: list[tuple[str, Any]] = [("rows", list[row]), ("next_cursor", str | None)]  # type: ignore[valid-type]
    return answering(msgspec.defstruct(f"{name}Page", fields, bases=(Answer,), kw_only=True, module=__name__))


def detailed(listing: Listing, more: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Extra of the route of one row: the columns of its list, what else is told of it, and no other field."""
    fields = [*_fields(listing), *more]
    return answering(msgspec.defstruct(f"{_name(listing)}Detail", fields, bases=(Answer,), kw_only=True, module=__name__))


def _name(listing: Listing) -> str:
    return "".join(word.capitalize() for word in listing.name.split("_"))


def _fields(listing: Listing) -> list[tuple[str, Any]]:
    return [(column, _kind(column)) for column in listing.columns]


def _kind(column: str) -> Any:
    """Of a column by its name (units and times end it); null where a row has none."""
    if column in _INTEGERS or column.endswith(("_minor", "_days")):
        return int | None
    if column.endswith("_at"):
        return datetime | None
    if column.endswith(("_on", "_date")):
        return date | None
    return bool | None if column.startswith("is_") else str | None


def wants_csv(request: Request, given: str | None) -> bool:
    """Whether the caller asks for CSV, by `format=csv` or, without `format`, by ``Accept: text/csv``."""
    return given == "csv" or (given is None and request.headers.get("accept", "").partition(";")[0].strip() == "text/csv")


async def answer(
    request: Request, listing: Listing, permission: str, filters: dict[str, Any], page: tuple[str | None, int, str | None]
) -> Any:
    """A page ``{rows, next_cursor}`` of the platforms the reader sees, or the whole list as CSV (people: permission `export`).

    `page` is cursor, limit and format as they were asked. Problems of `reader_of`, `cursors.decode`.
    """
    cursor, limit, form = page
    is_csv = wants_csv(request, form)
    reader = await reader_of(request, permission, *(("export",) if is_csv else ()))
    platform_id = filters.get("platform_id")
    if platform_id is not None and not reader.sees(platform_id):  # a foreign platform looks like none
        raise Problem("NOT_FOUND", f"there is no platform {platform_id}", field="platform_id")
    seen = {**filters, "reach": reader.platform}
    if is_csv:
        query, values = listing.query(seen, None)
        asked = {key: str(value) for key, value in filters.items() if value is not None}
        rows = csv_file.queried(service_of(request).pool, query, *values)
        return await csv_file.send(request, reader.staff, listing.name, listing.columns, rows, asked)
    after = decode(cursor, listing.name, seen, [kind for _, kind in listing.key])
    query, values = listing.query(seen, after)
    rows = await service_of(request).pool.fetch(f"{query} LIMIT ${len(values) + 1}", *values, limit + 1)
    await _looked(request, reader, listing, filters)
    shown = [dict(row) for row in rows[:limit]]
    last = [shown[-1][name] for name, _ in listing.key] if len(rows) > limit else None
    return {"rows": shown, "next_cursor": None if last is None else encode(listing.name, seen, last)}


async def _looked(request: Request, reader: Reader, listing: Listing, filters: Mapping[str, Any]) -> None:
    for name, kind in (("account_no", "ACCOUNT_SEEN"), ("customer_no", "CUSTOMER_SEEN"), ("loan_no", "LOAN_SEEN")):
        if filters.get(name) is not None:
            await reader.looked(request, kind, f"{listing.name} {filters[name]}")
