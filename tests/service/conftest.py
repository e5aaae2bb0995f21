"""What the service's tests share: the app over a fresh database, a client with the admin key, and a small registry."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import psycopg
import pytest
import uvicorn
from fastapi.testclient import TestClient

from transactional.app import create_app
from transactional.hot_path import PostingProtocol

REGISTRY: dict[str, Any] = {
    "platforms": [
        {
            "platform_id": platform,
            "name": platform,
            "legal_name": f"{platform} Ltd",
            "currency": "CNY",
            "pack_id": "CN_2017",
            "onboarded_on": "2026-01-01",
        }
        for platform in ("P01", "P02")
    ],
    "payment_companies": [{"paycom_id": "PC01", "name": "Pay", "platform_ids": ["P01", "P02"]}],
    "parties": [
        {"party_ref": f"PARTY-{n}", "party_type": "PERSON", "id_hash": f"{n:064x}", "name_masked": "L*", "phone_masked": None}
        for n in (1, 2, 3)
    ],
    "customers": [
        {
            "platform_id": platform,
            "customer_no": f"{platform}-C00000{n}",
            "party_ref": f"PARTY-{n}",
            "roles": ["INVESTOR", "BORROWERS"],
            "opened_on": "2026-01-02",
        }
        for platform in ("P01", "P02")
        for n in (1, 2, 3)
    ],
    "sub_accounts": [
        {
            "account_no": f"{platform}-{letter}-00000{n}",
            "platform_id": platform,
            "account_role": role,
            "customer_no": f"{platform}-C00000{n}",
            "currency": "CNY",
        }
        for platform in ("P01", "P02")
        for letter, role in (("L", "INVESTOR"), ("B", "BORROWERS"))
        for n in (1, 2, 3)
    ]
    + [
        {"account_no": "P01-F-INCOME", "platform_id": "P01", "account_role": "PLATFORM_INCOME", "currency": "CNY"},
        {"account_no": "P01-F-MARKETING", "platform_id": "P01", "account_role": "PLATFORM_MARKETING", "currency": "CNY"},
        {
            "account_no": "P01-L-USD",
            "platform_id": "P01",
            "account_role": "INVESTOR",
            "customer_no": "P01-C000001",
            "currency": "USD",
        },
    ],
}
CONTENT = ("registry.platform", "registry.account", "registry.party", "api.answer", "ledger.clock", "ledger.balance")
POSTED = ("ledger.trade_order", "ledger.movement", "ledger.entry", "ledger.hold_event")


@dataclass
class Api:
    """The running service as a platform sees it, and its tables as an auditor sees them."""

    client: TestClient
    admin_url: str
    service_url: str
    numbers: Iterator[int] = field(default_factory=count)

    def order(self, order_type: str, *movements: tuple[str, str, str, int], **more: Any) -> dict[str, Any]:
        """Body of an order of P01 with a request number of its own; a movement is (type, debit, credit, amount)."""
        names = ("movement_type", "debit_account", "credit_account", "amount_minor")
        return {
            "platform_id": "P01",
            "request_no": f"REQ-{next(self.numbers)}",
            "order_type": order_type,
            "currency": "CNY",
            "movements": [dict(zip(names, movement, strict=True)) for movement in movements],
            **more,
        }

    def post(self, body: dict[str, Any], key: str | None = None, path: str = "/v1/orders") -> Any:
        """Post under `key`, or one of its own."""
        return self.client.post(path, json=body, headers={"Idempotency-Key": key or f"key-{next(self.numbers)}"})

    def recharge(self, account: str, amount: int, **more: Any) -> Any:
        """Bring money in from the payment company; asserts that it was posted."""
        movement = ("RECHARGE", f"{account[:3]}-X-CHANNEL-PC01", account, amount)
        answer = self.post(self.order("RECHARGE", movement, platform_id=account[:3], **more))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def balance(self, account: str, **moments: str) -> dict[str, Any]:
        """Answer of the balance endpoint."""
        answer = self.client.get(f"/v1/accounts/{account}/balance", params=moments)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def staff(self, name: str, role: str) -> dict[str, str]:
        """Headers of a signed-in person of the bank, made on first use and by nobody: the audit shows what the test does."""
        token = f"session-of-{name}"
        with psycopg.connect(self.admin_url) as connection:
            known = connection.execute("SELECT FROM auth.person WHERE login_name = %s", [name]).fetchone()
            if known is None:
                made = connection.execute(
                    "INSERT INTO auth.person (login_name, display_name, role) VALUES (%s, %s, %s) RETURNING person_id",
                    [name, name, role],
                )
                (person_id,) = made.fetchone() or (None,)
                connection.execute(
                    "INSERT INTO auth.password (person_id, password_hash, must_change) VALUES (%s, '$argon2id$none', false)",
                    [person_id],
                )
                connection.execute(
                    """INSERT INTO auth.session (token_hash, person_id, address, expires_at)
                       VALUES (sha256(%s), %s, 'test', clock_timestamp() + interval '1 hour')""",
                    [token.encode(), person_id],
                )
        return {"Authorization": f"Bearer {token}"}

    def put_down(self, kind: str, subject: str, payload: dict[str, Any], *, by: dict[str, str], **more: Any) -> Any:
        """Propose as a person."""
        body = {"kind": kind, "subject": subject, "payload": payload, "reason": "as agreed", **more}
        return self.client.post("/v1/approvals", json=body, headers={"Idempotency-Key": f"key-{next(self.numbers)}", **by})

    def decide(self, approval: dict[str, Any], *, by: dict[str, str], approve: bool = True, note: str = "looked at it") -> Any:
        """Decide as a person, on the version in `approval`."""
        body = {"approve": approve, "payload_hash": approval["payload_hash"], "note": note}
        path = f"/v1/approvals/{approval['approval_id']}/decision"
        return self.client.post(path, json=body, headers={"Idempotency-Key": f"key-{next(self.numbers)}", **by})

    def approved(self, kind: str, subject: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Propose as officer ann and approve as checker ben; asserts both, answers what the effect says."""
        proposed = self.put_down(kind, subject, payload, by=self.staff("ann", "officer"), **more)
        assert proposed.status_code == 201, proposed.text
        decided = self.decide(proposed.json(), by=self.staff("ben", "checker"))
        assert decided.status_code == 201, decided.text
        result: dict[str, Any] = decided.json()["result"]
        return result

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query, run by the owner of the tables."""
        with psycopg.connect(self.admin_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def content(self) -> dict[str, Any]:
        """A hash of every row of every table a request may change, sequences aside."""
        return {
            table: self.rows(f"SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {table} t")[0][0]
            for table in CONTENT + POSTED
        }


@pytest.fixture
def api(database: Any) -> Iterator[Api]:
    """The service over a fresh database with two platforms, three people and their accounts."""
    key = database.settings.secret("api_admin_key")
    with TestClient(create_app(database.settings), headers={"Authorization": f"Bearer {key}"}) as client:
        answer = client.post("/v1/registry", json=REGISTRY)
        assert answer.status_code == 200, answer.text
        yield Api(client, database.url("migrator"), database.url("service"))


ROLES = ("viewer", "officer", "checker", "finance", "admin", "auditor")
HOME_URL = "http://127.0.0.1"


def password_of(name: str) -> str:
    """The password of a person that a test makes."""
    return f"correct horse battery {name}"


class Visitor:
    """A browser at the pages: keeps cookies, follows no redirect by itself, sends forms as our own pages do."""

    def __init__(self, app: Any) -> None:
        self.client = TestClient(app, base_url=HOME_URL, follow_redirects=False, raise_server_exceptions=False)

    def get(self, path: str, **headers: str) -> Any:
        """A page."""
        return self.client.get(path, headers=headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Any:
        """A form of our own page, with the token of the session unless the fields carry one."""
        given = {"csrf": self.csrf, **(fields or {})}
        return self.client.post(path, data=given, headers={"Origin": HOME_URL, "Sec-Fetch-Site": "same-origin", **headers})

    def sign_in(self, name: str, password: str | None = None, **fields: str) -> Any:
        """Open the login form and send it."""
        form = self.get("/login")
        token = form.text.partition('name="csrf" value="')[2].partition('"')[0]
        words = password_of(name) if password is None else password
        return self.post("/login", {"csrf": token, "name": name, "password": words, **fields})

    @property
    def token(self) -> str | None:
        """The session's token in the cookie jar."""
        found: str | None = self.client.cookies.get("fw_session")
        return found

    @property
    def csrf(self) -> str:
        """The token that forms of this session carry."""
        from dashboard.session import csrf_token

        return csrf_token(self.token or "")


