"""A customer's month: accounts, claims, what they earned."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg

from transactional.keys import add_key

LENDER, ACCOUNT = "P01-C000001", "P01-L-000001"


def _month(market: Any, month: str, **more: Any) -> Any:
    return market.api.client.get(f"/v1/customers/P01/{LENDER}/statement", params={"month": month, **more})


def _read(market: Any, month: str, **more: Any) -> dict[str, Any]:
    answer = _month(market, month, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _account(statement: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in statement["accounts"] if row["account_no"] == ACCOUNT)


def _lent_and_repaid(market: Any) -> None:
    market.at("2026-01-15")
    market.lend()
    market.at("2026-02-15")
    market.repay("L-1", 34_000)
    market.at("2026-03-02")


def test_opening_in_out_and_closing_of_a_month_follow_from_its_movements_to_the_cent(market: Any) -> None:
    _lent_and_repaid(market)
    january, february = _read(market, "2026-01"), _read(market, "2026-02")
    opened, went_on = _account(january), _account(february)
    assert (opened["opening_minor"], opened["in_minor"], opened["out_minor"], opened["closing_minor"]) == (0, 60_000, 60_000, 0)
    assert went_on["opening_minor"] == opened["closing_minor"]
    received = {row["movement_type"]: row["in_minor"] for row in went_on["movements"]}
    assert went_on["closing_minor"] == went_on["in_minor"] == received["PRINCIPAL"] + received["INTEREST"] > 0
    assert _account(_read(market, "2026-03"))["opening_minor"] == went_on["closing_minor"]


def test_claims_and_yield_count_every_day_of_outstanding_principal(market: Any) -> None:
    _lent_and_repaid(market)
    january, february = _read(market, "2026-01"), _read(market, "2026-02")
    (claim,) = january["claims"]
    assert (claim["opening_minor"], claim["closing_minor"]) == (0, 60_000)
    assert claim["principal_days_minor"] == 60_000 * 17  # from the 15th to the 31st
    (earned,) = february["earned"]
    principal = next(row for row in _account(february)["movements"] if row["movement_type"] == "PRINCIPAL")["in_minor"]
    (left,) = february["claims"]
    assert (left["opening_minor"], left["closing_minor"]) == (60_000, 60_000 - principal)
    assert left["principal_days_minor"] == 60_000 * 14 + (60_000 - principal) * 14  # repaid on the 15th of 28
    expected = earned["interest_minor"] * 365 / left["principal_days_minor"]
    assert earned["interest_minor"] > 0
    assert abs(float(earned["yield_received"]) - expected) <= 0.000001


def test_a_month_is_final_once_its_last_day_is_closed_and_one_under_way_ends_today(market: Any) -> None:
    _lent_and_repaid(market)
    under_way = _read(market, "2026-03")
    assert (under_way["to"], under_way["is_final"]) == ("2026-03-02", False)
    assert _read(market, "2026-02")["to"] == "2026-02-28"
    assert _month(market, "2026-04").json()["code"] == "PERIOD_INVALID"
    market.api.rows("SELECT ledger.seal_pending(10)")
    with psycopg.connect(market.api.admin_url) as connection:
        (first,) = connection.execute("SELECT min(business_date) FROM ledger.trade_order").fetchone() or (None,)
        for day in range((date(2026, 2, 28) - first).days + 1):
            connection.execute("SELECT ledger.close_day(%s, 'Asia/Shanghai', '23:00', 'test')", (first + timedelta(day),))
    assert (_read(market, "2026-02")["is_final"], _read(market, "2026-03")["is_final"]) == (True, False)


def test_pages_of_claims_leave_out_none_and_every_page_has_the_sums_of_all(market: Any) -> None:
    market.at("2026-01-15")
    for number in range(3):
        market.lend(f"L-{number}", {ACCOUNT: 10_000 + number})
    seen, cursor = [], None
    while True:
        page = _read(market, "2026-01", limit=1, **({"cursor": cursor} if cursor else {}))
        seen += [claim["principal_minor"] for claim in page["claims"]]
        assert page["earned"][0]["principal_closing_minor"] == 30_003
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == [10_000, 10_001, 10_002]


def test_a_customer_of_another_platform_or_none_looks_like_none(market: Any) -> None:
    foreign = {"Authorization": f"Bearer {add_key(market.api.admin_url, 'P02')}"}
    for path in (f"P01/{LENDER}", "P02/NONE", "P01/%00"):
        answer = market.api.client.get(f"/v1/customers/{path}/statement?month=2026-01", headers=foreign)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    for month in ("2026-13", "26-01", "1969-12", "0000-01"):
        assert _month(market, month).json()["code"] in ("PARAMETER_INVALID", "PERIOD_INVALID")
