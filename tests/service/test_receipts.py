"""The bank's own side of the special account: receipts claimed or returned, interest passed on, charges borne."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import asyncpg
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.calendars import Calendar
from transactional.keys import add_key
from transactional.settling import settle_returns
from transactional.verify import verify

LENDER, SUSPENSE, SPECIAL, PAYABLE = "P01-L-000001", "P01-X-SUSPENSE", "P01-X-SPECIAL", "P01-X-WITHDRAWAL"
PROOF = "ab" * 32


@pytest.fixture
def bank(api: Any) -> Any:
    assert api.client.post("/v1/clock", json={"now": "2026-08-31T02:00:00Z"}).status_code == 200
    return api


def record(bank: Any, number: str = "R-1", **more: Any) -> Any:
    body = {"platform_id": "P01", "receipt_no": number, "bank_reference": f"REF-{number}", "currency": "CNY", "amount_minor": 900}
    return bank.post({**body, "value_on": "2026-08-29", "payer_masked": "W***", **more}, path="/v1/receipts")


def state(bank: Any, number: str = "R-1") -> dict[str, Any]:
    rows = bank.client.get("/v1/receipts", params={"platform_id": "P01", "receipt_no": number}).json()["rows"]
    assert len(rows) == 1
    found: dict[str, Any] = rows[0]
    return found


def claim(bank: Any, amount: int, number: str = "R-1", **more: Any) -> Any:
    payload = {"account_no": LENDER, "amount_minor": amount, "evidence_hash": PROOF, **more}
    return bank.approved("RECEIPT_CLAIM", number, payload, platform_id="P01")


def sound(bank: Any) -> None:
    bank.rows("SELECT ledger.seal_pending(10)")
    bank.rows("SELECT audit.seal_pending(1000)")
    assert verify(bank.admin_url).faults == ()


def put_down(bank: Any, kind: str, subject: str, payload: dict[str, Any]) -> str:
    answer = bank.put_down(kind, subject, payload, by=bank.staff("ann", "officer"), platform_id="P01")
    return str(answer.json().get("code", "taken"))


def test_a_receipt_waits_in_suspense_until_two_people_find_whose_it_is(bank: Any) -> None:
    assert record(bank).status_code == 201
    assert (state(bank)["state"], state(bank)["open_minor"], state(bank)["age_days"]) == ("OPEN", 900, 2)
    assert bank.balance(SUSPENSE)["balance_minor"] == 900
    claim(bank, 300)
    assert (state(bank)["state"], bank.balance(LENDER)["balance_minor"]) == ("PARTLY_CLAIMED", 300)
    claim(bank, 600)
    assert (state(bank)["state"], bank.balance(SUSPENSE)["balance_minor"]) == ("CLAIMED", 0)
    assert (
        put_down(bank, "RECEIPT_CLAIM", "R-1", {"account_no": LENDER, "amount_minor": 1, "evidence_hash": PROOF})
        == "AMOUNT_EXCEEDS"
    )
    assert put_down(bank, "RECEIPT_RETURN", "R-1", {}) == "STATE_CONFLICT"
    sound(bank)


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_working_days_of_the_database_are_those_of_the_calendar(bank: Any, data: Any) -> None:
    calendar = Calendar.of("CN")
    after = data.draw(st.dates(calendar.first, calendar.last))
    until = data.draw(st.dates(after, min(calendar.last, after + timedelta(days=60))))
    assert bank.rows(f"SELECT registry.working_days_after('CN', '{after}', '{until}')") == [
        (calendar.working_days_between(after, until),)
    ]


def test_the_age_of_a_receipt_counts_working_days_of_the_calendar_in_force(bank: Any) -> None:
    record(bank, value_on="2026-08-28")  # a Friday; now is Monday
    assert (state(bank)["age_days"], state(bank)["age_working_days"]) == (3, 1)
    assert bank.client.post("/v1/clock", json={"now": "2026-10-08T02:00:00Z"}).status_code == 200
    # two Sundays worked, the Friday of the mid-autumn festival and five days of October off
    assert (state(bank)["age_days"], state(bank)["age_working_days"]) == (41, 24)
    changed = {"base_version": 1, "source": "a storm", "days": {"2026-10-12": "HOLIDAY"}, "last_day": "2027-01-31"}
    bank.approved("CALENDAR_CHANGE", "CN", changed)
    assert bank.client.post("/v1/clock", json={"now": "2026-10-13T02:00:00Z"}).status_code == 200
    assert state(bank)["age_working_days"] == 24 + 3  # Friday, the Saturday worked, Tuesday; Monday is off
    assert bank.client.post("/v1/clock", json={"now": "2027-02-01T02:00:00Z"}).status_code == 200
    assert (state(bank)["age_days"], state(bank)["age_working_days"]) == (157, None)
    claim(bank, 900)
    assert (state(bank)["age_days"], state(bank)["age_working_days"]) == (0, 0)


def test_an_entry_of_the_statement_is_recorded_once_and_masked(bank: Any) -> None:
    assert record(bank).status_code == 201
    before = bank.content()
    assert record(bank, "R-2", bank_reference="REF-R-1").json()["code"] == "NUMBER_TAKEN"
    assert record(bank, "R-1", bank_reference="REF-9").json()["code"] == "NUMBER_TAKEN"
    assert record(bank, "R-3", payer_masked="13812345678").json()["code"] == "BODY_INVALID"
    assert record(bank, "R-3", value_on="2026-09-02").json()["code"] == "BODY_INVALID"
    assert record(bank, "R-3", amount_minor=1.0).json()["code"] == "BODY_INVALID"
    assert bank.content() == before
    foreign = {"Authorization": f"Bearer {add_key(bank.admin_url, 'P02')}"}
    assert bank.client.get("/v1/receipts", headers=foreign).json()["rows"] == []
    assert bank.client.get("/v1/receipts", params={"platform_id": "P01"}, headers=foreign).status_code == 404


def test_a_claim_decided_by_many_at_once_is_paid_once(bank: Any) -> None:
    record(bank)
    payload = {"account_no": LENDER, "amount_minor": 500, "evidence_hash": PROOF}
    ann = bank.staff("ann", "officer")
    first, second = (
        bank.put_down("RECEIPT_CLAIM", "R-1", {**payload, "account_no": one}, by=ann, platform_id="P01")
        for one in (LENDER, "P01-L-000002")
    )
    assert (first.status_code, second.status_code) == (201, 409)  # a second proposal for a receipt waits for the first
    checker = bank.staff("ben", "checker")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: bank.decide(first.json(), by=checker), range(4)))
    assert sum(answer.status_code == 201 for answer in answers) == 1
    assert state(bank)["open_minor"] == 400
    sound(bank)


def answered(bank: Any, word: str) -> None:
    """Core banking's word about the return."""
    with psycopg.connect(bank.admin_url) as connection:
        connection.execute(
            """INSERT INTO outside.payment_instruction
               SELECT 'PI-' || m.movement_id, 'REFUND', t.platform_id, t.order_id, m.movement_id, a.account_no, t.order_type,
                      m.currency, m.amount_minor, ledger.clock_now()
               FROM ledger.movement m JOIN ledger.trade_order t USING (order_id)
               JOIN registry.account a ON a.account_id = m.debit_account_id
               WHERE m.movement_type = 'RECEIPT_RETURNED' AND t.reverses_order_id IS NULL ON CONFLICT DO NOTHING"""
        )
        connection.execute(
            """INSERT INTO outside.payment_state SELECT instruction_no, 1, 'CREATED', NULL, NULL, 'test', recorded_at
               FROM outside.payment_instruction ON CONFLICT DO NOTHING"""
        )
        for step in ("SENT", word):
            connection.execute(
                """SELECT outside.payment_step(instruction_no, %s, 'as told', NULL, 'test') FROM outside.payment_current
                   WHERE state NOT IN ('PAID', 'FAILED')""",
                [step],
            )

    async def settle() -> tuple[int, int]:
        async with asyncpg.create_pool(bank.service_url, min_size=1, max_size=2) as pool:
            return await settle_returns(pool), await settle_returns(pool)

    first, again = asyncio.run(settle())
    assert (first <= 1, again) == (True, 0)


