"""`/v1/clock`: the one clock of recorded times, business dates and cut-off (architecture section 6)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg
from fastapi import APIRouter
from starlette.requests import Request

from fundwatch.settings import Settings
from transactional.bodies import ClockBody, decode
from transactional.keys import EVERY_PLATFORM
from transactional.openapi import reading
from transactional.posting import refusal
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1/clock", tags=["clock"])


def business_date(settings: Settings, at: datetime) -> str:
    """The open book day at a time: the calendar date in the bank's zone, the next one from the cut-off on."""
    cutoff = timedelta(hours=settings.cutoff.hour, minutes=settings.cutoff.minute, seconds=settings.cutoff.second)
    local = at.astimezone(settings.zone).replace(tzinfo=None)
    return (local + timedelta(days=1) - cutoff).date().isoformat()


@router.get("")
async def get_clock(request: Request) -> dict[str, Any]:
    """The service's time, its open business date, and whether the clock is the system's or simulated."""
    await scope_of(request)
    return await _state(request)


@router.post("", openapi_extra=reading(ClockBody))
async def set_clock(request: Request) -> dict[str, Any]:
    """Move the simulated clock on; a system clock refuses, and no clock goes back."""
    if await scope_of(request) != EVERY_PLATFORM:
        raise Problem("OTHER_PLATFORM", "only a key for every platform moves the clock")
    body = decode(ClockBody, await read_body(request))
    try:
        await service_of(request).pool.execute("SELECT ledger.set_clock($1)", body.now)
    except asyncpg.PostgresError as error:
        if error.sqlstate != "FW422":
            raise
        raise refusal(str(error.args[0]), error.detail) from None
    return await _state(request)


async def _state(request: Request) -> dict[str, Any]:
    service = service_of(request)
    row = await service.pool.fetchrow("SELECT ledger.clock_now() AS now, mode FROM ledger.clock")
    date = business_date(service.settings, row["now"])
    return {"now": row["now"].isoformat(), "business_date": date, "mode": row["mode"]}
