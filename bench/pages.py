"""The overview in real Chromium over a published night: seconds until it is ready, bytes, requests, and the server's own time.

It needs a home with a published night and running pages, as `python -m bench` leaves them after `bench.one_night`.
"""

from __future__ import annotations

import secrets
import statistics
import time
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from bench import result
from fundwatch.settings import Settings, load
from transactional import users

NAME = "pages"
COLD_VISITS, WARM_VISITS, SERVER_REQUESTS = 5, 20, 200
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_READY = "html[data-ready='1']"
# time until the browser had drawn what the page's last script drew, from the start of the navigation
_SINCE_START = "() => new Promise(done => requestAnimationFrame(() => done(performance.now() / 1000)))"


def main() -> None:
    """Visit the overview with an empty cache and with a full one, ask the server alone, keep the figures."""
    settings = load()
    host, port = settings.service_address("web")
    web, password = f"http://{host}:{port}", secrets.token_urlsafe(18)
    name = f"bench-{secrets.token_hex(4)}"
    users.create(settings.database_url("migrator"), name, "officer", password)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        state = _sign_in(chromium, web, name, password)
        cold = [_visit(chromium, web, state, 1) for _ in range(COLD_VISITS)]
        warm = _visit(chromium, web, state, WARM_VISITS)
        served = _server_seconds(playwright, web, state)
        version = chromium.version
        chromium.close()
    figures = {
        "what": "the overview in Chromium, everything on one machine: ready = charts drawn",
        "chromium": version,
        "loans": _loans(settings),
        "ready_cold_s": round(statistics.median(visit["ready"][0] for visit in cold), 3),
        "ready_warm_s": round(statistics.median(warm["ready"][1:]), 3),
        "requests": cold[0]["requests"],
        "bytes_cold": cold[0]["bytes"],
        "server_p50_ms": round(1000 * statistics.median(served), 1),
        "server_p95_ms": round(1000 * sorted(served)[int(len(served) * 0.95)], 1),
    }
    result.write(NAME, figures, settings)


def _sign_in(chromium: Browser, web: str, name: str, password: str) -> Any:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{web}/login?lang=en")
    page.fill("#name", name)
    page.fill("#password", password)
    page.locator("button.primary").click()
    page.wait_for_url(lambda url: "/login" not in url)
    state = context.storage_state()
    context.close()
    return state


def _visit(chromium: Browser, web: str, state: Any, times: int) -> dict[str, Any]:
    """Visits in a browser that has nothing in its cache before the first; requests and bytes are of the first."""
    context = chromium.new_context(storage_state=state, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(_size(request)))
    ready = [_ready(page, web)]
    page.wait_for_load_state("networkidle")
    first = {"requests": len(sizes), "bytes": sum(sizes)}
    ready += [_ready(page, web) for _ in range(times - 1)]
    context.close()
    return {"ready": ready, **first}


def _ready(page: Page, web: str) -> float:
    page.goto(f"{web}/?lang=en", wait_until="commit")
    page.locator(_READY).wait_for(state="attached")
    return float(page.evaluate(_SINCE_START))


def _size(request: Any) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def _server_seconds(playwright: Playwright, web: str, state: Any) -> list[float]:
    """Seconds of requests for the overview alone, one after the other on one connection."""
    client = playwright.request.new_context(storage_state=state)
    seconds = []
    for _ in range(SERVER_REQUESTS):
        started = time.perf_counter()
        answer = client.get(f"{web}/?lang=en")
        seconds.append(time.perf_counter() - started)
        assert answer.status == 200
    client.dispose()
    return seconds


def _loans(settings: Settings) -> int:
    import psycopg

    with psycopg.connect(settings.database_url("reader")) as connection:
        row = connection.execute("SELECT coalesce(sum(loans), 0)::bigint FROM mart.loan_bucket").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