def test_a_return_that_is_paid_empties_suspense_and_the_special_account(bank: Any) -> None:
    record(bank)
    claim(bank, 200)
    bank.approved("RECEIPT_RETURN", "R-1", {}, platform_id="P01")
    assert (state(bank)["state"], bank.balance(PAYABLE)["balance_minor"]) == ("RETURNING", 700)
    answered(bank, "PAID")
    assert state(bank)["state"] == "RETURNED"
    assert [bank.balance(account)["balance_minor"] for account in (SUSPENSE, PAYABLE, SPECIAL)] == [0, 0, -200]
    sound(bank)


def test_a_return_that_fails_is_open_again(bank: Any) -> None:
    record(bank)
    bank.approved("RECEIPT_RETURN", "R-1", {}, platform_id="P01")
    answered(bank, "FAILED")
    assert (state(bank)["state"], state(bank)["open_minor"], bank.balance(SUSPENSE)["balance_minor"]) == ("OPEN", 900, 900)
    bank.approved("RECEIPT_RETURN", "R-1", {}, platform_id="P01")
    answered(bank, "PAID")
    assert state(bank)["state"] == "RETURNED"
    sound(bank)


def test_interest_of_the_bank_is_passed_on_whole_and_once(bank: Any) -> None:
    account = {"account_no": "P01-F-INTEREST", "platform_id": "P01", "account_role": "PLATFORM_INTEREST", "currency": "CNY"}
    assert bank.client.post("/v1/registry", json={"sub_accounts": [account]}).status_code == 200
    shares = [{"account_no": LENDER, "amount_minor": 41}, {"account_no": "P01-F-INTEREST", "amount_minor": 60}]
    payload = {"currency": "CNY", "amount_minor": 101, "booked_on": "2026-08-31", "shares": shares}
    assert put_down(bank, "INTEREST_CREDITED", "INT-08", {**payload, "amount_minor": 100}) == "AMOUNT_DIFFERS"
    assert put_down(bank, "INTEREST_CREDITED", "INT-08", {**payload, "shares": []}) == "BODY_INVALID"
    assert put_down(bank, "INTEREST_CREDITED", "INT-08", {**payload, "currency": "USD"}) == "CURRENCY_MISMATCH"
    bank.approved("INTEREST_CREDITED", "INT-08", payload, platform_id="P01")
    assert [bank.balance(one)["balance_minor"] for one in (LENDER, "P01-F-INTEREST", SUSPENSE, SPECIAL)] == [41, 60, 0, -101]
    assert put_down(bank, "INTEREST_CREDITED", "INT-08", payload) == "NUMBER_TAKEN"
    assert record(bank, bank_reference="INT-08").json()["code"] == "NUMBER_TAKEN"
    items = bank.client.get("/v1/bank-items", params={"platform_id": "P01"}).json()["rows"]
    assert [(item["bank_reference"], item["kind"], item["amount_minor"]) for item in items] == [("INT-08", "INTEREST", 101)]
    sound(bank)


