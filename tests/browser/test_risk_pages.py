"""The risk pages in real Chromium: every figure leads to rows that add up to it, equals the report's, and can be taken along."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Page, expect

from dashboard.figures import DENOMINATORS
from dashboard.formats import shown
from dashboard.tiles import share

TILES = ("custody_gap", "outstanding", "par30", "par90", "overdue_rate", "top10", "old_breaks", "red_lines")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def tiles(page: Page) -> dict[str, dict[str, Any]]:
    """What the tiles of an overview show: their data, their text, their link to the rows."""
    found = page.locator(".tile").evaluate_all(
        """tiles => tiles.map(tile => ({...tile.dataset, shown: tile.querySelector('.value').innerText.trim(),
             rows: tile.querySelector('.rows-link')?.getAttribute('href'),
             facts: [...tile.querySelectorAll('.fact')].map(fact => ({...fact.dataset, text: fact.innerText}))}))"""
    )
    return {tile["figure"]: tile for tile in found}


def number(text: str | None) -> Decimal | None:
    """A number of a data attribute; None when it is empty."""
    return Decimal(text) if text else None


def sum_line(page: Page) -> tuple[int, int]:
    """Count and sum of the rows that a rows page states."""
    data = page.locator("#rows-sum").evaluate("line => line.dataset")
    return int(data["count"]), int(data["sum"])


def rows_behind(tab: Any, address: str) -> tuple[int, int, int]:
    """Count and sum that the rows page of an address states, and the rows it shows; fetched without drawing it."""
    answer = tab.get(address)
    assert answer.status == 200, address
    stated = re.search(r'id="rows-sum" data-count="(\d+)" data-sum="(-?\d+)"', answer.text())
    assert stated, address
    return int(stated[1]), int(stated[2]), answer.text().partition("<tbody>")[2].count("<tr>")


@pytest.mark.parametrize("platform", ["", "P01"])
def test_every_tile_leads_to_rows_that_add_up_to_it(visit: Any, web: str, platform: str) -> None:
    tab = visit(web)
    tab.goto(f"/?platform={platform}")
    expect(tab.page.locator("html[data-ready='1']")).to_be_attached()
    found = tiles(tab.page)
    assert tuple(found) == TILES
    for code, tile in found.items():
        count, total, _ = rows_behind(tab, tile["rows"])
        if tile["unit"] == "COUNT":
            assert count == int(tile["value"]), code
        else:
            assert total == int(tile["numerator"]), code
        if tile["unit"] == "RATIO":
            assert number(tile["value"]) == share(total, int(tile["denominator"])), code
        if code in DENOMINATORS:
            address = tile["rows"].replace(f"/rows/{code}", f"/rows/{DENOMINATORS[code]}")
            assert rows_behind(tab, address)[1] == int(tile["denominator"]), code


def test_the_numbers_of_matrix_and_charts_lead_to_their_rows(visit: Any, web: str) -> None:
    tab = visit(web)
    tab.goto("/")
    cells = tab.page.locator("a.figure").evaluate_all(
        """cells => cells.map(cell => [cell.getAttribute('href'), cell.querySelector('.items').innerText,
             cell.querySelector('.amount').innerText])"""
    )
    tab.page.locator(".twin summary").first.click()
    buckets = tab.page.locator("#buckets tbody tr").evaluate_all(
        "rows => rows.map(row => [row.querySelector('a')?.getAttribute('href'), ...[...row.cells].map(cell => cell.innerText)])"
    )
    assert len(cells) > 4
    assert len(buckets) == 8
    for href, items, amount in cells:
        count, total, rows = rows_behind(tab, href)
        assert (count, rows) == (int(items), min(count, 100)), href
        assert amount in (shown(total, "MINOR", "CNY"), ""), href
    for href, _, count_text, outstanding, _ in buckets:
        if href is None:
            assert count_text == "0"
            continue
        count, total, _ = rows_behind(tab, href)
        assert (str(count), shown(total, "MINOR", "CNY")) == (count_text, outstanding)


def test_every_figure_shown_is_the_figure_of_the_report(visit: Any, web: str, night: Any) -> None:
    built = night.command("report", "build", "--pack", "CN_2017", "--platform", "P01", "--period", "2026-08")
    report = json.loads((Path(built["folder"]) / "figures.json").read_text(encoding="utf-8"))
    figures = {figure["id"]: figure for figure in report["figures"]}
    tab = visit(web)
    tab.goto("/?platform=P01")
    found = tiles(tab.page)
    compared = 0
    for tile in found.values():
        ids = tile["ids"].split()
        if len(ids) == 1:
            figure = figures[ids[0]]
            assert number(tile["value"]) == number(figure["value"]), ids
            assert number(tile["numerator"]) == figure["numerator"], ids
            assert tile["shown"].split()[0] == shown(number(figure["value"]), tile["unit"], figure["currency"]), ids
            compared += 1
        for fact in tile["facts"]:
            if fact["id"]:
                figure = figures[fact["id"]]
                assert number(fact["value"]) == number(figure["value"]), fact
                assert shown(number(figure["value"]), figure["unit"], figure["currency"]) in fact["text"], fact
                compared += 1
    above, below = (figures[id_]["value"] for id_ in found["par90"]["ids"].split())
    assert number(found["par90"]["value"]) == share(int(above), int(below))
    assert compared == 7


def test_from_a_tile_to_a_loan_and_its_accounts_movements_each_look_is_logged(visit: Any, web: str, home: Any) -> None:
    tab = visit(web)
    page = tab.page
    tab.goto("/?platform=P01")
    page.locator("#tile-outstanding .rows-link").click()
    loan = page.locator(".items-table tbody th a").first
    loan_no = loan.inner_text()
    outstanding = page.locator(".items-table tbody tr").first.locator("td.number").nth(1 + 2).inner_text()
    loan.click()
    expect(page.locator("h1")).to_contain_text(loan_no)
    assert outstanding in page.locator("#outstanding").inner_text()
    days = page.locator(".timeline-table tbody tr")
    expect(days.first).to_contain_text("2026-08-31")
    assert outstanding in days.first.inner_text()
    page.locator("#items-title ~ .caption a").first.click()
    account = page.locator(".crumbs [aria-current]").inner_text()
    expect(page.locator(".timeline-table tbody tr").first).to_be_visible()
    with psycopg.connect(home.database_url("migrator")) as connection:
        seen = connection.execute("SELECT kind, subject FROM auth.access_log ORDER BY access_id DESC LIMIT 2").fetchall()
    assert seen == [("ACCOUNT_SEEN", account), ("LOAN_SEEN", f"P01/{loan_no}")]


def test_the_drill_down_works_with_the_keyboard_alone(visit: Any, web: str) -> None:
    tab = visit(web)
    page = tab.page
    tab.goto("/")

    def tab_to(selector: str) -> None:
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        raise AssertionError(f"no Tab reaches {selector}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    tab_to("#tile-outstanding .rows-link")
    page.keyboard.press("Enter")
    expect(page.locator("#rows-sum")).to_be_visible()
    tab_to(".items-table tbody th a")
    page.keyboard.press("Enter")
    expect(page.locator("#outstanding")).to_be_visible()
    tab_to(".crumbs a")
    page.keyboard.press("Enter")
    expect(page.locator("#tile-outstanding")).to_be_visible()


def test_the_language_switch_keeps_every_filter(visit: Any, web: str) -> None:
    tab = visit(web)
    tab.goto("/rows/open_loans?lang=en&platform=P02&currency=CNY&bucket=M0&sort=loan")
    count = sum_line(tab.page)
    tab.page.get_by_role("link", name="中文").click()
    expect(tab.page.locator("html")).to_have_attribute("lang", "zh")
    for part in ("platform=P02", "currency=CNY", "bucket=M0", "sort=loan"):
        assert part in tab.page.url
    assert tab.page.locator("#platform").input_value() == "P02"
    assert sum_line(tab.page) == count
    assert "未逾期" in tab.page.locator(".chips").inner_text()


def test_sorting_swaps_the_table_only_and_the_address_says_so(visit: Any, web: str) -> None:
    tab = visit(web)
    tab.goto("/rows/open_loans?platform=P01")
    tab.page.evaluate("document.querySelector('h1').dataset.kept = 'yes'")
    tab.page.locator("thead a").first.click()
    expect(tab.page.locator("th[aria-sort='ascending']")).to_be_visible()
    assert "sort=loan" in tab.page.url
    assert tab.page.locator("h1").get_attribute("data-kept") == "yes"
    numbers = tab.page.locator(".items-table tbody th").all_inner_texts()
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("table", ["outstanding", "open_items", "custody_gap", "red_lines", "headlines", "open_items_by_age"])
def test_an_export_holds_every_row_of_its_table(visit: Any, web: str, home: Any, table: str) -> None:
    tab = visit(web)
    answer = tab.get(f"/export/{table}.csv?bom=1")
    text = answer.body().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert answer.body()[:3] == b"\xef\xbb\xbf"
    assert int(answer.headers["x-row-count"]) == len(rows)
    if table not in ("headlines", "open_items_by_age"):
        tab.goto(f"/rows/{table}")
        count, total = sum_line(tab.page)
        assert len(rows) == count
        assert sum((Decimal(row["amount"]) for row in rows), Decimal(0)).scaleb(2) == total
    with psycopg.connect(home.database_url("migrator")) as connection:
        logged = connection.execute(
            "SELECT subject, row_count FROM auth.access_log WHERE kind = 'EXPORT' ORDER BY access_id DESC LIMIT 1"
        ).fetchone()
    assert logged == (table, len(rows))


def test_a_timeline_is_exported_in_full(visit: Any, web: str) -> None:
    tab = visit(web)
    tab.goto("/rows/open_loans?platform=P01")
    loan_no = tab.page.locator(".items-table tbody th a").first.inner_text()
    tab.goto(f"/loans/P01/{loan_no}")
    days = tab.page.locator(".timeline-table tbody tr").count()
    answer = tab.get(f"/export/loans/P01/{loan_no}.csv")
    assert len(list(csv.reader(io.StringIO(answer.text())))) == days + 1 == int(answer.headers["x-row-count"]) + 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/loans/P01/P99-LN-000001", 404),
        ("/loans/P99/P01-LN-000001", 404),
        ("/loans/P01/%3Cscript%3E", 404),
        ("/accounts/P99-L-000001", 404),
        ("/rows/no_such_figure", 404),
        ("/?platform=P99", 404),
        ("/export/pg_roles.csv", 404),
        ("/export/loans/P01/nothing.csv", 404),
        ("/?lang=fr", 422),
        ("/?currency=EUR", 422),
        ("/rows/open_items?age=17", 422),
        ("/rows/open_loans?bucket=M9", 422),
        ("/rows/open_loans?sort=age", 422),
        ("/rows/open_loans?after=e30", 422),
        ("/rows/top10", 422),
        ("/accounts/P01-L-000001?after=zz", 422),
    ],
)
def test_foreign_ids_and_unknown_filters_are_refused(visit: Any, web: str, path: str, status: int) -> None:
    assert visit(web).get(path).status == status


def test_a_session_that_ended_leads_to_the_login_and_back(visit: Any, web: str, home: Any) -> None:
    tab = visit(web, "checker")
    tab.goto("/rows/open_loans?platform=P01")
    with psycopg.connect(home.database_url("migrator")) as connection:
        connection.execute(
            """UPDATE auth.session SET ended_at = now(), end_reason = 'LOGOUT' WHERE ended_at IS NULL AND person_id =
               (SELECT person_id FROM auth.person WHERE login_name = 'test-checker')"""
        )
    tab.page.locator("thead a").first.click()
    tab.page.wait_for_url("**/login**")
    assert "next=%2Frows%2Fopen_loans" in tab.page.url
    expect(tab.page.locator("[role='status']")).to_be_visible()
    tab.wrong[:] = [line for line in tab.wrong if "401" not in line]  # the browser itself reports the refused fragment


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "/", 200),
        ("viewer", "/rows/outstanding", 403),
        ("viewer", "/export/outstanding.csv", 403),
        ("viewer", "/accounts/P01-L-000001", 403),
        ("admin", "/", 403),
        ("admin", "/rows/outstanding", 403),
        ("auditor", "/rows/outstanding", 200),
        ("checker", "/accounts/P01-L-000001", 200),
    ],
)
def test_a_role_sees_what_it_may(visit: Any, web: str, home: Any, signed_in: Any, role: str, path: str, status: int) -> None:
    tab = visit(web, role if role != "checker" else "officer")
    assert tab.get(path).status == status
    if role == "viewer" and path == "/":
        tab.goto("/")
        assert tab.page.locator(".rows-link, a.figure, .csv").count() == 0
        assert tab.page.locator(".tile .value").count() == len(TILES)


def test_the_overview_keeps_its_budget(visit: Any, web: str) -> None:
    tab = visit(web)
    sizes: list[int] = []
    tab.page.on(
        "requestfinished",
        lambda request: sizes.append(sum(request.sizes()[k] for k in ("responseBodySize", "responseHeadersSize"))),
    )
    tab.goto("/")
    expect(tab.page.locator("html[data-ready='1']")).to_be_attached()
    tab.page.wait_for_load_state("networkidle")
    assert len(sizes) <= 12
    assert sum(sizes) <= 350_000
    assert "unsafe" not in tab.get("/").headers["content-security-policy"]
