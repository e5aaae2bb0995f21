"""The transactional service as an ASGI application (contracts section 5)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fundwatch.settings import Settings
from transactional import (
    access_review,
    accounts,
    adjustments,
    advances,
    approvals,
    audit_trail,
    breaks,
    calendars,
    claims,
    clock,
    collateral,
    consents,
    contracts,
    customer_statement,
    day_close,
    guarantees,
    health,
    holds_queries,
    legal_holds,
    legal_holds_dormancy,
    limits,
    loan_instructions,
    loan_money,
    loan_plans,
    loans,
    login,
    mandates,
    movement_queries,
    order_queries,
    order_stream,
    orders,
    people,
    platform_money,
    receipts,
    recharges,
    reconciliation,
    registry,
    registry_checks,
    registry_onboarding,
    registry_queries,
    registry_upsert,
    registry_versions,
    statements,
    transfers,
    withdrawals,
)
from transactional.hot_path import DATABASE_LOST
from transactional.live import postings, verdicts
from transactional.openapi import Documented
from transactional.outside import deliveries, payments
from transactional.problems import CATALOGUE, MEDIA_TYPE, STATUS_CODES, Problem
from transactional.service import running

log = logging.getLogger(__name__)
_DOCUMENT = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(CATALOGUE)},
        "retryable": {"type": "boolean"},
    },
}


def create_app(settings: Settings) -> FastAPI:
    """The service for one installation; its lifespan opens the database and starts the flusher and the sealer."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with running(settings) as service:
            app.state.service = service
            yield {"service": service}

    app = Documented(_declared(), lifespan=lifespan)
    for part in (health, clock, registry, accounts, orders, order_stream, approvals, day_close):
        app.include_router(part.router)
    for part in (login, people, calendars, audit_trail, access_review):
        app.include_router(part.router)
    for part in (registry_checks, registry_onboarding, registry_queries, registry_upsert, registry_versions):
        app.include_router(part.router)
    for part in (loans, loan_plans, claims, transfers, mandates, guarantees, collateral, contracts):
        app.include_router(part.router)
    for part in (limits, loan_money, loan_instructions, platform_money, receipts, advances, withdrawals, recharges):
        app.include_router(part.router)
    for part in (postings, verdicts, breaks, reconciliation, adjustments, consents, legal_holds, legal_holds_dormancy):
        app.include_router(part.router)
    for part in (order_queries, movement_queries, holds_queries, statements, customer_statement):
        app.include_router(part.router)
    for part in (deliveries, payments):
        app.include_router(part.router)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _http)
    for lost in DATABASE_LOST:
        app.add_exception_handler(lost, _database_missing)
    app.add_exception_handler(Exception, _internal)
    return app


def _declared() -> dict[int | str, dict[str, Any]]:
    """Every error status with the codes it may carry."""
    return {
        status: {
            "description": ", ".join(sorted(code for code, kind in CATALOGUE.items() if kind.status == status)),
            "content": {MEDIA_TYPE: {"schema": _DOCUMENT}},
        }
        for status in STATUS_CODES
    }


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _bad_parameter(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return Problem("PARAMETER_INVALID", f"{field}: {first['msg']}", field=field).response()


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "MALFORMED_JSON")
    return Problem(code, str(error.detail)).response()


async def _database_missing(_request: Request, error: Exception) -> Response:
    log.warning("the database does not answer: %s", error)
    return Problem("DATABASE_MISSING", "the database does not answer").response()


async def _internal(_request: Request, _error: Exception) -> Response:
    return Problem("INTERNAL", "the service failed; its log says why").response()
