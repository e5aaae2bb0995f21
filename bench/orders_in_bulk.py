"""Movements per second through `POST /v1/orders/bulk`, 1,000 orders a call, four callers; how much memory the service takes,
and for how long a movement waits for its ledger number at most, as the service's state says while calls are posted.

`python -m bench.orders_in_bulk` makes a home of its own, measures for some 30 seconds, writes its figures to bench/results/ and
removes the home. Bodies are made before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psutil

from bench import result
from bench.orders_over_http import ACCOUNTS, cpu_seconds, own_postgres, register, served
from fundwatch.services import postgres, process
from transactional.verify import verify

CALLERS, ORDERS_A_CALL, CALLS, STREAMED_CALLS = 4, 1_000, 40, 12
POLL_S = 0.1
NAME = "orders_in_bulk"


def _body(caller: int, call: int) -> bytes:
    orders = ",".join(
        f'{{"platform_id":"P01","request_no":"B-{caller}-{call}-{number}","order_type":"RECHARGE","currency":"CNY","movements":'
        f'[{{"movement_type":"RECHARGE","debit_account":"P01-X-CHANNEL-PC01","credit_account":'
        f'"P01-L-{(caller * 7919 + call * 104729 + number) % ACCOUNTS:06d}","amount_minor":100}}]}}'
        for number in range(ORDERS_A_CALL)
    )
    return f'{{"orders":[{orders}]}}'.encode()


async def _caller(port: int, key: str, caller: int, bodies: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for call, body in enumerate(bodies):
        head = (
            f"POST /v1/orders/bulk HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
            f"Idempotency-Key: bulk-{caller}-{call}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None
        text = await reader.readexactly(int(length.group(1)))
        if not answer.startswith(b"HTTP/1.1 201"):
            raise SystemExit(f"a call was refused: {text.decode()}")
    writer.close()


async def _all(port: int, key: str, bodies: list[list[bytes]]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(_caller(port, key, caller, mine) for caller, mine in enumerate(bodies)))
    return time.perf_counter() - started


@contextmanager
def _watched(port: int) -> Iterator[list[float]]:
    """Collects the unsealed window in seconds that the service states, until the block ends."""
    seen: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(POLL_S):
            seen.append(float(httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=30).json()["unsealed_window_s"]))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


def _stream(port: int, key: str) -> float:
    """Seconds for one stream of `STREAMED_CALLS` thousands of orders, made while it is sent."""
    names = ("orders", "movements")

    def lines() -> Iterator[bytes]:
        for call in range(STREAMED_CALLS):
            body = json.loads(_body(CALLERS, call))
            yield b"".join(json.dumps(order).encode() + b"\n" for order in body["orders"])

    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "stream"}
    started = time.perf_counter()
    answer = httpx2.post(f"http://127.0.0.1:{port}/v1/orders/stream", content=lines(), headers=headers, timeout=120)
    *parts, last = [json.loads(line) for line in answer.text.splitlines()]
    assert last == {"done": True, "lines": STREAMED_CALLS * ORDERS_A_CALL} and all(
        name in part for part in parts for name in names
    ), last
    return time.perf_counter() - started


def main() -> None:
    """Post all calls, wait for the sealer, write the result."""
    with own_postgres() as settings:
        server = process.find(settings, postgres.NAME)
        assert server is not None
        with served() as (port, service_pid):
            key = settings.secret("api_admin_key")
            register(port, key)
            bodies = [[_body(caller, call) for call in range(CALLS)] for caller in range(CALLERS)]
            before = [cpu_seconds(pid) for pid in (service_pid, server.pid)]
            with _watched(port) as windows:
                seconds = asyncio.run(_all(port, key, bodies))
            used = [cpu_seconds(pid) - start for pid, start in zip((service_pid, server.pid), before, strict=True)]
            streamed = STREAMED_CALLS * ORDERS_A_CALL / _stream(port, key)
            memory = psutil.Process(service_pid).memory_info().rss
        verdict = verify(settings.database_url("service"))
        posted = CALLERS * CALLS * ORDERS_A_CALL
        figures: dict[str, Any] = {
            "what": "POST /v1/orders/bulk, 1,000 orders of one movement a call, all or nothing, fsync on",
            "callers": CALLERS,
            "postings": posted,
            "postings_per_second": round(posted / seconds),
            "streamed_postings_per_second_one_caller": round(streamed),
            "service_cpu_us": round(used[0] * 1e6 / posted, 1),
            "postgres_cpu_us": round(used[1] * 1e6 / posted, 1),
            "service_memory_mb": round(memory / 1e6),
            "largest_unsealed_window_s": max(windows),
            "unsealed_at_the_end": verdict.unsealed,
            "ledger_faults": len(verdict.faults),
        }
        print(result.write(NAME, figures, settings).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
