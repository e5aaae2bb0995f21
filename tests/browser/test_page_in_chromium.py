"""The page in real Chromium on a published night: trust line, figure → rows → timeline, both languages, axe, console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page and everything wrong it reports: console errors, page errors, requests to other hosts."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if "//127.0.0.1" in request.url else wrong.append(request.url))
    yield page, wrong
    page.close()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_figure_leads_to_its_rows_and_to_an_account_without_a_fault(
    watched: tuple[Page, list[str]], night: Any, published: dict[str, Any], language: str
) -> None:
    page, wrong = watched
    page.goto(f"{night.web}/?lang={language}")
    expect(page.locator("#as-of")).to_have_text("2026-08-31")
    assert page.locator("html").get_attribute("lang") == language
    figure = page.locator("button.figure[data-code='B01'][data-age='*']").first
    count = int(figure.locator(".items").inner_text())
    amount = figure.locator(".amount").inner_text()
    figure.click()
    expect(page.locator("table.items-table tbody tr")).to_have_count(count)
    assert amount in page.locator("#rows-sum").inner_text()
    page.locator("table.items-table button.link").first.click()
    expect(page.locator("table.timeline-table tbody tr").first).to_be_visible()
    assert Axe().run(page).violations_count == 0
    assert wrong == []


def test_the_total_is_the_number_of_all_rows(watched: tuple[Page, list[str]], night: Any, published: dict[str, Any]) -> None:
    page, wrong = watched
    page.goto(night.web)
    total = page.locator("button.figure[data-code='*'][data-age='*']").first
    count = int(total.locator(".items").inner_text())
    total.click()
    expect(page.locator("table.items-table tbody tr")).to_have_count(count)
    assert wrong == []


def test_the_language_link_keeps_the_platform_filter(
    watched: tuple[Page, list[str]], night: Any, published: dict[str, Any]
) -> None:
    page, _ = watched
    page.goto(f"{night.web}/?lang=en&platform=P02")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    assert page.locator("#platform").input_value() == "P02"


def test_foreign_ids_and_unknown_filters_are_refused(
    watched: tuple[Page, list[str]], night: Any, published: dict[str, Any]
) -> None:
    page, _ = watched
    missing = page.request.get(f"{night.web}/accounts/P99-L-000001/timeline")
    assert missing.status == 404
    assert page.request.get(f"{night.web}/open-items?age=17").status == 422
    assert page.request.get(f"{night.web}/?lang=fr").status == 422
    policy = page.request.get(night.web).headers["content-security-policy"]
    assert "unsafe" not in policy
