"""One set of endpoints a subject of the registry: add a version, list what counts, and the history of one key.

`valid_on` asks for what counts on a day (default: the highest version), `known_as_of` for what was recorded by a moment.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.registry_asker import Asker, asker_of
from transactional.registry_bodies import Dated
from transactional.registry_subjects import SUBJECTS, Subject
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1", tags=["registry"])
PAGE_MAX = 1_000
CURSOR_LENGTH_MAX = 2_000
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


async def put_version(connection: Any, subject: str, body: Dated, actor: str, today: date) -> Any:
    """Add a version of `registry.SUBJECT`; answers outcome, version and the changed fields, or raises what SQL refuses."""
    content = msgspec.to_builtins(body)
    valid_from = content.pop("valid_from") or today.isoformat()
    answer = await connection.fetchval(
        "SELECT registry.put($1, $2::jsonb, $3, $4)",
        *(subject, msgspec.json.encode(content).decode(), date.fromisoformat(valid_from), actor),
    )
    return {**msgspec.json.decode(answer), "valid_from": valid_from}


def expected_version(if_match: str | None) -> int | None:
    """The version that the header If-Match names, 0 for none yet; None without the header. Problem PARAMETER_INVALID.

    >>> expected_version('"3"'), expected_version(None)
    (3, None)
    """
    if if_match is None:
        return None
    found = re.fullmatch(r'"?([0-9]{1,9})"?', if_match.strip())
    if found is None:
        raise Problem("PARAMETER_INVALID", "If-Match is the number of a version", field="If-Match")
    return int(found.group(1))


async def check_version(connection: Any, subject: Subject, body: Any, expected: int) -> None:
    """Problem PRECONDITION_FAILED unless `expected` is the newest version of the body's key until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(7415)")  # the turn of writers (registry.take_turn)
    condition = " AND ".join(f"{name}::text = ${at}" for at, name in enumerate(subject.key, start=1))
    newest = await connection.fetchval(
        f"SELECT coalesce(max(version), 0) FROM registry.{subject.name} WHERE {condition}",
        *(str(getattr(body, name)) for name in subject.key),
    )
    if newest != expected:
        raise Problem("PRECONDITION_FAILED", f"the newest version is {newest}", field="If-Match", value=str(newest))


async def bank_day(request: Request, connection: Any) -> date:
    """Today in the bank's zone, by the service's clock."""
    now: datetime = await connection.fetchval("SELECT ledger.clock_now()")
    return now.astimezone(service_of(request).settings.zone).date()


async def known_by(connection: Any, known_as_of: datetime | None) -> datetime:
    """The moment up to which recorded versions count, after every writer of before; Problem KNOWN_AS_OF_IN_FUTURE."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(7415)")
    now: datetime = await connection.fetchval("SELECT ledger.clock_now()")
    if known_as_of is not None and known_as_of >= now:  # more may yet be recorded at this very time
        raise Problem("KNOWN_AS_OF_IN_FUTURE", f"it is {now.isoformat()}", field="known_as_of")
    return known_as_of or now


def encode_cursor(values: list[Any]) -> str:
    """Opaque text of the last key of a page."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode()


def decode_cursor(cursor: str | None, key: tuple[str, ...]) -> list[str] | None:
    """The key a cursor stands for; Problem PARAMETER_INVALID for one that we did not make."""
    if cursor is None:
        return None
    try:
        values: list[str] = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=list[str])
        if "holds_from" in key:
            date.fromisoformat(values[key.index("holds_from")])
    except (msgspec.MsgspecError, binascii.Error, ValueError, IndexError):
        values = []
    if len(values) != len(key) or any("\x00" in value for value in values):
        raise Problem("PARAMETER_INVALID", "the cursor is not one of this list", field="cursor")
    return values


def counting(subject: Subject, is_one_platform: bool, is_next_page: bool) -> str:
    """Query of the version that counts of each key, in order of the key; $1 valid_on or null, $2 known by, $3 limit, $4 platform
    or null, $5 key of the row before. Conditions stand inside, so that a page reads the primary key from its first row on."""
    keys = ", ".join(subject.key)
    before = ", ".join(
        f"($5::text[])[{at}]{'::date' if name == 'holds_from' else ''}" for at, name in enumerate(subject.key, start=1)
    )
    platform = "platform_id = $4" if is_one_platform else "$4::text IS NULL"
    page = f"({keys}) > ({before})" if is_next_page else "$5::text[] IS NULL"
    return f"""SELECT DISTINCT ON ({keys}) * FROM registry.{subject.name}
        WHERE ($1::date IS NULL OR valid_from <= $1) AND recorded_at <= $2 AND {platform} AND {page}
        ORDER BY {keys}, version DESC LIMIT $3"""


