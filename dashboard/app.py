"""The pages' application: its routers, what guards them, and the answers to everything that goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.dependencies.models import Dependant
from fastapi.responses import PlainTextResponse

from dashboard import account_page, assets, audit_page, login, operations_page, risk_pages, users_page
from dashboard.ages import AGE_BUCKETS
from dashboard.connections import Connections
from dashboard.errors import Refusals
from dashboard.rendering import Renderer
from dashboard.security import Guard
from domain.errors import WrongUse
from fundwatch.settings import Settings

# the only routes without `require`: the sign of life, static files and the way in
OPEN_TO_ALL = frozenset({("GET", "/livez"), ("GET", "/static/{name:path}"), ("GET", "/login"), ("POST", "/login")})


def create_app(settings: Settings) -> FastAPI:
    """The web application for one installation; it reads published rows only, never the ledger's tables.

    WrongUse when a route neither requires a permission nor is one of OPEN_TO_ALL.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for pool in (app.state.connections, app.state.door, app.state.readers):
            pool.close()

    app = FastAPI(title="Fundwatch pages", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.settings = settings
    app.state.connections = Connections(settings)
    app.state.door = Connections(settings, patience_s=0)
    app.state.readers = Connections(settings, "reader")
    render = Renderer()
    render.environment.globals.update(age_buckets=list(AGE_BUCKETS), asset=assets.address)
    refusals = Refusals(render, settings.page_origin)
    refusals.install(app)
    app.add_middleware(Guard, page_origin=settings.page_origin, refuse=refusals.page)

    for routes in ROUTERS:
        app.include_router(routes(settings, render))
    for method, path, permission in guarded_routes(app):
        if permission is None and (method, path) not in OPEN_TO_ALL:
            raise WrongUse(f"{method} {path} requires nothing: add Depends(require(...))")
    return app


def sign_of_life(_settings: Settings, _render: Renderer) -> APIRouter:
    """`/livez`: the process answers, whatever the database does."""
    router = APIRouter()

    @router.get("/livez")
    def livez() -> Response:
        return PlainTextResponse("ok")

    return router


# a room of pages: given settings and renderer, its router; each of its routes has a parameter `Depends(require(...))`
ROUTERS: tuple[Callable[[Settings, Renderer], APIRouter], ...] = (
    sign_of_life,
    lambda _settings, _render: assets.routes(),
    login.routes,
    account_page.routes,
    risk_pages.routes,
    operations_page.routes,
    users_page.routes,
    audit_page.routes,
)


def guarded_routes(app: FastAPI) -> Iterator[tuple[str, str, str | None]]:
    """Method, path and required permission of every route; None where nothing is required.

    WrongUse for a route of another kind than FastAPI's own, whose requirements nobody could see.
    """
    for route in _flat(app.routes):
        if getattr(route, "dependant", None) is None:
            raise WrongUse(f"{getattr(route, 'path', route)} is not a route of FastAPI")
        for method in sorted(route.methods):
            yield method, route.path, _permission(route.dependant)


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    """Routes with those of included routers, which FastAPI keeps as they are, as they answer here (prefix and all)."""
    for route in routes:
        nested = getattr(route, "effective_candidates", None)
        yield from _flat(nested()) if nested else [route]


def _permission(dependant: Dependant) -> str | None:
    for needed in dependant.dependencies:
        found: Any = getattr(needed.call, "permission", None) or _permission(needed)
        if found:
            return str(found)
    return None
