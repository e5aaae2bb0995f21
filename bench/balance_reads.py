"""Balance reads while orders are written at 70 % of the rate that the service reaches: response times of the reads.

`python -m bench.balance_reads` makes a home of its own, measures the write rate of 20 clients, then writes at 70 % of it by the
clock (a late answer does not slow the next order down) and reads balances over READERS connections, some 20 seconds in all.
"""

from __future__ import annotations

import asyncio
import re
import time
from statistics import quantiles
from typing import Any

from bench import result
from bench.orders_over_http import ACCOUNTS, CLIENTS, own_postgres, post_orders, register, served
from transactional.verify import verify

WRITE_SHARE, READERS, READS_PER_SECOND, SECONDS, RAMP_SECONDS = 0.7, 8, 200, 8.0, 4.0
NAME = "balance_reads"


def _order(key: str, number: int) -> bytes:
    account = number * 104729 % ACCOUNTS
    body = (
        f'{{"platform_id":"P01","request_no":"B-{number}","order_type":"RECHARGE","currency":"CNY","movements":[{{"movement_type":'
        f'"RECHARGE","debit_account":"P01-X-CHANNEL-PC01","credit_account":"P01-L-{account:06d}","amount_minor":100}}]}}'
    )
    head = f"POST /v1/orders HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: b-{number}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _read(key: str, number: int) -> bytes:
    path = f"/v1/accounts/P01-L-{number * 7919 % ACCOUNTS:06d}/balance"
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def _exchange(port: int, requests: Any, status: bytes, waits: list[float], until: float) -> None:
    """Send each (due time, request) at its time over one connection; keep seconds from the due time to the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for due, request in requests:
        if due > until:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        answer = await reader.readexactly(int(length.group(1)))
        if not head.startswith(b"HTTP/1.1 " + status):
            raise SystemExit(f"a request was refused: {answer.decode()}")
        waits.append(time.perf_counter() - due)
    writer.close()


async def read_while_writing(port: int, key: str, orders_per_second: float) -> dict[str, Any]:
    """Response times in ms of reads, and of the orders beside them, counted from when each was due."""
    begin = time.perf_counter() + 0.1
    until = begin + SECONDS
    reads: list[float] = []
    writes: list[float] = []

    def due(lane: int, lanes: int, rate: float, make: Any) -> Any:
        return ((begin + (lane + turn * lanes) / rate, make(key, lane + turn * lanes)) for turn in range(10**9))

    await asyncio.gather(
        *(_exchange(port, due(lane, CLIENTS, orders_per_second, _order), b"201", writes, until) for lane in range(CLIENTS)),
        *(_exchange(port, due(lane, READERS, READS_PER_SECOND, _read), b"200", reads, until) for lane in range(READERS)),
    )
    read_cuts, write_cuts = quantiles(reads, n=100), quantiles(writes, n=100)
    return {
        "reads": len(reads),
        "read_p50_ms": round(read_cuts[49] * 1000, 2),
        "read_p99_ms": round(read_cuts[98] * 1000, 2),
        "orders_written_per_second": round(len(writes) / SECONDS, 1),
        "write_p50_ms": round(write_cuts[49] * 1000, 2),
        "write_p99_ms": round(write_cuts[98] * 1000, 2),
    }


def main() -> None:
    """Measure the write rate, then reads at 70 % of it, and write the result."""
    with own_postgres() as settings:
        with served() as (port, _):
            key = settings.secret("api_admin_key")
            register(port, key)
            full = asyncio.run(post_orders(port, key, duration_s=RAMP_SECONDS))["orders_per_second"]
            measured = asyncio.run(read_while_writing(port, key, full * WRITE_SHARE))
        verdict = verify(settings.database_url("service"))
        figures = {
            "what": "GET balance, 200 a second over 8 connections, beside orders at 70 % of the closed-loop rate of 20 clients",
            "orders_per_second_at_full_load": full,
            "write_share": WRITE_SHARE,
            **measured,
            "ledger_faults": len(verdict.faults),
        }
        print(result.write(NAME, figures, settings).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
