"""kill -9 of the service under load: what was acknowledged is there once, and asking again gives the first answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psycopg
import pytest

from transactional.verify import verify

pytestmark = pytest.mark.chaos
CLIENTS, ORDERS_A_CLIENT, KILLS, PATIENCE_S = 8, 60, 4, 60.0
REGISTRY = {
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
        {"account_no": f"P01-L-{client}", "platform_id": "P01", "account_role": "INVESTOR", "currency": "CNY"}
        for client in range(CLIENTS)
    ],
}


class Load:
    """Clients that post until every order of theirs is acknowledged, whatever happens to the service meanwhile."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.acknowledged: dict[str, str] = {}
        self.unanswered = 0
        self.changed = threading.Condition()

    def session(self) -> Any:
        """An HTTP client with the key."""
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=10)

    def body(self, name: str) -> dict[str, Any]:
        """The order of one name: one unit for the client's account."""
        movement = {
            "movement_type": "RECHARGE",
            "debit_account": "P01-X-CHANNEL-PC01",
            "credit_account": f"P01-L-{name.partition('-')[0]}",
            "amount_minor": 1,
        }
        return {"platform_id": "P01", "request_no": name, "order_type": "RECHARGE", "currency": "CNY", "movements": [movement]}

    def post(self, session: Any, name: str) -> Any:
        """Ask until there is an answer that is not to be asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = session.post("/v1/orders", json=self.body(name), headers={"Idempotency-Key": name})
            except httpx2.TransportError:
                with self.changed:
                    self.unanswered += 1
                    self.changed.wait(0.02)  # until somebody gets through, or a moment
                continue
            if answer.status_code == 201 or not answer.json()["retryable"]:
                return answer
        raise AssertionError(f"order {name} was never answered")

    def run(self, client: int) -> None:
        """Work of one client."""
        with self.session() as session:
            for number in range(ORDERS_A_CLIENT):
                answer = self.post(session, f"{client}-{number}")
                assert answer.status_code == 201, answer.text
                with self.changed:
                    self.acknowledged[f"{client}-{number}"] = answer.text
                    self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until `count` orders are acknowledged."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.acknowledged) >= count, PATIENCE_S), len(self.acknowledged)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _served(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process of its own, ready; killed at the end if it still runs."""
    process = subprocess.Popen([sys.executable, "-m", "transactional.serve", "--port", str(port)], env=dict(os.environ))
    try:
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx2.TransportError:
                assert process.poll() is None and time.monotonic() < deadline, "the service does not start"
            pause.wait(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_acknowledged_orders_survive_repeated_kills_and_are_there_once(database: Any) -> None:
    port = _free_port()
    load = Load(f"http://127.0.0.1:{port}", database.settings.secret("api_admin_key"))
    threads = [threading.Thread(target=load.run, args=(client,)) for client in range(CLIENTS)]
    total = CLIENTS * ORDERS_A_CLIENT
    for kill in range(KILLS + 1):
        with _served(port) as process:
            if kill == 0:
                with load.session() as session:
                    assert session.post("/v1/registry", json=REGISTRY).status_code == 200
                for thread in threads:
                    thread.start()
            load.wait_for(total * (kill + 1) // (KILLS + 1))
            if kill < KILLS:
                process.send_signal(signal.SIGKILL)
                continue
            for thread in threads:
                thread.join(PATIENCE_S)
            with load.session() as session:
                again = {name: load.post(session, name) for name in load.acknowledged}
    assert load.unanswered > 0, "the kills hit nobody"
    assert len(load.acknowledged) == total
    assert {name: answer.text for name, answer in again.items()} == load.acknowledged
    assert all(answer.headers["Idempotency-Replayed"] == "true" for answer in again.values())
    with psycopg.connect(database.url("migrator")) as connection:
        found = connection.execute("SELECT request_no FROM ledger.trade_order").fetchall()
        balances = connection.execute("SELECT DISTINCT credit_minor FROM ledger.balance WHERE NOT is_control").fetchall()
    assert sorted(row[0] for row in found) == sorted(load.acknowledged)
    assert balances == [(ORDERS_A_CLIENT,)]
    assert verify(database.url("service")).faults == ()
