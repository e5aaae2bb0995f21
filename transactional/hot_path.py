"""The two posting endpoints before all other routes: FastAPI around a handler costs as much as the handler (decision 0011)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from transactional.orders import post_order, post_orders
from transactional.problems import Problem

DATABASE_LOST = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, OSError)
_HANDLERS: dict[str, Callable[[Request], Awaitable[Response]]] = {"/v1/orders": post_order, "/v1/orders/bulk": post_orders}


class HotPath:
    """Answers `POST /v1/orders` and `/v1/orders/bulk` itself and hands every other request on.

    The same handlers stand in the router, for the OpenAPI document; errors are answered as the application answers them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the server (ASGI)."""
        handler = _HANDLERS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        try:
            answer = await handler(Request(scope, receive))
        except Problem as problem:
            answer = problem.response()
        except DATABASE_LOST:
            answer = Problem("DATABASE_MISSING", "the database does not answer").response()
        await answer(scope, receive, send)
