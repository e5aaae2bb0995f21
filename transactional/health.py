"""Whether the process lives, can work, and which version it is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import asyncpg
from fastapi import APIRouter
from starlette.requests import Request

from transactional.live import worker
from transactional.problems import Problem
from transactional.service import service_of

router = APIRouter(tags=["health"])


@router.get("/livez")
async def get_livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def get_readyz(request: Request) -> dict[str, Any]:
    """The database answers; how far the seal reaches, for how long a movement waits for it; the live reconciliation."""
    try:
        row = await service_of(request).pool.fetchrow("SELECT * FROM ledger.seal_state()")
        live = await worker.health(service_of(request).pool)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        raise Problem("DATABASE_MISSING", "the database does not answer") from None
    window_s = round(service_of(request).sealer.window_s, 2)
    seal = {"ledger_no_to": row["ledger_no_to"], "unsealed": row["unsealed"], "unsealed_window_s": window_s}
    return {"status": "ok", **seal, "live": live}


@router.get("/version")
async def get_version() -> dict[str, str]:
    """The installed version."""
    return {"name": "fundwatch", "version": version("fundwatch")}
