"""Unidentified receipts by age and the parts of term N in the daily reconciliation report (spec 07 sections 7.7, 7.9)."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg
import pytest

from domain.calendars import Calendar
from reports import reconciliation
from tests.service.adjusting import Desk

DAY, BEFORE = "2026-10-12", "2026-10-09"
VALUE_ON = "2026-09-30"
LENDER, SUSPENSE, SPECIAL = "P01-L-000001", "P01-X-SUSPENSE", "P01-X-SPECIAL"


def receipt(api: Any, number: str, amount: int, value_on: str) -> None:
    body = {"platform_id": "P01", "receipt_no": number, "bank_reference": f"REF-{number}", "currency": "CNY"}
    answer = api.post({**body, "amount_minor": amount, "value_on": value_on, "payer_masked": "W***"}, path="/v1/receipts")
    assert answer.status_code == 201, answer.text


def claim(api: Any, amount: int) -> None:
    payload = {"account_no": LENDER, "amount_minor": amount, "evidence_hash": "ab" * 32}
    api.approved("RECEIPT_CLAIM", "R-1", payload, platform_id="P01")


def moved(api: Any, order_type: str, *movements: tuple[str, str, str, int]) -> None:
    answer = api.post(api.order(order_type, *movements))
    assert answer.status_code == 201, answer.text


def on_the_statement(api: Any, number: str, match_key: str, effect: int) -> None:
    """An entry of the statement, three working days old, that book B has not."""
    with psycopg.connect(api.admin_url) as connection:
        connection.execute(
            """INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, recon_id, code, opened_code, severity,
                 match_key, currency, amount_minor, opened_on, age_working_days, explanation)
               VALUES (%s, 1, 'P01', %s, 'R5', 'B27', 'B27', 'HIGH', %s, 'CNY', %s, %s, 3, 'because')""",
            [DAY, number, match_key, abs(effect), DAY],
        )
        connection.execute(
            "INSERT INTO mart.open_item_effect VALUES (%s, 1, 'P01', %s, 'R5', 'B27', 'S', 'SPECIAL_ACCOUNT', 'CNY', %s)",
            [DAY, number, effect],
        )


def published(desk: Desk, run_id: int, day: str, layout: int = 2) -> None:
    """Publish a date by a run over all that is sealed, with the calendar that it read."""
    desk.publish(run_id, day)
    with psycopg.connect(desk.api.admin_url) as connection:
        connection.execute(
            "UPDATE run.run SET ledger_no_to = (SELECT max(ledger_no) FROM ledger.seal), report_layout = %s WHERE run_id = %s",
            [layout, run_id],
        )
        connection.execute("INSERT INTO run.calendar VALUES (%s, 'CN', 1, 'x', %s)", [run_id, "0" * 64])


def report(desk: Desk, day: str = DAY) -> dict[str, Any]:
    answer = desk.api.client.get(f"/v1/reconciliations/P01/{day}", headers=desk.person("olga", "officer"))
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def desk(api: Any) -> Desk:
    """On one date a receipt, interest, charges and tax; on the next another receipt, a claim, most of the charges borne."""
    desk = Desk(api)
    desk.clock(f"{BEFORE}T02:00:00Z")
    receipt(api, "R-1", 900, VALUE_ON)
    moved(api, "INTEREST_CREDITED", ("BANK_INTEREST", SPECIAL, SUSPENSE, 500))
    moved(api, "BANK_CHARGE", ("BANK_CHARGE", SUSPENSE, SPECIAL, 20), ("BANK_TAX", SUSPENSE, SPECIAL, 5))
    desk.clock(f"{DAY}T02:00:00Z")
    receipt(api, "R-2", 50, DAY)
    claim(api, 300)
    own_funds = "P01-X-OWNFUNDS"
    moved(api, "BANK_CHARGE", ("OWN_FUNDS_IN", SPECIAL, own_funds, 22), ("CHARGE_PASSED_ON", own_funds, SUSPENSE, 22))
    api.rows("SELECT ledger.seal_pending(100)")
    published(desk, 1, DAY)
    on_the_statement(api, "e5" * 16, "@entry-2026-10-12-3", 700)
    # money that left without a reference is no receipt, and the entry of a receipt on file is that receipt
    on_the_statement(api, "e6" * 16, "@entry-2026-10-12-4", -70)
    on_the_statement(api, "e7" * 16, "REF-R-1", 900)
    return desk


def test_receipts_without_an_owner_are_listed_by_place_and_age_in_working_days(desk: Desk) -> None:
    age = Calendar.of("CN").working_days_between(date.fromisoformat(VALUE_ON), date.fromisoformat(DAY))
    assert 1 < age < 8
    lines = report(desk)["report"]["unidentified_receipts"]
    assert [(one["place"], one["age_bucket"], one["receipts"], one["amount_minor"]) for one in lines] == [
        ("STATEMENT", "2-3", 1, 700),
        ("SUSPENSE", "0", 1, 50),
        ("SUSPENSE", "2-3" if age < 4 else "4-7", 1, 600),
    ]


def test_the_parts_of_what_suspense_holds_add_up_to_its_balance(desk: Desk) -> None:
    names = ("part", "day_minor", "came_minor", "left_minor", "open_minor")
    parts = [tuple(one[name] for name in names) for one in report(desk)["report"]["special_account"]]
    assert parts == [
        ("RECEIPTS", 50, 950, -300, 650),
        ("INTEREST", 0, 500, 0, 500),
        ("CHARGES", 0, -20, 20, 0),
        ("TAX", 0, -5, 2, -3),
        ("OTHER", 0, 0, 0, 0),
    ]
    assert sum(part[-1] for part in parts) == desk.api.balance(SUSPENSE)["balance_minor"]


def test_a_report_says_what_its_run_knew_and_runs_of_before_keep_their_document(desk: Desk) -> None:
    then = report(desk)
    claim(desk.api, 600)
    desk.api.rows("SELECT ledger.seal_pending(100)")
    assert report(desk) == then
    published(desk, 2, BEFORE)
    before = report(desk, BEFORE)["report"]
    assert [(one["part"], one["open_minor"]) for one in before["special_account"]][:2] == [("RECEIPTS", 900), ("INTEREST", 500)]
    assert [one["amount_minor"] for one in before["unidentified_receipts"]] == [900]
    published(desk, 3, "2026-10-11", layout=1)
    assert not {"special_account", "unidentified_receipts"} & report(desk, "2026-10-11")["report"].keys()


def test_the_pages_show_both_lists_in_both_languages(desk: Desk) -> None:
    found = reconciliation.read(desk.api.client.app.state.service.settings, "P01", date.fromisoformat(DAY))
    page = reconciliation.page(found, "en")
    assert "5. Unidentified receipts" in page and "on the statement only" in page
    assert '<td class="number">-0.03</td>' in page and "6.50" in page and "11.47" in page
    assert "5. 不明入账" in reconciliation.page(found, "zh")