def test_charges_and_tax_are_borne_by_the_platform_and_never_by_suspense(bank: Any) -> None:
    payload = {
        "currency": "CNY",
        "charge_minor": 30,
        "tax_minor": 2,
        "booked_on": "2026-08-31",
        "payer_account_no": "P01-F-INCOME",
    }
    code = put_down(bank, "BANK_CHARGE", "CHG-1", payload)
    assert code == "taken"  # whether the money is there is seen when it is decided
    proposed = bank.client.get("/v1/approvals", headers=bank.staff("ben", "checker")).json()
    refused = bank.decide(next(iter(proposed.values()))[0], by=bank.staff("ben", "checker"))
    assert refused.json()["code"] == "INSUFFICIENT_FUNDS"
    own_funds = {**payload, "payer_account_no": "P01-X-OWNFUNDS"}
    bank.approved("BANK_CHARGE", "CHG-2", own_funds, platform_id="P01")
    assert [bank.balance(one)["balance_minor"] for one in (SUSPENSE, "P01-X-OWNFUNDS", SPECIAL)] == [0, 0, 0]
    types = [row[0] for row in bank.rows("SELECT movement_type FROM ledger.movement ORDER BY movement_id")]
    assert types == ["OWN_FUNDS_IN", "CHARGE_PASSED_ON", "BANK_CHARGE", "BANK_TAX"]
    sound(bank)


def test_a_row_that_says_other_than_its_order_is_named(bank: Any) -> None:
    record(bank)
    claim(bank, 200)
    with psycopg.connect(bank.admin_url) as connection:
        connection.execute("ALTER TABLE payments.receipt_event DISABLE TRIGGER append_only")
        connection.execute("UPDATE payments.receipt_event SET amount_minor = 201")
        connection.execute("ALTER TABLE payments.receipt_event ENABLE TRIGGER append_only")
    bank.rows("SELECT ledger.seal_pending(10)")
    assert [fault.row for fault in verify(bank.admin_url).faults] == ["event 1 of receipt R-1"]
