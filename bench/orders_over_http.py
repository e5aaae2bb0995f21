"""Orders per second over HTTP with 20 clients, beside pgbench TPC-B on the same server in the same run.

`python -m bench.orders_over_http` makes a home of its own, measures for some 20 seconds, writes its figures to bench/results/
and removes the home. Clients, service and database share the machine's cores, so compare the two figures with each other.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import psutil
import psycopg

from bench import result
from fundwatch.services import home, postgres, process
from fundwatch.settings import Settings, load
from transactional.verify import verify

CLIENTS, ACCOUNTS, SECONDS, PGBENCH_SECONDS, PGBENCH_SCALE = 20, 1_000, 6.0, 5, 10
READY_TIMEOUT_S = 30.0
HOT_ACCOUNTS, HOT_SECONDS = 10, 3.0
NAME = "orders_over_http"


@contextmanager
def own_postgres() -> Iterator[Settings]:
    """A temporary home with a running, migrated PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-bench-"))
    os.environ.update(FUNDWATCH_HOME=str(folder), FUNDWATCH_CLOCK="system")
    os.environ.pop("FUNDWATCH_DATABASE_URL", None)
    home.prepare(load())
    settings = load()
    try:
        postgres.up(settings)
        yield settings
    finally:
        process.stop(settings, postgres.NAME, postgres.STOP_SIGNAL)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """The service as a process of its own; gives its port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    service = subprocess.Popen([sys.executable, "-m", "transactional.serve", "--port", str(port)])
    try:
        _wait_until_ready(port)
        yield port, service.pid
    finally:
        service.terminate()
        service.wait()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise SystemExit("the service does not start")


def register(port: int, key: str) -> None:
    """A platform, its payment company and 1,000 accounts."""
    body = {
        "platforms": [
            {
                "platform_id": "P01",
                "name": "One",
                "legal_name": "One Ltd",
                "currency": "CNY",
                "pack_id": "CN_2017",
                "onboarded_on": "2026-01-01",
            }
        ],
        "payment_companies": [{"paycom_id": "PC01", "name": "Pay", "platform_ids": ["P01"]}],
        "sub_accounts": [
            {"account_no": f"P01-L-{n:06d}", "platform_id": "P01", "account_role": "INVESTOR", "currency": "CNY"}
            for n in range(ACCOUNTS)
        ],
    }
    answer = httpx2.post(f"http://127.0.0.1:{port}/v1/registry", json=body, headers={"Authorization": f"Bearer {key}"})
    answer.raise_for_status()


async def _client(port: int, key: str, client: int, accounts: int, until: float, seconds: list[float]) -> None:
    """Post single orders over one kept connection until the time is over; every answer must be 201."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while (started := time.perf_counter()) < until:
        number += 1
        account = (client * 7919 + number * 104729) % accounts
        body = (
            f'{{"platform_id":"P01","request_no":"R-{accounts}-{client}-{number}","order_type":"RECHARGE","currency":"CNY","movements":'
            f'[{{"movement_type":"RECHARGE","debit_account":"P01-X-CHANNEL-PC01","credit_account":"P01-L-{account:06d}",'
            f'"amount_minor":100}}]}}'
        )
        writer.write(
            f"POST /v1/orders HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
            f"Idempotency-Key: {accounts}-{client}-{number}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        answer = await reader.readexactly(int(length.group(1)))
        if not head.startswith(b"HTTP/1.1 201"):
            raise SystemExit(f"an order was refused: {answer.decode()}")
        seconds.append(time.perf_counter() - started)
    writer.close()


async def post_orders(port: int, key: str, accounts: int = ACCOUNTS, duration_s: float = SECONDS) -> dict[str, Any]:
    """Orders per second and response times in ms of 20 clients that credit `accounts` accounts in turn."""
    seconds: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(_client(port, key, client, accounts, started + duration_s, seconds) for client in range(CLIENTS)))
    took = time.perf_counter() - started
    cuts = quantiles(seconds, n=100)
    return {
        "orders": len(seconds),
        "orders_per_second": round(len(seconds) / took, 1),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
    }


def cpu_seconds(pid: int) -> float:
    """Processor seconds that a process and its living descendants have used so far."""
    top = psutil.Process(pid)
    times = [each.cpu_times() for each in (top, *top.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def pgbench(settings: Settings) -> float:
    """TPC-B transactions per second of 20 clients on the same server, in a database of its own."""
    with psycopg.connect(postgres.superuser_url(settings), autocommit=True) as connection:
        connection.execute("CREATE DATABASE pgbench")
    binaries = postgres.binaries_folder()
    url = postgres.superuser_url(settings, "pgbench")
    subprocess.run([binaries / "pgbench", "-i", "-q", "-s", str(PGBENCH_SCALE), url], check=True, capture_output=True)
    options = ["-c", str(CLIENTS), "-j", "2", "-T", str(PGBENCH_SECONDS), "-M", "prepared"]
    done = subprocess.run([binaries / "pgbench", *options, url], check=True, capture_output=True, text=True)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return round(float(found.group(1)), 1)


def main() -> None:
    """Measure pgbench, then the service, and write the result."""
    with own_postgres() as settings:
        tps = pgbench(settings)
        server = process.find(settings, postgres.NAME)
        assert server is not None
        with served() as (port, service_pid):
            key = settings.secret("api_admin_key")
            register(port, key)
            before = [cpu_seconds(pid) for pid in (service_pid, server.pid)]
            measured = asyncio.run(post_orders(port, key))
            used = [cpu_seconds(pid) - start for pid, start in zip((service_pid, server.pid), before, strict=True)]
            hot = asyncio.run(post_orders(port, key, HOT_ACCOUNTS, HOT_SECONDS))
        verdict = verify(settings.database_url("service"))
        figures = {
            "what": "POST /v1/orders, one movement each, group commit, fsync on, beside pgbench TPC-B (prepared) in the same run",
            "clients": CLIENTS,
            "seconds": SECONDS,
            "accounts": ACCOUNTS,
            **measured,
            "service_cpu_ms": round(used[0] * 1000 / measured["orders"], 2),
            "postgres_cpu_ms": round(used[1] * 1000 / measured["orders"], 2),
            "pgbench_tps": tps,
            "orders_per_pgbench_transaction": round(measured["orders_per_second"] / tps, 2),
            "orders_per_second_to_10_accounts": hot["orders_per_second"],
            "ledger_faults": len(verdict.faults),
            "movements": verdict.movements,
            "sealed": verdict.sealed,
        }
        print(result.write(NAME, figures, settings).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