@dataclass
class Pages:
    """The pages over a fresh database with one person of each role, named as the role."""

    app: Any
    database: Any

    def visitor(self, role: str | None = None) -> Visitor:
        """A browser, signed in as a role or not at all."""
        browser = Visitor(self.app)
        if role is not None:
            assert browser.sign_in(role).status_code == 303
        return browser

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query or the count of rows changed, run by the owner of the tables."""
        with psycopg.connect(self.database.url("migrator"), autocommit=True) as connection:
            done = connection.execute(query.encode(), values or None)
            return done.fetchall() if done.description else [(done.rowcount,)]


@pytest.fixture
def pages(database: Any) -> Iterator[Pages]:
    """The pages' application with a person of each role whose passwords are `password_of(role)`."""
    from dashboard.app import create_app as create_pages
    from transactional import users

    for role in ROLES:
        users.create(database.url("migrator"), role, role, password_of(role), display_name=f"The {role}")
    yield Pages(create_pages(database.settings), database)


@dataclass
class Wire:
    """A listening service, the key of every platform, and what made it."""

    port: int
    key: str
    database: Any

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def request(self, body: bytes, key: str, *more: str, path: str = "/v1/orders", version: str = "1.1") -> bytes:
        """A request's bytes."""
        head = [f"POST {path} HTTP/{version}", "Host: x", f"Authorization: Bearer {self.key}", f"Idempotency-Key: {key}", *more]
        if not any(line.lower().startswith("transfer-encoding") for line in more):
            head.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*head, "", ""]).encode() + body

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def wire(database: Any) -> Iterator[Wire]:
    """The service with the protocol of its process, in a thread, over a small registry."""
    app = create_app(database.settings)
    config = uvicorn.Config(app, port=0, http=PostingProtocol, loop="uvloop", log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the service does not start"
        time.sleep(0.01)
    found = Wire(server.servers[0].sockets[0].getsockname()[1], database.settings.secret("api_admin_key"), database)
    headers = {"Authorization": f"Bearer {found.key}"}
    httpx2.post(f"http://127.0.0.1:{found.port}/v1/registry", json=REGISTRY, headers=headers).raise_for_status()
    yield found
    server.should_exit = True
    thread.join(timeout=20)
