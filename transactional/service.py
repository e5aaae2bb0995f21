"""What one running service holds: settings, connections, the poster, keys and the sealer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from starlette.requests import Request

from domain.errors import ServiceMissing
from fundwatch.settings import Settings
from transactional.keys import KeyRing
from transactional.posting import Poster
from transactional.problems import Problem
from transactional.sealing import seal_forever

BODY_BYTES_MAX = 32 * 1024 * 1024
READERS = 4


@dataclass(frozen=True)
class Service:
    """Parts that handlers use; one a process."""

    settings: Settings
    pool: Any
    poster: Poster
    keys: KeyRing


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """A service with its flusher and sealer at work; ServiceMissing when the database does not answer."""
    try:
        url = settings.database_url("service")
        pool = await asyncpg.create_pool(url, min_size=1, max_size=READERS, timeout=10, command_timeout=60)
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise ServiceMissing(f"the service cannot reach its database: {error}") from None
    poster = Poster(settings)
    poster.start()
    sealer = asyncio.create_task(seal_forever(pool))
    try:
        yield Service(settings, pool, poster, KeyRing(settings, pool))
    finally:
        sealer.cancel()
        await asyncio.gather(sealer, return_exceptions=True)
        await poster.stop()
        await pool.close()


def service_of(request: Request) -> Service:
    """The service that serves this request."""
    service: Service = request.app.state.service
    return service


async def scope_of(request: Request) -> str:
    """Scope of the request's API key; Problem NOT_AUTHENTICATED without one."""
    return await service_of(request).keys.scope(request.headers.get("authorization"))


async def read_body(request: Request) -> bytes:
    """The request's body; Problem BODY_TOO_LARGE beyond 32 MiB, however it is sent."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise Problem("BODY_TOO_LARGE", f"the body is larger than {BODY_BYTES_MAX} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
