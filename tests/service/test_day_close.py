"""Closing a business date: after its checks, once, in order; then nothing takes effect in it, and posting goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput, Failed
from lake.day_close import close_days
from transactional.verify import verify

START = datetime(2026, 8, 31, 2, 0, tzinfo=UTC)  # 10:00 in the bank's zone
DAY, NEXT = "2026-08-31", "2026-09-01"


@pytest.fixture
def bank(api: Any) -> Any:
    """A day with three movements, over since a minute, everything sealed."""
    at(api, START)
    api.recharge("P01-L-000001", 1_000)
    api.recharge("P01-L-000002", 500)
    tender = api.post(api.order("DISBURSE", ("TENDER", "P01-L-000001", "P01-B-000003", 400)))
    assert tender.status_code == 201, tender.text
    at(api, START.replace(hour=15, minute=1))
    seal(api)
    return api


def at(api: Any, moment: datetime) -> None:
    assert api.client.post("/v1/clock", json={"now": moment.isoformat()}).status_code == 200


def seal(api: Any) -> None:
    api.rows("SELECT ledger.seal_pending(10)")


def close(api: Any, day: str = DAY, **more: Any) -> Any:
    headers = api.staff("ann", "officer") | {"Idempotency-Key": f"close-{next(api.numbers)}"}
    return api.client.post(f"/v1/days/{day}/close", headers=headers, content=b"{}", **more)


def back_dated(api: Any, moment: datetime, **more: Any) -> Any:
    movement = ("RECHARGE", "P01-X-CHANNEL-PC01", "P01-L-000001", 70)
    return api.post(api.order("RECHARGE", movement, effective_at=moment.isoformat(), **more))


def test_a_close_keeps_the_days_control_totals_and_balances(bank: Any) -> None:
    answer = close(bank)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["orders"], found["movements"], found["amount_minor"], found["accounts"]) == (3, 3, "1900", 4)
    assert (found["ledger_no_to"], found["closed_by"]) == (3, "ann")
    assert bank.rows("SELECT encode(hash, 'hex') FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1") == [(found["head"],)]
    books = bank.rows(
        """SELECT account_no, opening_minor, debit_minor, credit_minor, closing_minor
           FROM ledger.day_balance JOIN registry.account USING (account_id) ORDER BY 1"""
    )
    assert books == [
        ("P01-B-000003", 0, 0, 400, 400),
        ("P01-L-000001", 0, 400, 1_000, 600),
        ("P01-L-000002", 0, 0, 500, 500),
        ("P01-X-CHANNEL-PC01", 0, 1_500, 0, -1_500),
    ]
    assert verify(bank.admin_url).faults == ()


def test_the_next_days_open_with_what_the_last_one_closed_with(bank: Any) -> None:
    close(bank)
    at(bank, START + timedelta(days=3))
    bank.recharge("P01-L-000002", 20)
    at(bank, START + timedelta(days=4))
    seal(bank)
    for day in (NEXT, "2026-09-02"):  # days without a movement close as well
        empty = close(bank, day).json()
        assert (empty["movements"], empty["accounts"], empty["ledger_no_to"]) == (0, 0, 3)
    assert close(bank, "2026-09-03").json()["ledger_no_to"] == 4
    books = bank.rows("SELECT opening_minor, closing_minor FROM ledger.day_balance WHERE business_date = '2026-09-03' ORDER BY 1")
    assert books == [(-1_500, -1_520), (500, 520)]


def test_closing_again_answers_the_first_close(bank: Any) -> None:
    first = close(bank).json()
    again = close(bank)
    assert (again.status_code, again.json()) == (201, first)
    assert bank.rows("SELECT count(*) FROM audit.change WHERE action = 'DAY_CLOSED'") == [(1,)]


def test_nothing_takes_effect_in_a_closed_day(bank: Any) -> None:
    assert back_dated(bank, START).status_code == 201
    seal(bank)
    close(bank)
    before = bank.content()
    late = back_dated(bank, START)
    assert (late.status_code, late.json()["code"], late.json()["field"]) == (422, "EFFECTIVE_IN_CLOSED_DAY", "effective_at")
    assert bank.content() == before
    # the cut-off itself belongs to the next day
    assert back_dated(bank, START.replace(hour=15, minute=0)).status_code == 201
    assert back_dated(bank, START.replace(hour=14, minute=59, second=59)).status_code == 422
    assert bank.recharge("P01-L-000001", 1)["business_date"] == NEXT


def test_a_late_effect_in_a_bulk_call_is_named_with_its_position(bank: Any) -> None:
    close(bank)
    movement = ("RECHARGE", "P01-X-CHANNEL-PC01", "P01-L-000001", 70)
    orders = [bank.order("RECHARGE", movement), bank.order("RECHARGE", movement, effective_at=START.isoformat())]
    refused = bank.post({"orders": orders}, path="/v1/orders/bulk")
    assert (refused.json()["code"], refused.json()["field"]) == ("EFFECTIVE_IN_CLOSED_DAY", "orders[1].effective_at")


def test_the_owner_of_the_tables_cannot_post_into_a_closed_day_either(bank: Any) -> None:
    close(bank)
    with psycopg.connect(bank.admin_url) as connection:
        connection.execute("CREATE TEMP TABLE late AS SELECT * FROM ledger.trade_order LIMIT 1")
        connection.execute(
            "UPDATE late SET order_id = 999, request_no = 'LATE', effective_at = %s, recorded_at = %s",
            [START, START + timedelta(days=1)],
        )
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("INSERT INTO ledger.trade_order SELECT * FROM late")
    assert refused.value.sqlstate == "FW422"


def test_by_rule_a_late_effect_takes_place_on_the_next_open_day(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    close(bank)
    state = bank.client.app.state
    monkeypatch.setattr(
        state, "service", replace(state.service, settings=replace(state.service.settings, closed_day_rule="next_day"))
    )
    body = bank.order("RECHARGE", ("RECHARGE", "P01-X-CHANNEL-PC01", "P01-L-000001", 70), effective_at=START.isoformat())
    first, again = (bank.post(body, key="late") for _ in range(2))
    assert (first.status_code, again.text, again.headers["Idempotency-Replayed"]) == (201, first.text, "true")
    ((effective_at,),) = bank.rows(f"SELECT effective_at FROM ledger.trade_order WHERE request_no = '{body['request_no']}'")
    assert effective_at == START.replace(hour=15, minute=0)
    bulk = {
        "orders": [bank.order("RECHARGE", ("RECHARGE", "P01-X-CHANNEL-PC01", "P01-L-000002", 1), effective_at=START.isoformat())]
    }
    dry = bank.client.post("/v1/orders/bulk?dry_run=true", json=bulk, headers={"Idempotency-Key": "dry"})
    assert dry.status_code == 200, dry.text
    assert bank.post(bulk, path="/v1/orders/bulk").status_code == 201
    bank.rows("SELECT ledger.seal_pending(10)")
    assert verify(bank.admin_url).faults == ()


def test_a_day_that_is_not_over_stays_open(bank: Any) -> None:
    refused = close(bank, NEXT)
    assert (refused.status_code, refused.json()["code"]) == (409, "DAY_NOT_OVER")
    assert bank.rows("SELECT count(*) FROM ledger.day_close") == [(0,)]


@pytest.mark.parametrize(("first", "second"), [(DAY, "2026-09-02"), (NEXT, None)])
def test_days_are_closed_one_after_the_other(bank: Any, first: str, second: str | None) -> None:
    at(bank, START + timedelta(days=5))
    answers = [close(bank, day) for day in (first, second) if day]
    assert answers[-1].json()["code"] == "DAY_OUT_OF_ORDER"


def test_a_day_with_unsealed_movements_stays_open(api: Any) -> None:
    at(api, START)
    with psycopg.connect(api.admin_url) as connection:  # the sealer waits for this lock
        connection.execute("SELECT pg_advisory_lock(7402)")
        api.recharge("P01-L-000001", 1_000)
        at(api, START + timedelta(days=1))
        refused = close(api)
    assert (refused.status_code, refused.json()["code"]) == (409, "DAY_NOT_SEALED")


def test_a_day_whose_books_do_not_balance_stays_open_and_stops_the_night(bank: Any) -> None:
    with psycopg.connect(bank.admin_url) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER entry_is_posted")
        connection.execute(
            "UPDATE ledger.entry SET amount_minor = amount_minor + 1 WHERE (account_id, account_version) IN "
            "(SELECT account_id, account_version FROM ledger.entry ORDER BY movement_id LIMIT 1)"
        )
    refused = close(bank)
    assert (refused.status_code, refused.json()["code"]) == (409, "DAY_DOES_NOT_BALANCE")
    assert bank.rows("SELECT (SELECT count(*) FROM ledger.day_close) + (SELECT count(*) FROM ledger.day_balance)") == [(0,)]


def test_every_open_day_is_closed_by_one_command_and_a_bad_one_stops_it(bank: Any, database: Any) -> None:
    at(bank, START + timedelta(days=4))
    with psycopg.connect(database.url("jobs"), autocommit=True) as connection:
        last = (START + timedelta(days=2)).date()
        closed = close_days(connection, database.settings, last, "nightly")
        assert [str(day) for day in closed] == [DAY, NEXT, "2026-09-02"]
        assert close_days(connection, database.settings, last, "nightly") == []
        with pytest.raises(BadInput):
            close_days(connection, database.settings, last + timedelta(days=9), "nightly")
    assert bank.rows("SELECT max(business_date)::text FROM ledger.day_close") == [("2026-09-03",)]
    assert Failed.exit_code == 5


def test_only_some_roles_close_a_day(bank: Any) -> None:
    headers = bank.staff("vic", "viewer") | {"Idempotency-Key": "k"}
    assert bank.client.post(f"/v1/days/{DAY}/close", headers=headers, content=b"{}").json()["code"] == "NOT_PERMITTED"
    assert bank.client.get("/v1/days", headers=bank.staff("vic", "viewer")).status_code == 403
    listed = bank.client.get("/v1/days", headers=bank.staff("aud", "auditor")).json()
    assert listed == {"days": [], "next_open_day": DAY}
    assert bank.client.get(f"/v1/days/{DAY}", headers=bank.staff("aud", "auditor")).json()["code"] == "DAY_NOT_CLOSED"


def test_a_dry_run_closes_nothing(bank: Any) -> None:
    dry = close(bank, params={"dry_run": "true"})
    assert (dry.status_code, dry.json()["movements"]) == (200, 3)
    assert bank.rows("SELECT count(*) FROM ledger.day_close") == [(0,)]
    assert back_dated(bank, START).status_code == 201


def test_a_closed_day_is_never_changed(bank: Any) -> None:
    close(bank)
    for table in ("ledger.day_close", "ledger.day_balance"):
        with psycopg.connect(bank.admin_url) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute(f"DELETE FROM {table}".encode())
        assert refused.value.sqlstate == "FW403"
