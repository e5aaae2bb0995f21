"""What the kill tests share: twenty clients that keep asking, the service as a process to be killed, and what must hold after.

Kills a test: FUNDWATCH_CHAOS_KILLS, or 5 (`make test`, all of it within a minute); `make chaos` makes 20 of each.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import psycopg
import pytest

from transactional.verify import verify

CLIENTS, ORDERS_A_KILL, PATIENCE_S = 20, 200, 60.0
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
    """Clients that post orders of one unit without end, whatever happens to the service; each in one of three tempers.

    Most ask until they are answered. One in six sends the request, hangs up before the answer and asks again: it must hear the
    first answer. One in six asks once and gives up when nothing comes: its order may be there or not, but never twice.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.acknowledged: dict[str, str] = {}
        self.given_up: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.changed = threading.Condition()
        self.ending = threading.Event()
        self.faults: list[str] = []
        self.threads = [threading.Thread(target=self._run, args=(client,)) for client in range(CLIENTS)]

    def __enter__(self) -> Load:
        with self.session() as session:
            answer = session.post("/v1/registry", json=REGISTRY)
            assert answer.status_code == 200, answer.text
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)

    def session(self) -> Any:
        """An HTTP client with the key."""
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=10)

    def wait_for_more(self, count: int) -> None:
        """Wait until `count` more orders are acknowledged than now."""
        with self.changed:
            wanted = len(self.acknowledged) + count
            got = self.changed.wait_for(lambda: len(self.acknowledged) >= wanted or self.faults, PATIENCE_S)
            assert got and not self.faults, (len(self.acknowledged), wanted, self.faults[:3])

    def post(self, session: Any, name: str) -> Any:
        """One attempt: the answer, or None when there was none or it says to ask again."""
        try:
            answer = session.post("/v1/orders", content=self._body(name), headers={"Idempotency-Key": name})
        except httpx2.TransportError:
            self.seen["unanswered"] += 1
            return None
        if answer.status_code == 201 or not answer.json().get("retryable"):
            return answer
        self.seen[answer.json()["code"]] += 1
        return None

    def ask(self, session: Any, name: str) -> Any:
        """Ask until there is an answer that is not to be asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self.post(session, name)
            if answer is not None:
                return answer
            with self.changed:
                self.changed.wait(0.02)  # until somebody gets through, or a moment
        raise AssertionError(f"order {name} was never answered")

    def _body(self, name: str) -> bytes:
        movement = {
            "movement_type": "RECHARGE",
            "debit_account": "P01-X-CHANNEL-PC01",
            "credit_account": f"P01-L-{name.partition('-')[0]}",
            "amount_minor": 1,
        }
        order = {"platform_id": "P01", "request_no": name, "order_type": "RECHARGE", "currency": "CNY", "movements": [movement]}
        return msgspec.json.encode(order)

    def _hang_up(self, name: str) -> None:
        """Send the whole request and close the connection unread."""
        address, body = urlsplit(self.url), self._body(name)
        head = (
            f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\nIdempotency-Key: {name}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            with socket.create_connection((str(address.hostname), int(address.port or 0)), 5) as connection:
                connection.sendall(head.encode() + body)
            self.seen["hung up"] += 1
        except OSError:
            self.seen["unanswered"] += 1

    def _run(self, client: int) -> None:
        temper, number = random.Random(client), 0
        with self.session() as session:
            while not self.ending.is_set():
                number += 1
                name, mood = f"{client}-{number}", temper.randrange(6)
                try:
                    if mood == 0:
                        self._hang_up(name)
                    answer = self.post(session, name) if mood == 1 else self.ask(session, name)
                except AssertionError as error:
                    self.faults.append(str(error))
                    return
                with self.changed:
                    if answer is None:
                        self.given_up.add(name)
                    elif answer.status_code != 201:
                        self.faults.append(answer.text)
                    else:
                        self.acknowledged[name] = answer.text
                        self.seen["replayed while it ran"] += answer.headers.get("Idempotency-Replayed") == "true"
                    self.changed.notify_all()

    def check(self, admin_url: str) -> None:
        """Everything that must hold: called with the service up and the clients gone."""
        assert not self.faults, self.faults[:3]
        with psycopg.connect(admin_url) as connection:
            found = Counter(str(row[0]) for row in connection.execute("SELECT request_no FROM ledger.trade_order"))
            credited = dict(
                connection.execute(
                    """SELECT account_no, credit_minor FROM ledger.balance JOIN registry.account USING (account_id)
                       WHERE NOT balance.is_control"""
                ).fetchall()
            )
        assert set(found.values()) == {1}, "an order is there twice"
        assert set(self.acknowledged) <= set(found), "an acknowledged order is lost"
        assert set(found) <= set(self.acknowledged) | self.given_up, "an order is there that nobody sent"
        owned = Counter(f"P01-L-{name.partition('-')[0]}" for name in found)
        assert credited == {account: owned[account] for account in credited}
        sample = dict(random.Random(1).sample(sorted(self.acknowledged.items()), min(500, len(self.acknowledged))))
        with self.session() as session:
            again = {name: self.ask(session, name) for name in (*sample, *(self.given_up & set(found)))}
        assert {name: again[name].text for name in sample} == sample, "asked again, another answer"
        assert all(answer.headers["Idempotency-Replayed"] == "true" for answer in again.values())
        hit = self.seen["unanswered"] + self.seen["OUTCOME_UNKNOWN"] + self.seen["DATABASE_MISSING"]
        assert hit > 0, "the kills hit nobody"
        assert self.seen["replayed while it ran"] > 0, "no first answer was heard again while it ran"
        assert verify(admin_url).faults == ()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """The service as a process of its own on one port, which can be started again after a kill."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "transactional.serve", "--port", str(self.port)], env=dict(os.environ)
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until /readyz says so."""
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx2.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                assert self.process is not None and self.process.poll() is None, "the service ended"
            assert time.monotonic() < deadline, "the service does not become ready"
            pause.wait(0.05)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def service() -> Iterator[Service]:
    """A service for the database that the environment names; not started yet, killed at the end."""
    it = Service()
    try:
        yield it
    finally:
        it.kill()


@pytest.fixture
def kills() -> int:
    """How often to kill."""
    return int(os.environ.get("FUNDWATCH_CHAOS_KILLS", "5"))


@pytest.fixture
def under_load() -> Any:
    """`with under_load(url, key) as load`: twenty clients at work."""

    @contextmanager
    def at_work(url: str, key: str) -> Iterator[Load]:
        with Load(url, key) as load:
            yield load

    return at_work


@pytest.fixture
def orders_a_kill() -> int:
    """Acknowledged orders between two kills."""
    return ORDERS_A_KILL
