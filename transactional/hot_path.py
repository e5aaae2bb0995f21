"""The two posting endpoints at the wire: what ASGI, middleware and routing do costs more than the handler (decision 0012).

uvicorn's protocol reads the request; a plain `POST /v1/orders` or `/v1/orders/bulk` is answered here, every other request by the
application, where the same handlers stand as routes (dry runs, the OpenAPI document, tests in one process).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import asyncpg
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from transactional.orders import BULK_BYTES_MAX, ORDER_BYTES_MAX, Asked, answer_bulk, answer_order
from transactional.problems import Problem

DATABASE_LOST = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, OSError)
Answering = Callable[[Any, Asked, bytes], Awaitable[tuple[int, str, dict[str, str]]]]
_ANSWERING: dict[str, tuple[Answering, int]] = {
    "/v1/orders": (answer_order, ORDER_BYTES_MAX),
    "/v1/orders/bulk": (answer_bulk, BULK_BYTES_MAX),
}
# a proxy says who asks, a client waits to be told to go on: for the application
_NOT_PLAIN = {b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"expect"}
log = logging.getLogger(__name__)


class PostingProtocol(HttpToolsProtocol):
    """One connection of a client; the lifespan's state has the `service`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        found = _ANSWERING.get(scope["path"]) if scope["method"] == "POST" and not scope["query_string"] else None
        headers: dict[bytes, bytes] = dict(reversed(list(scope["headers"])))  # the first of several counts
        if found is None or app is not self.app or not _NOT_PLAIN.isdisjoint(headers):
            super()._start_asgi_task(cycle, app)
            return
        task = self.loop.create_task(self._answer(cycle, headers, *found))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer(
        self, cycle: RequestResponseCycle, headers: dict[bytes, bytes], answering: Answering, bytes_max: int
    ) -> None:
        try:
            answer = await self._outcome(cycle, headers, answering, bytes_max)
        except Problem as problem:
            answer = _refused(problem)
        except DATABASE_LOST as error:
            log.warning("the database does not answer: %s", error)
            answer = _refused(Problem("DATABASE_MISSING", "the database does not answer"))
        except Exception:
            log.exception("a posting request failed")
            answer = _refused(Problem("INTERNAL", "the service failed; its log says why"))
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        if cycle.more_body:  # what the client still sends is not read
            cycle.keep_alive = False
        self.transport.write(_bytes(*answer, keep_alive=cycle.keep_alive))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    async def _outcome(
        self, cycle: RequestResponseCycle, headers: dict[bytes, bytes], answering: Answering, bytes_max: int
    ) -> tuple[int, str, dict[str, str]]:
        while True:
            if len(cycle.body) > bytes_max:
                raise Problem("BODY_TOO_LARGE", f"the body is larger than {bytes_max} bytes")
            if not cycle.more_body:
                break
            self.flow.resume_reading()
            cycle.message_event.clear()
            await cycle.message_event.wait()
            if cycle.disconnected:
                raise Problem("MALFORMED_JSON", "the client went away")
        authorization, key = headers.get(b"authorization"), headers.get(b"idempotency-key")
        asked = Asked(_text(authorization), _text(key), self.client[0] if self.client else None)
        return await answering(self.app_state["service"], asked, bytes(cycle.body))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _refused(problem: Problem) -> tuple[int, str, dict[str, str]]:
    response = problem.response()
    return response.status_code, bytes(response.body).decode(), dict(response.headers)


def _bytes(status: int, body: str, headers: dict[str, str], *, keep_alive: bool) -> bytes:
    content = body.encode()
    head = {"content-type": "application/json", **{name.lower(): value for name, value in headers.items()}}
    head["content-length"] = str(len(content))
    if not keep_alive:
        head["connection"] = "close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode("latin-1") + content
