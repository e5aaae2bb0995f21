"""`POST /v1/orders/stream`: one order a line, posted a thousand at a time while the body still arrives (contracts section 5)."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from transactional.bodies import BULK_MAX, MOVEMENTS_MAX
from transactional.hot_path import DATABASE_LOST
from transactional.idempotent import KEY_LENGTH_MAX, checked_key, is_dry_run
from transactional.openapi import LINES, writing_lines
from transactional.orders import ORDER_BYTES_MAX, Asked, answer_bulk
from transactional.problems import Problem
from transactional.service import Service, scope_of, service_of

router = APIRouter(prefix="/v1/orders", tags=["orders"])
# `KEY#first line` is the key of a part
STREAM_KEY_LENGTH_MAX = KEY_LENGTH_MAX - 16
_PLACE = re.compile(r"orders\[(\d+)\]\.?")
_OBJECTS = msgspec.json.Decoder(list[msgspec.Raw])
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Lines that are posted together: the number of the first (from 1), and the text of each."""

    first_line: int
    lines: list[bytes]


@router.post("/stream", openapi_extra=writing_lines("Order", "atomic"), status_code=200, response_class=Response)
async def post_stream(request: Request) -> Response:
    """Post orders as they arrive, 1,000 at a time, each thousand all or none (`atomic=false`: each order by itself).

    Answers 200 and a line for each part once it is posted, `{"first_line", "lines", …}`, at the end `{"done": true, "lines"}`. A
    part refused ends the answer with `{"first_line", "problem"}`: what came before stays posted, nothing behind it is. The same
    key and lines again go on where a stream broke off. A fault in the first part is answered with its own status.
    """
    await scope_of(request)
    key, is_each, rehearses = checked_key(request.headers.get("idempotency-key")), _is_each(request), is_dry_run(request)
    if len(key) > STREAM_KEY_LENGTH_MAX:
        raise Problem("IDEMPOTENCY_KEY_MISSING", f"the key of a stream has at most {STREAM_KEY_LENGTH_MAX} characters")
    address = request.client.host if request.client else None
    asked = Asked(request.headers.get("authorization"), key, address, rehearses)
    posting, parts = _Posting(service_of(request), asked, is_each), cut(request.stream())
    try:
        first = await anext(parts, None)
        if first is None:
            raise Problem("BODY_INVALID", "a stream has at least one order")
        if rehearses and await anext(parts, None) is not None:
            raise Problem("PARAMETER_INVALID", f"a dry run looks at one part, {BULK_MAX} orders at most", field="dry_run")
    except ClientDisconnect:
        raise Problem("MALFORMED_JSON", "the client went away") from None
    return _Answer(posting, first, await posting.line(first), parts)


async def cut(stream: AsyncIterator[bytes]) -> AsyncIterator[Part]:
    """Parts of at most 1,000 lines, 10,000 movements and 4 MiB; what the lines hold alone decides, so a repetition is cut alike.

    Problems: BODY_TOO_LARGE for a longer line, MALFORMED_JSON for one that is no object; both name the line.
    """
    lines: list[bytes] = []
    first_line, size, movements = 1, 0, 0
    async for number, line in _numbered(stream):
        if not (line.startswith(b"{") and line.endswith(b"}")):
            raise Problem("MALFORMED_JSON", f"line {number} is no JSON object", field=f"line {number}")
        of_line = line.count(b'"movement_type"')
        is_full = len(lines) == BULK_MAX or size + len(line) > ORDER_BYTES_MAX or movements + of_line > MOVEMENTS_MAX
        if lines and is_full:
            yield Part(first_line, lines)
            lines, first_line, size, movements = [], number, 0, 0
        lines.append(line)
        size, movements = size + len(line), movements + of_line
    if lines:
        yield Part(first_line, lines)