async def list_of(request: Request, subject: Subject, asker: Asker, asked: dict[str, Any]) -> dict[str, Any]:
    """One page of what counts; `asked` has platform_id, valid_on, known_as_of, cursor, limit."""
    if asked["platform_id"] is not None:
        asker.require(asked["platform_id"])
    if not subject.is_of_platform and asker.platform is not None:
        raise Problem("NOT_FOUND", "this list is the bank's own")
    after = decode_cursor(asked["cursor"], subject.key)
    async with service_of(request).pool.acquire() as connection, connection.transaction():
        known = await known_by(connection, asked["known_as_of"])
        platform_id = (asked["platform_id"] or asker.platform) if subject.is_of_platform else None
        query = counting(subject, platform_id is not None, after is not None)
        rows = await connection.fetch(query, asked["valid_on"], known, asked["limit"] + 1, platform_id, after)
    shown = [document(row) for row in rows[: asked["limit"]]]
    last = [str(shown[-1][name]) for name in subject.key] if len(rows) > asked["limit"] else None
    return {"rows": shown, "next_cursor": None if last is None else encode_cursor(last)}


def document(row: Any) -> dict[str, Any]:
    """A row as JSON shows it: decimals as text, JSON columns decoded."""
    shown = dict(row)
    if isinstance(shown.get("fee_terms"), str):
        shown["fee_terms"] = msgspec.json.decode(shown["fee_terms"])
    return {
        name: format(value, "f") if name in ("share", "annual_rate") and value is not None else value
        for name, value in shown.items()
    }


def _add_routes(subject: Subject) -> None:
    async def listed(
        request: Request,
        platform_id: Text = None,
        valid_on: date | None = None,
        known_as_of: AwareDatetime | None = None,
        cursor: Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)] = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        asker = await asker_of(request, "see_rows")
        asked = {"platform_id": platform_id, "valid_on": valid_on, "known_as_of": known_as_of, "cursor": cursor, "limit": limit}
        return await list_of(request, subject, asker, asked)

    async def history(
        request: Request, after_version: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0, limit: Limit = 100
    ) -> dict[str, Any]:
        asker = await asker_of(request, "see_rows")
        key = {name: request.query_params.get(name) for name in subject.key}
        missing = next((name for name, value in key.items() if not value or "\x00" in value or len(value) > 200), None)
        if missing is not None:
            raise Problem("PARAMETER_INVALID", f"the history is that of one key: give {missing}", field=missing)
        if subject.is_of_platform:
            asker.require(str(key["platform_id"]))
        elif asker.platform is not None:
            raise Problem("NOT_FOUND", "this list is the bank's own")
        condition = " AND ".join(f"{name}::text = ${at}" for at, name in enumerate(subject.key, start=3))
        rows = await service_of(request).pool.fetch(
            f"SELECT * FROM registry.{subject.name} WHERE version > $1 AND {condition} ORDER BY version LIMIT $2",
            *(after_version, limit + 1, *key.values()),
        )
        if not rows and after_version == 0:
            raise Problem("NOT_FOUND", f"there is no {subject.name} {' '.join(str(value) for value in key.values())}")
        more = len(rows) > limit
        return {"versions": [document(row) for row in rows[:limit]], "next_version": rows[limit - 1]["version"] if more else None}

    listed.__doc__ = f"List: {subject.meaning}; the version of each that counts."
    history.__doc__ = f"Every version of one: {subject.meaning}."
    router.add_api_route(f"/{subject.path}", listed, methods=["GET"], name=f"list_{subject.name}")
    parameters = [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string", "maxLength": 200}} for name in subject.key
    ]
    router.add_api_route(
        f"/{subject.path}/history",
        history,
        methods=["GET"],
        name=f"history_of_{subject.name}",
        openapi_extra={"parameters": parameters},
    )
    if subject.body is not None:
        _add_write(subject, subject.body)


def _writing(kind: type[msgspec.Struct]) -> dict[str, Any]:
    extra = writing(kind)
    about = "the newest version that the caller knows, 0 for none"
    if_match = {"name": "If-Match", "in": "header", "required": False, "description": about, "schema": {"type": "string"}}
    return {**extra, "parameters": [*extra["parameters"], if_match]}


def _add_write(subject: Subject, kind: type[msgspec.Struct]) -> None:
    async def put(request: Request) -> Response:
        asker = await asker_of(request, "keep_registry")
        body: Any = decode(kind, await read_body(request))
        asker.require(body.platform_id)
        expected = expected_version(request.headers.get("if-match"))

        async def act(connection: Any) -> Any:
            if expected is not None:
                await check_version(connection, subject, body, expected)
            today = await bank_day(request, connection)
            answer = await put_version(connection, subject.name, body, asker.actor, today)
            if subject.name == "project" and answer["outcome"] == "NEW":
                await connection.fetchval(
                    "SELECT registry.put('project_status', $1::jsonb, $2, $3)",
                    *(_registered(body), date.fromisoformat(answer["valid_from"]), asker.actor),
                )
            return answer

        return await once(request, asker.keys_scope, body, act)

    put.__doc__ = f"Add a version: {subject.meaning}. The same content again is UNCHANGED."
    router.add_api_route(
        f"/{subject.path}", put, methods=["POST"], name=f"put_{subject.name}", status_code=201, openapi_extra=_writing(kind)
    )


def _registered(body: Any) -> str:
    content = {"platform_id": body.platform_id, "project_no": body.project_no, "status": "REGISTERED"}
    return msgspec.json.encode(content).decode()


for _subject in SUBJECTS:
    _add_routes(_subject)
