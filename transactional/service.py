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
from transactional.address_lists import AddressLists
from transactional.desk_clock import keep_day_rule, keep_time
from transactional.expiry import expire_forever
from transactional.keys import KeyRing
from transactional.live.worker import reconcile_forever
from transactional.posting import Poster
from transactional.problems import Problem
from transactional.sealing import Sealer
from transactional.settling import settle_forever

BODY_BYTES_MAX = 32 * 1024 * 1024
READERS = 4


@dataclass(frozen=True)
class Service:
    """Parts that handlers use; one a process."""

    settings: Settings
    pool: Any
    poster: Poster
    keys: KeyRing
    addresses: AddressLists
    sealer: Sealer


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """A service with its flusher and sealer at work; ServiceMissing when the database does not answer."""
    try:
        url = settings.database_url("service")
        pool = await asyncpg.create_pool(url, min_size=1, max_size=READERS, timeout=10, command_timeout=60)
        await keep_day_rule(pool, str(settings.zone), settings.cutoff)
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise ServiceMissing(f"the service cannot reach its database: {error}") from None
    poster = Poster(settings)
    poster.start()
    sealer = Sealer(pool)
    sealing = asyncio.create_task(sealer.seal_forever())
    expiry = asyncio.create_task(expire_forever(settings, pool))
    desk = asyncio.create_task(keep_time(pool))
    settling = asyncio.create_task(settle_forever(settings, pool))
    live = asyncio.create_task(reconcile_forever(pool, settings.live_wait_s))
    try:
        yield Service(settings, pool, poster, KeyRing(settings, pool), AddressLists(pool), sealer)
    finally:
        sealing.cancel()
        expiry.cancel()
        desk.cancel()
        settling.cancel()
        live.cancel()
        await asyncio.gather(sealing, expiry, desk, settling, live, return_exceptions=True)
        await poster.stop()
        await pool.close()


def service_of(request: Request) -> Service:
    """The service that serves this request."""
    service: Service = request.app.state.service
    return service


async def scope_of(request: Request) -> str:
    """Scope of the request's API key; Problems NOT_AUTHENTICATED and, outside the platform's white list, ADDRESS_NOT_LISTED."""
    address = request.client.host if request.client else None
    return await scope_for(service_of(request), request.headers.get("authorization"), address)


async def scope_for(service: Service, authorization: str | None, address: str | None) -> str:
    """Scope of the API key in an ``Authorization`` header sent from a network address; Problems of `scope_of`."""
    scope = await service.keys.scope(authorization)
    await service.addresses.check(scope, address, service.settings.zone)
    return scope


async def read_body(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The request's body; Problem BODY_TOO_LARGE beyond `bytes_max` (32 MiB), however it is sent."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > bytes_max:
            raise Problem("BODY_TOO_LARGE", f"the body is larger than {bytes_max} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