async def _numbered(stream: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Lines without the white space around them, numbered from 1; the last may lack its end."""
    rest: list[bytes] = []
    number, size = 0, 0
    async for chunk in stream:
        *whole, last = chunk.split(b"\n")
        for line in whole:
            number += 1
            _check_length(number, size + len(line))
            yield number, b"".join((*rest, line)).strip()
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        _check_length(number + 1, size)
    if line := b"".join(rest).strip():
        yield number + 1, line


def _check_length(number: int, size: int) -> None:
    if size > ORDER_BYTES_MAX:
        raise Problem("BODY_TOO_LARGE", f"line {number} is longer than {ORDER_BYTES_MAX} bytes", field=f"line {number}")


@dataclass(frozen=True, slots=True)
class _Posting:
    """How the parts of one stream are posted."""

    service: Service
    asked: Asked
    is_each: bool

    async def line(self, part: Part) -> bytes:
        """Post a part as a bulk call of its own and say what became of it; any refusal is a Problem that names the line."""
        asked = Asked(
            self.asked.authorization, f"{self.asked.idempotency_key}#{part.first_line}", self.asked.address, self.asked.is_dry_run
        )
        orders = b"[" + b",".join(part.lines) + b"]"
        try:
            if len(_each(orders)) != len(part.lines):
                raise Problem("MALFORMED_JSON", f"a line from {part.first_line} on holds more than one object")
            body = b'{"orders":' + orders + (b',"atomic":false}' if self.is_each else b"}")
            _, text, headers = await answer_bulk(self.service, asked, body)
        except Problem as problem:
            raise _by_line(problem, part.first_line) from None
        said: dict[str, Any] = {"first_line": part.first_line, "lines": len(part.lines), **msgspec.json.decode(text)}
        if headers:
            said["is_replay" if "Idempotency-Replayed" in headers else "is_dry_run"] = True
        return msgspec.json.encode(said) + b"\n"


class _Answer(Response):
    """Lines that are sent while the request is still read."""

    media_type = LINES

    def __init__(self, posting: _Posting, first: Part, line: bytes, parts: AsyncIterator[Part]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._posting, self._first, self._line, self._parts = posting, first, line, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part, line = self._first, self._line
        while True:
            await send({"type": "http.response.body", "body": line, "more_body": True})
            lines = part.first_line + len(part.lines) - 1
            try:
                following = await anext(self._parts, None)
                if following is None:
                    break
                part = following
                line = await self._posting.line(part)
            except ClientDisconnect:
                return
            except Exception as error:
                last = {"first_line": lines + 1, "problem": msgspec.Raw(bytes(_problem(error).response().body))}
                await send({"type": "http.response.body", "body": msgspec.json.encode(last) + b"\n"})
                return
        await send({"type": "http.response.body", "body": msgspec.json.encode({"done": True, "lines": lines}) + b"\n"})


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, DATABASE_LOST):
        log.warning("the database does not answer: %s", error)
        return Problem("DATABASE_MISSING", "the database does not answer")
    log.error("a stream of orders failed", exc_info=error)
    return Problem("INTERNAL", "the service failed; its log says why")


def _each(orders: bytes) -> list[msgspec.Raw]:
    try:
        return _OBJECTS.decode(orders)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("MALFORMED_JSON", f"a line is not JSON: {error}") from None


def _by_line(problem: Problem, first_line: int) -> Problem:
    """The same, naming lines of the stream in place of places in the bulk call."""

    def line(match: re.Match[str]) -> str:
        return f"line {first_line + int(match.group(1))}: "

    more = {
        name: _PLACE.sub(line, value).removesuffix(": ") if isinstance(value, str) else value
        for name, value in problem.more.items()
    }
    return Problem(problem.code, _PLACE.sub(line, problem.detail), **more)


def _is_each(request: Request) -> bool:
    word = request.query_params.get("atomic", "true")
    if word not in ("true", "false"):
        raise Problem("PARAMETER_INVALID", "atomic is true or false", field="atomic")
    return word == "false"
