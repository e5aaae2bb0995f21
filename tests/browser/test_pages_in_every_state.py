"""Every page in every state and both languages: designed, accessible, readable on a small screen."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LANGUAGES = ("en", "zh")


def assert_accessible(tab: Any) -> None:
    """axe finds nothing on the page shown."""
    found = Axe().run(tab.page)
    assert found.violations_count == 0, f"{tab.page.url}\n{found.generate_report()}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_of_a_normal_night_are_accessible(visit: Any, web: str, language: str) -> None:
    tab = visit(web)
    page = tab.page
    tab.goto(f"/?lang={language}")
    expect(page.locator("html[data-ready='1']")).to_be_attached()
    assert page.locator("html").get_attribute("lang") == language
    assert page.locator(".chart svg").count() >= 1
    for summary in page.locator("summary").all():
        summary.click()
    assert_accessible(tab)
    for figure in ("open_loans", "open_items", "custody_gap", "red_lines"):
        tab.goto(f"/rows/{figure}?lang={language}")
        assert_accessible(tab)
    tab.goto(f"/rows/open_loans?lang={language}&platform=P01")
    page.locator(".items-table tbody th a").first.click()
    assert_accessible(tab)
    page.locator("#items-title ~ .caption a").first.click()
    assert_accessible(tab)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_installation_without_a_night_says_so(visit: Any, empty_web: str, language: str) -> None:
    tab = visit(empty_web)
    for path in ("/", "/rows/outstanding"):
        assert tab.goto(f"{path}?lang={language}").status == 200
        expect(tab.page.locator("#empty")).to_be_visible()
        assert_accessible(tab)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_doubtful_publication_says_what_is_wrong_with_it(visit: Any, staged_web: str, language: str) -> None:
    tab = visit(staged_web)
    page = tab.page
    tab.goto(f"/?lang={language}")
    expect(page.locator("html[data-ready='1']")).to_be_attached()
    assert "P02 (" in page.locator("#stale").inner_text()
    assert "P03" in page.locator("#stale").inner_text()
    assert page.locator("#files-missing").inner_text().endswith("1")
    doubts = page.locator(".doubts").inner_text()
    for part in ("P02.postings: the file did not come", "a sender is being examined", "the model file is not the registered one"):
        assert part in doubts
    assert "P02" in page.locator(".partial").inner_text()
    assert page.locator("#tile-par30.missing .value").inner_text() == "–"
    assert page.locator("#tile-overdue_rate.missing .value").inner_text() == "–"
    assert page.locator("#tile-custody_gap.over .value").inner_text().startswith("12.34")
    assert page.locator("#tile-red_lines.over .value").inner_text() == "6"
    assert "P02" in page.locator("#tile-red_lines .note").inner_text()
    expect(page.locator("#no-scores")).to_contain_text("the model file is not the registered one")
    assert_accessible(tab)
    tab.goto(f"/rows/outstanding?lang={language}")
    assert "P02" in page.locator(".partial").inner_text()
    assert_accessible(tab)
    tab.goto(f"/?lang={language}&platform=P03")
    expect(page.locator("#incomplete")).to_be_visible()
    assert_accessible(tab)


def test_limits_and_changes_are_judged_on_the_platform_alone(visit: Any, staged_web: str) -> None:
    tab = visit(staged_web)
    tab.goto("/?platform=P01")
    page = tab.page
    assert page.locator("#tile-par30").get_attribute("class") == "tile over"
    assert "2.00 %" in page.locator("#tile-par30 .limit-state").inner_text()
    assert page.locator("#tile-custody_gap .changes dd").all_inner_texts() == ["+12.34", "–"]
    assert page.locator("#tile-outstanding .changes dd").all_inner_texts() == ["±0", "–"]
    assert page.locator("#tile-red_lines .value").inner_text() == "6"


def test_more_rows_than_a_page_are_walked_without_loss(visit: Any, staged_web: str) -> None:
    tab = visit(staged_web)
    tab.goto("/rows/open_loans?platform=P01&sort=lender_dpd")
    seen: list[str] = []
    for _ in range(3):
        seen += tab.page.locator(".items-table tbody th").all_inner_texts()
        if tab.page.locator("#next").count():
            with tab.page.expect_response("**/rows/**"):
                tab.page.locator("#next").click()
            expect(tab.page.locator(".items-table tbody th").first).not_to_have_text(seen[-100])
    assert (len(seen), len(set(seen))) == (250, 250)


def test_no_cell_of_an_export_is_a_formula(visit: Any, staged_web: str) -> None:
    rows = list(csv.DictReader(io.StringIO(visit(staged_web).get("/export/open_items.csv").text())))
    assert {row["match_key"] for row in rows} == {"'=1+1", "'@SUM(A1)", "plain", "P01-L-000001"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_the_history_store_the_rest_of_the_page_stands(visit: Any, without_history_web: str, language: str) -> None:
    tab = visit(without_history_web)
    tab.goto(f"/rows/open_loans?lang={language}&platform=P01")
    tab.page.locator(".items-table tbody th a").first.click()
    expect(tab.page.locator("#history-down")).to_be_visible()
    expect(tab.page.locator("#outstanding")).to_be_visible()
    assert_accessible(tab)


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_the_database_a_designed_page_says_so(visit: Any, without_database_web: str, language: str) -> None:
    tab = visit(without_database_web, "")
    tab.page.context.add_cookies([{"name": "fw_session", "value": "anything", "url": without_database_web}])
    assert tab.goto(f"/?lang={language}").status == 503
    assert_accessible(tab)
    tab.wrong[:] = [line for line in tab.wrong if "503" not in line]  # the browser itself reports the status


@pytest.mark.parametrize("language", LANGUAGES)
def test_refusals_are_designed_pages(visit: Any, web: str, language: str) -> None:
    for role, path, status in (
        ("viewer", "/rows/outstanding", 403),
        ("officer", "/loans/P01/none", 404),
        ("officer", "/?age=7", 422),
    ):
        tab = visit(web, role)
        joint = "&" if "?" in path else "?"
        assert tab.goto(f"{path}{joint}lang={language}").status == status
        expect(tab.page.locator("[role='alert']")).to_be_visible()
        assert_accessible(tab)
        tab.wrong[:] = [line for line in tab.wrong if str(status) not in line]


@pytest.mark.parametrize("path", ["/", "/rows/open_loans", "/rows/open_items"])
def test_a_page_reflows_on_a_screen_of_320_pixels(visit: Any, web: str, path: str) -> None:
    tab = visit(web, width=320)
    tab.goto(path)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 320
