"""What the browser tests share: one Chromium, people of every role, and pages over databases in every state.

Whatever a page reports as wrong (console errors, page errors, requests to other hosts) fails its test at the end.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from fundwatch.services import postgres, process
from fundwatch.settings import PROJECT, load
from lake import marts
from transactional import users
from transactional.migrate import migrate
from transactional.permissions import ROLES

PASSWORD = "a long enough password 7"
STAGED = Path(__file__).parent.parent / "staged_publication.sql"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Visit:
    """One signed-in browser tab on one installation's pages."""

    page: Page
    web: str
    wrong: list[str] = field(default_factory=list)

    def goto(self, path: str) -> Any:
        """Open a path and give the response."""
        return self.page.goto(self.web + path)

    def get(self, path: str) -> Any:
        """Fetch a path with the tab's session, without showing it."""
        return self.page.request.get(self.web + path)


# of a module, not of the session: Playwright keeps an event loop running, and beside it nothing else may start one
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def home(night: Any) -> Any:
    """Settings of the night's home."""
    return replace(load(), home=night.home)


@pytest.fixture(scope="session")
def people(home: Any, published: dict[str, Any]) -> None:
    """A person of every role in the night's database."""
    _add_people(home.database_url("migrator"))


def _add_people(database: str) -> None:
    for role in ROLES:
        users.create(database, f"test-{role}", role, PASSWORD)


@pytest.fixture(scope="module")
def signed_in(browser: Browser) -> Callable[[str, str], Any]:
    """Storage state of a browser in which a role has signed in at some pages; signed in once for all tests."""
    states: dict[tuple[str, str], Any] = {}

    def state(web: str, role: str) -> Any:
        if (web, role) not in states:
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"{web}/login?lang=en")
            page.fill("#name", f"test-{role}")
            page.fill("#password", PASSWORD)
            page.locator("button.primary").click()
            page.wait_for_url(lambda url: "/login" not in url)
            states[web, role] = context.storage_state()
            context.close()
        return states[web, role]

    return state


@pytest.fixture
def visit(browser: Browser, signed_in: Callable[[str, str], Any]) -> Iterator[Callable[..., Visit]]:
    """Opens watched tabs: `visit(web, role)`; the test fails when one of them reported something wrong."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def opened(web: str, role: str = "officer", width: int = 1280) -> Visit:
        state = signed_in(web, role) if role else None
        context = browser.new_context(viewport={"width": width, "height": 900}, storage_state=state)
        contexts.append(context)
        made = Visit(context.new_page(), web)
        visits.append(made)
        page, wrong = made.page, made.wrong
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if "//127.0.0.1" in request.url else wrong.append(request.url))
        return made

    yield opened
    for context in contexts:
        context.close()
    assert [wrong for made in visits for wrong in made.wrong] == []


@contextmanager
def served(night: Any, **environment: str) -> Iterator[str]:
    """Pages of the night's home in a process of their own, with other services named by the environment."""
    (port,) = process.free_ports(1)
    command = [sys.executable, "-m", "dashboard.serve", "--port", str(port)]
    server = subprocess.Popen(command, env=night.environment | environment, cwd=PROJECT, stderr=subprocess.DEVNULL)
    web = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(f"{web}/livez"):
            assert server.poll() is None and time.monotonic() < deadline, "the pages did not start"
        yield web
    finally:
        server.terminate()
        server.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _fresh_database(home: Any, name: str) -> str:
    """A migrated database with people beside the night's own; its address without user and password."""
    with psycopg.connect(postgres.superuser_url(home), autocommit=True) as connection:
        connection.execute(f"create database {name} owner migrator".encode())
    migrate(home.database_url("migrator", name), "simulated")
    _add_people(home.database_url("migrator", name))
    host, port = home.service_address(postgres.NAME)
    return f"postgresql://{host}:{port}/{name}"


@pytest.fixture(scope="session")
def empty_web(night: Any, home: Any, published: dict[str, Any]) -> Iterator[str]:
    """Pages of an installation that has published nothing."""
    with served(night, FUNDWATCH_DATABASE_URL=_fresh_database(home, "pages_empty")) as web:
        yield web


@pytest.fixture(scope="session")
def staged_web(night: Any, home: Any, published: dict[str, Any]) -> Iterator[str]:
    """Pages of the staged publication: stale, partial, over limits, scores refused, the night held."""
    address = _fresh_database(home, "pages_staged")
    with psycopg.connect(home.database_url("migrator", "pages_staged")) as connection:
        connection.execute(STAGED.read_bytes())
        for run_id in (1, 2):
            for statement in marts.SUMS["loan_snapshot"]:
                connection.execute(statement.encode(), [run_id])
        connection.execute(
            """WITH held AS (
                 SELECT ops.propose_control('HOLD', null, null, null, null, 'a sender is being examined', 'ann', 'BANK') AS id)
               SELECT ops.decide_control(id, 'ben', true, null) FROM held"""
        )
    with served(night, FUNDWATCH_DATABASE_URL=address, FUNDWATCH_LIMIT_PAR30="0.02", FUNDWATCH_LIMIT_PAR90="0.12") as web:
        yield web


@pytest.fixture(scope="session")
def without_history_web(night: Any, people: None) -> Iterator[str]:
    """Pages whose history store does not answer."""
    (nobody,) = process.free_ports(1)
    with served(night, FUNDWATCH_HBASE_THRIFT=f"127.0.0.1:{nobody}") as web:
        yield web


@pytest.fixture(scope="session")
def without_database_web(night: Any) -> Iterator[str]:
    """Pages whose database does not answer."""
    (nobody,) = process.free_ports(1)
    with served(night, FUNDWATCH_DATABASE_URL=f"postgresql://127.0.0.1:{nobody}/fundwatch") as web:
        yield web


@pytest.fixture(scope="session")
def web(night: Any, people: None) -> str:
    """The night's own pages."""
    address: str = night.web
    return address
