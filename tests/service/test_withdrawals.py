"""A withdrawal from the wish to the card: held, confirmed a second time, paid or rolled back, each once."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import psycopg
import pytest

from domain.vocabulary import ALLOWED_ORDERS, CONFIRMED_ORDERS, MovementType
from transactional.batch import batch, encode, of_order
from transactional.bodies import Order, decode
from transactional.keys import add_key
from transactional.posting import POST_EACH
from transactional.settling import settle_now
from transactional.verify import verify

ACCOUNT, INCOME, PAYABLE, SPECIAL = "P01-L-000001", "P01-F-INCOME", "P01-X-WITHDRAWAL", "P01-X-SPECIAL"
PROOF = "ab" * 32


@pytest.fixture
def bank(api: Any) -> Any:
    """An account with 1,000 whose money has reached the special account."""
    assert api.client.post("/v1/clock", json={"now": "2026-08-31T02:00:00Z"}).status_code == 200
    api.recharge(ACCOUNT, 1_000)
    settled = api.post(api.order("SETTLEMENT", ("SETTLEMENT", SPECIAL, "P01-X-CHANNEL-PC01", 1_000)))
    assert settled.status_code == 201, settled.text
    return api


def ask(bank: Any, **more: Any) -> Any:
    body = {"platform_id": "P01", "withdrawal_no": "W-1", "account": ACCOUNT, "amount_minor": 600, "speed": "T1"}
    return bank.post({**body, "fee_minor": 5, "fee_account": INCOME, **more}, path="/v1/withdrawals")


def confirm(bank: Any, confirmed: bool = True, number: str = "W-1", **more: Any) -> Any:
    body = {"platform_id": "P01", "confirmed": confirmed, "method": "OTP", "evidence_hash": PROOF, **more}
    return bank.post(body, path=f"/v1/withdrawals/{number}/confirmation")


def state(bank: Any, number: str = "W-1") -> dict[str, Any]:
    answer = bank.client.get(f"/v1/withdrawals/{number}", params={"platform_id": "P01"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def answered(bank: Any, database: Any, *states: str, reason: str | None = None) -> None:
    """What core banking says of the payment; the bank then posts the last order by itself."""
    with psycopg.connect(bank.admin_url) as connection:
        connection.execute(
            """INSERT INTO outside.payment_instruction
               SELECT 'PI-' || m.movement_id, 'PAYOUT', t.platform_id, t.order_id, m.movement_id, a.account_no, t.order_type,
                      m.currency, m.amount_minor, ledger.clock_now()
               FROM ledger.movement m JOIN ledger.trade_order t USING (order_id)
               JOIN registry.account a ON a.account_id = m.debit_account_id
               WHERE m.movement_type = 'WITHDRAW' ON CONFLICT DO NOTHING"""
        )
        connection.execute(
            """INSERT INTO outside.payment_state SELECT instruction_no, 1, 'CREATED', NULL, NULL, 'test', recorded_at
               FROM outside.payment_instruction ON CONFLICT DO NOTHING"""
        )
        for name in states:
            connection.execute(
                "SELECT outside.payment_step(instruction_no, %s, %s, NULL, 'test') FROM outside.payment_instruction",
                [name, reason],
            )
    settle(bank, database)


def settle(bank: Any, database: Any) -> int:
    async def once() -> int:
        async with asyncpg.create_pool(bank.service_url, min_size=1, max_size=2) as pool:
            return await settle_now(database.settings, pool)

    return asyncio.run(once())


def balances(bank: Any) -> tuple[int, int, int, int]:
    account = bank.balance(ACCOUNT)
    others = (bank.balance(name)["balance_minor"] for name in (INCOME, PAYABLE))
    return (account["balance_minor"], account["held_minor"], *others)


def sound(bank: Any) -> None:
    bank.rows("SELECT ledger.seal_pending(10)")
    bank.rows("SELECT audit.seal_pending(1000)")
    assert verify(bank.admin_url).faults == ()


def test_a_confirmed_withdrawal_that_is_paid_succeeds(bank: Any, database: Any) -> None:
    asked = ask(bank)
    assert (asked.status_code, asked.json()["withdrawal"]["state"]) == (201, "CONFIRMING")
    assert balances(bank) == (1_000, 605, 0, 0)
    confirmed = confirm(bank)
    assert (confirmed.status_code, confirmed.json()["withdrawal"]["state"]) == (201, "ACCEPT"), confirmed.text
    assert balances(bank) == (395, 0, 5, 600)
    answered(bank, database, "SENT")
    assert state(bank)["state"] == "REMITING"
    answered(bank, database, "ACCEPTED", "PAID")
    assert state(bank)["state"] == "SUCCESS"
    assert balances(bank) == (395, 0, 5, 0)
    assert bank.balance(SPECIAL)["balance_minor"] == -400
    sound(bank)


def test_a_payment_that_failed_comes_back_with_its_fee(bank: Any, database: Any) -> None:
    ask(bank)
    confirm(bank)
    answered(bank, database, "SENT", "FAILED", reason="card closed")
    found = state(bank)
    assert (found["state"], found["reason"]) == ("FAIL", "card closed")
    assert balances(bank) == (1_000, 0, 0, 0)
    types = [row[0] for row in bank.rows("SELECT order_type FROM ledger.trade_order ORDER BY order_id DESC LIMIT 1")]
    assert types == ["BACKROLL"]
    sound(bank)


def test_settling_again_and_at_once_posts_the_last_order_once(bank: Any, database: Any) -> None:
    ask(bank)
    confirm(bank)
    answered(bank, database, "SENT", "PAID")
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: settle(bank, database), range(4))) == 0
    assert bank.rows("SELECT count(*) FROM ledger.trade_order WHERE order_type = 'WITHDRAW_PAYOUT'") == [(1,)]


def test_a_refused_confirmation_frees_the_money(bank: Any) -> None:
    ask(bank)
    assert confirm(bank, confirmed=False).json()["withdrawal"]["state"] == "ACCEPT_FAIL"
    assert balances(bank) == (1_000, 0, 0, 0)
    assert confirm(bank).json()["code"] == "STATE_CONFLICT"
    sound(bank)


def test_a_withdrawal_nobody_confirms_in_time_fails_and_its_money_is_free_again(bank: Any) -> None:
    ask(bank, confirm_within_s=60)
    assert bank.client.post("/v1/clock", json={"now": "2026-08-31T02:01:00Z"}).status_code == 200
    assert state(bank)["state"] == "ACCEPT_FAIL"
    assert confirm(bank).json()["code"] == "STATE_CONFLICT"
    bank.rows("SELECT ledger.expire_holds(10, 'Asia/Shanghai', interval '23 hours')")
    assert balances(bank) == (1_000, 0, 0, 0)
    sound(bank)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount_minor": 996}, "INSUFFICIENT_FUNDS"),
        ({"account": "P02-L-000001"}, "ACCOUNT_OF_OTHER_PLATFORM"),
        ({"account": "P01-F-MARKETING"}, "INSUFFICIENT_FUNDS"),
        ({"account": "P01-X-SPECIAL"}, "HOLD_NOT_ALLOWED"),
        ({"account": "P01-L-777777"}, "UNKNOWN_ACCOUNT"),
        ({"platform_id": "P77"}, "UNKNOWN_PLATFORM"),
        ({"fee_account": None}, "BODY_INVALID"),
        ({"amount_minor": "600"}, "BODY_INVALID"),
        ({"speed": "T9"}, "BODY_INVALID"),
        ({"card_hash": "cd" * 32}, "CARD_NOT_BOUND"),
    ],
)
def test_a_wish_that_cannot_be_leaves_nothing(bank: Any, change: dict[str, Any], code: str) -> None:
    before = bank.content()
    refused = ask(bank, **change)
    assert refused.json()["code"] == code, refused.text
    assert bank.content() == before
    assert bank.rows("SELECT count(*) FROM payments.withdrawal") == [(0,)]


def test_two_confirmations_at_once_take_the_money_once(bank: Any) -> None:
    ask(bank)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: confirm(bank), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert balances(bank) == (395, 0, 5, 600)


def test_foreign_and_unknown_withdrawals_look_alike(bank: Any, database: Any) -> None:
    ask(bank)
    for number in ("W-2", "..", "W" * 65):
        answer = bank.client.get(f"/v1/withdrawals/{number}", params={"platform_id": "P01"})
        assert answer.status_code == 404
    assert bank.client.get("/v1/withdrawals/W-1", params={"platform_id": "P02"}).json()["code"] == "WITHDRAWAL_NOT_FOUND"
    listed = bank.client.get("/v1/withdrawals", params={"platform_id": "P01", "state": "CONFIRMING"}).json()
    assert [one["withdrawal_no"] for one in listed["rows"]] == ["W-1"]
    whole = bank.client.get("/v1/withdrawals", headers={**bank.staff("olga", "officer"), "Accept": "text/csv"})
    assert int(whole.headers["x-row-count"]) == len(whole.text.splitlines()) - 1 == 1
    assert "card_hash" not in whole.text.splitlines()[0]
    bank.client.get("/v1/withdrawals/W-1", params={"platform_id": "P01"}, headers=bank.staff("olga", "officer"))
    logged = bank.rows("SELECT kind, subject FROM auth.access_log ORDER BY access_id")
    assert logged[-2:] == [("EXPORT", "withdrawals"), ("ACCOUNT_SEEN", "withdrawal P01 W-1")]


def test_a_dry_run_holds_nothing(bank: Any) -> None:
    body = {"platform_id": "P01", "withdrawal_no": "W-1", "account": ACCOUNT, "amount_minor": 600, "speed": "T0"}
    dry = bank.post(body, path="/v1/withdrawals?dry_run=true")
    assert (dry.status_code, dry.json()["withdrawal"]["state"]) == (200, "CONFIRMING")
    assert balances(bank) == (1_000, 0, 0, 0)
    assert bank.rows("SELECT count(*) FROM payments.withdrawal") == [(0,)]


def test_a_platform_takes_no_money_out_without_the_customers_second_word(bank: Any) -> None:
    key = {"Authorization": f"Bearer {add_key(bank.admin_url, 'P01')}"}
    before = bank.content()
    for number, order_type in enumerate(sorted(CONFIRMED_ORDERS)):
        order = bank.order(order_type, ("WITHDRAW", ACCOUNT, PAYABLE, 600))
        for path, body in (("", order), ("/bulk", {"orders": [order]}), ("/bulk", {"orders": [order], "atomic": False})):
            headers = {**key, "Idempotency-Key": f"{number}{len(body)}"}
            refused = bank.client.post(f"/v1/orders{path}", json=body, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "CONFIRMATION_NEEDED")
    assert bank.content() == before
    ask(bank)
    confirm(bank)
    taken = [("WITHDRAW", PAYABLE, ACCOUNT, 600), ("COMMISSION", INCOME, ACCOUNT, 5)]
    back = bank.order("WITHDRAW_T1", *taken, reverses_request_no="W-1#C")
    assert bank.client.post("/v1/orders", json=back, headers={**key, "Idempotency-Key": "back"}).status_code == 201
    assert balances(bank) == (1_000, 0, 0, 0)


def test_a_withdrawal_posted_before_the_rule_hears_its_first_answer_again(bank: Any, database: Any) -> None:
    key = {"Authorization": f"Bearer {add_key(bank.admin_url, 'P01')}"}
    order = bank.order("WITHDRAW_T1", ("WITHDRAW", ACCOUNT, PAYABLE, 100))
    alone = of_order("P01", "before", decode(Order, json.dumps(order).encode()))
    with psycopg.connect(bank.service_url) as connection:  # as the service did when platforms entered them
        posted = connection.execute(
            POST_EACH.replace("answer,", "answer::text,").replace("$1", "%s"), [encode([batch(database.settings, [alone])])]
        ).fetchone()
    assert posted is not None
    assert posted[0] == "posted", posted
    before = bank.content()
    headers = {**key, "Idempotency-Key": "before"}
    for path in ("/v1/orders", "/v1/orders?dry_run=true"):
        again = bank.client.post(path, json=order, headers=headers)
        assert (again.status_code, again.text, again.headers["Idempotency-Replayed"]) == (201, posted[1], "true")
    other = bank.client.post("/v1/orders", json={**order, "currency": "USD"}, headers=headers)
    assert (other.status_code, other.json()["fields"]) == (409, ["currency"])
    unknown = bank.client.post("/v1/orders", json=order, headers={**headers, "Idempotency-Key": "new"})
    assert (unknown.status_code, unknown.json()["code"]) == (403, "CONFIRMATION_NEEDED")
    assert bank.content() == before


def test_every_order_that_pays_a_customer_out_needs_the_second_word() -> None:
    assert {order for order, kinds in ALLOWED_ORDERS.items() if MovementType.WITHDRAW in kinds} == CONFIRMED_ORDERS
