"""A recharge from the announcement to the account: paid once, failed, expired or taken back, whatever is told how often."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from transactional.keys import add_key
from transactional.verify import verify
from transactional.verify_anchors import Anchors

ACCOUNT, INCOME, CHANNEL = "P01-L-000001", "P01-F-INCOME", "P01-X-CHANNEL-PC01"
CARD, PAGE, NOW = "cd" * 32, "ab" * 32, "2026-08-31T02:00:00Z"
TABLES = ("payments.recharge", "payments.recharge_outcome", "payments.recharge_backroll", "audit.change")


@pytest.fixture
def bank(api: Any) -> Any:
    """A service whose clock stands."""
    assert api.client.post("/v1/clock", json={"now": NOW}).status_code == 200
    return api


def submit(bank: Any, number: str = "RC-1", **more: Any) -> Any:
    body = {"platform_id": "P01", "request_no": number, "account": ACCOUNT, "paycom_id": "PC01", "channel": "WEB"}
    return bank.post({**body, "amount_minor": 600, "fee_minor": 5, "fee_account": INCOME, **more}, path="/v1/recharges")


def tell(bank: Any, number: str = "RC-1", **more: Any) -> Any:
    body = {"platform_id": "P01", "outcome": "PAID", "paycom_order_no": "PAY-1", "amount_minor": 600, **more}
    return bank.post({name: value for name, value in body.items() if value is not None}, path=f"/v1/recharges/{number}/outcome")


def fail(bank: Any, number: str = "RC-1", **more: Any) -> Any:
    return tell(bank, number, **{"outcome": "FAILED", "amount_minor": None, "reason": "51: no money", **more})


def roll_back(bank: Any, number: str = "RC-1") -> Any:
    return bank.post({"platform_id": "P01", "reason": "charged back"}, path=f"/v1/recharges/{number}/backroll")


def state(bank: Any, number: str = "RC-1") -> str:
    answer = bank.client.get(f"/v1/recharges/{number}", params={"platform_id": "P01"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


def balances(bank: Any) -> tuple[int, ...]:
    return tuple(bank.balance(name)["balance_minor"] for name in (ACCOUNT, INCOME, CHANNEL))


def content(bank: Any) -> Any:
    return bank.content(), [bank.rows(f"SELECT count(*) FROM {table}") for table in TABLES]


def sound(bank: Any) -> None:
    bank.rows("SELECT ledger.seal_pending(10)")
    bank.rows("SELECT audit.seal_pending(1000)")
    assert verify(bank.admin_url).faults == ()


def bind(bank: Any, purpose: str = "WITHHOLDING") -> None:
    card = {"platform_id": "P01", "account_no": ACCOUNT, "purpose": purpose, "bank_code": "ICBC", "card_hash": CARD}
    card |= {"last4": "1234", "factors": 4, "result": "PASSED", "is_bound": True}
    assert bank.post(card, path="/v1/bound-cards").status_code == 201


def authorise(bank: Any, number: str = "AUTH-1", customer: str = "P01-C000001", **more: Any) -> None:
    evidence = {"platform_id": "P01", "request_no": number, "customer_no": customer, "purpose": "AUTHORISE", "page_hash": PAGE}
    evidence |= {"channel": "APP", "is_confirmed": True, "happened_at": "2026-08-30T02:00:00Z", **more}
    assert bank.post(evidence, path="/v1/redirects").status_code == 201


def test_a_paid_recharge_is_on_the_account_less_the_fee(bank: Any) -> None:
    submitted = submit(bank)
    assert (submitted.status_code, submitted.json()["recharge"]["state"]) == (201, "SUBMITTED"), submitted.text
    assert balances(bank) == (0, 0, 0)
    paid = tell(bank)
    assert (paid.status_code, paid.json()["recharge"]["state"]) == (201, "PAID"), paid.text
    assert balances(bank) == (595, 5, -600)
    assert bank.rows("SELECT request_no, order_type FROM ledger.trade_order") == [("RC-1", "RECHARGE_WEB")]
    sound(bank)


def test_a_payment_told_twice_and_at_once_is_posted_once_and_answered_alike(bank: Any) -> None:
    submit(bank)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: tell(bank), range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert balances(bank) == (595, 5, -600)
    sound(bank)


def test_another_word_about_a_decided_recharge_is_refused(bank: Any) -> None:
    submit(bank)
    tell(bank)
    before = content(bank)
    assert fail(bank).json()["code"] == "STATE_CONFLICT"
    assert tell(bank, paycom_order_no="PAY-2").json()["code"] == "STATE_CONFLICT"
    assert content(bank) == before


def test_one_payment_of_the_payment_company_pays_one_recharge(bank: Any) -> None:
    for number in ("RC-1", "RC-2"):
        submit(bank, number)
    tell(bank)
    assert tell(bank, "RC-2").json()["code"] == "NUMBER_TAKEN"
    assert state(bank, "RC-2") == "SUBMITTED"
    assert tell(bank, "RC-2", paycom_order_no="PAY-2").status_code == 201


def test_a_failed_recharge_moves_nothing_and_says_why(bank: Any) -> None:
    submit(bank)
    failed = fail(bank)
    assert (failed.status_code, failed.json()["order"]) == (201, None)
    assert (failed.json()["recharge"]["state"], failed.json()["recharge"]["reason"]) == ("FAILED", "51: no money")
    assert fail(bank).json() == failed.json()
    assert tell(bank).json()["code"] == "STATE_CONFLICT"
    assert balances(bank) == (0, 0, 0)
    sound(bank)


def test_money_that_comes_for_an_expired_recharge_is_credited_and_called_late(bank: Any) -> None:
    submit(bank, expires_in_s=60)
    submit(bank, "RC-2")
    assert bank.client.post("/v1/clock", json={"now": "2026-08-31T02:01:00Z"}).status_code == 200
    assert state(bank) == "EXPIRED"
    before = content(bank)
    assert fail(bank).json()["code"] == "STATE_CONFLICT"
    assert tell(bank, amount_minor=599).json()["code"] == "AMOUNT_DIFFERS"
    assert content(bank) == before
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: tell(bank), range(4)))
    assert {answer.status_code for answer in answers} == {201}, answers[0].text
    assert balances(bank) == (595, 5, -600)
    assert tell(bank, "RC-2", paycom_order_no="PAY-2").status_code == 201
    listed = bank.client.get("/v1/recharges", params={"platform_id": "P01", "state": "PAID"}).json()["rows"]
    assert [(row["request_no"], row["is_late"]) for row in listed] == [("RC-1", True), ("RC-2", False)]
    assert roll_back(bank).status_code == 201
    sound(bank)


def test_a_recharge_that_the_payment_company_takes_back_is_reversed_with_its_fee_at_most_once(bank: Any) -> None:
    submit(bank)
    assert roll_back(bank).json()["code"] == "STATE_CONFLICT"
    first = tell(bank).json()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: roll_back(bank), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert balances(bank) == (0, 0, 0)
    assert state(bank) == "BACKROLLED"
    again = tell(bank).json()
    assert again["order"] == first["order"] and again["recharge"]["state"] == "BACKROLLED"
    sound(bank)


def test_money_that_is_spent_is_not_taken_back(bank: Any) -> None:
    submit(bank)
    tell(bank)
    held = bank.order("FREEZE", place_holds=[{"hold_no": "H-1", "account": ACCOUNT, "amount_minor": 595}])
    assert bank.post(held).status_code == 201
    before = content(bank)
    assert roll_back(bank).json()["code"] == "INSUFFICIENT_FUNDS"
    assert content(bank) == before


def test_a_reversal_entered_as_a_plain_order_is_a_backroll_too(bank: Any) -> None:
    submit(bank, fee_minor=0, fee_account=None)
    tell(bank)
    body = bank.order("RECHARGE_WEB", ("RECHARGE", ACCOUNT, CHANNEL, 600), reverses_request_no="RC-1")
    assert bank.post(body).status_code == 201
    assert state(bank) == "BACKROLLED"
    assert roll_back(bank).json()["code"] == "STATE_CONFLICT"
    sound(bank)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"account": "P01-L-777777"}, "UNKNOWN_ACCOUNT"),
        ({"account": "P02-L-000001"}, "UNKNOWN_ACCOUNT"),
        ({"account": "P01-X-SPECIAL"}, "MOVEMENT_NOT_ALLOWED"),
        ({"account": "P01-F-MARKETING"}, "MOVEMENT_NOT_ALLOWED"),
        ({"paycom_id": "PC77"}, "UNKNOWN_ACCOUNT"),
        ({"platform_id": "P77"}, "UNKNOWN_ACCOUNT"),
        ({"fee_account": None}, "BODY_INVALID"),
        ({"fee_minor": 601}, "INSUFFICIENT_FUNDS"),
        ({"channel": "POST"}, "BODY_INVALID"),
        ({"amount_minor": "600"}, "BODY_INVALID"),
        ({"card_hash": CARD}, "CARD_NOT_BOUND"),
        ({"channel": "WITHHOLDING"}, "CARD_NOT_BOUND"),
        ({"channel": "WITHHOLDING", "card_hash": CARD}, "NOT_AUTHORISED"),
        ({"request_no": "REQ-TAKEN"}, "REQUEST_NO_TAKEN"),
    ],
)
def test_an_announcement_that_cannot_be_paid_leaves_nothing(bank: Any, change: dict[str, Any], code: str) -> None:
    taken = bank.order("RECHARGE", ("RECHARGE", CHANNEL, "P01-L-000002", 1), request_no="REQ-TAKEN")
    assert bank.post(taken).status_code == 201
    before = content(bank)
    refused = submit(bank, **change)
    assert refused.json()["code"] == code, refused.text
    assert content(bank) == before


def test_a_number_stands_for_one_recharge(bank: Any) -> None:
    submit(bank)
    assert submit(bank, amount_minor=700).json()["code"] == "NUMBER_TAKEN"


def test_withholding_takes_a_card_bound_for_it_and_the_customers_authorisation(bank: Any) -> None:
    withheld = {"channel": "WITHHOLDING", "card_hash": CARD, "authorisation_no": "AUTH-1"}
    assert submit(bank, **withheld).json()["code"] == "CARD_NOT_BOUND"
    bind(bank, "RECHARGE")
    assert submit(bank, **withheld).json()["code"] == "CARD_NOT_BOUND"
    bind(bank)
    assert submit(bank, **withheld).json()["code"] == "NOT_AUTHORISED"
    authorise(bank, "AUTH-2", customer="P01-C000002")
    authorise(bank, "AUTH-3", is_confirmed=False)
    authorise(bank, "AUTH-4", purpose="RECHARGE")
    for number in ("AUTH-2", "AUTH-3", "AUTH-4"):
        assert submit(bank, **{**withheld, "authorisation_no": number}).json()["code"] == "NOT_AUTHORISED"
    authorise(bank)
    assert submit(bank, **withheld).status_code == 201
    assert tell(bank).status_code == 201
    assert bank.rows("SELECT order_type FROM ledger.trade_order") == [("RECHARGE_WITHHOLDING",)]
    sound(bank)


def test_a_channel_without_terms_or_contract_in_force_takes_nothing(bank: Any) -> None:
    terms = {
        "licence_no": "L-1",
        "channels": ["WEB"],
        "settlement_account_hash": "ef" * 32,
        "settlement_lag": "T+1",
        "fee_terms": [],
    }
    bank.approved("PAYMENT_COMPANY_TERMS", "PC01", {**terms, "valid_from": "2026-08-31"})
    assert submit(bank, channel="TERMINAL").json()["code"] == "CHANNEL_NOT_OPEN"
    assert submit(bank).status_code == 201
    contract = {"merchant_no": "M-1", "contract_from": "2026-01-01", "contract_to": "2026-08-30", "valid_from": "2026-08-31"}
    bank.approved("PAYMENT_MAPPING", "PC01", contract, platform_id="P01")
    refused = submit(bank, "RC-2").json()
    assert (refused["code"], refused["field"]) == ("CHANNEL_NOT_OPEN", "paycom_id")


def test_only_the_banks_systems_tell_and_foreign_recharges_look_like_none(bank: Any, database: Any) -> None:
    submit(bank)
    mine, other = ({"Authorization": f"Bearer {add_key(database.url('migrator'), platform)}"} for platform in ("P01", "P02"))
    paid = {"platform_id": "P01", "outcome": "PAID", "paycom_order_no": "PAY-1", "amount_minor": 600}
    for path, body in (("outcome", paid), ("backroll", {"platform_id": "P01", "reason": "no"})):
        answer = bank.client.post(f"/v1/recharges/RC-1/{path}", json=body, headers={**mine, "Idempotency-Key": path})
        assert answer.json()["code"] == "OTHER_PLATFORM"
    assert bank.client.get("/v1/recharges/RC-1", headers=mine).json()["state"] == "SUBMITTED"
    assert bank.client.get("/v1/recharges/RC-1", headers=other).json()["code"] == "RECHARGE_NOT_FOUND"
    assert bank.client.get("/v1/recharges", headers=other).json()["rows"] == []
    assert bank.client.get("/v1/recharges", headers=other, params={"platform_id": "P01"}).status_code == 404
    for number in ("RC-2", "..", "R" * 65):
        assert bank.client.get(f"/v1/recharges/{number}", headers=mine).status_code == 404
        assert tell(bank, number).status_code == 404


def test_an_amount_that_differs_from_the_announced_is_not_credited(bank: Any) -> None:
    submit(bank)
    assert tell(bank, amount_minor=599).json()["code"] == "AMOUNT_DIFFERS"
    assert tell(bank, paycom_order_no=None).json()["code"] == "BODY_INVALID"
    assert fail(bank, reason=None).json()["code"] == "BODY_INVALID"
    assert state(bank) == "SUBMITTED"


def test_the_list_pages_by_filters_and_comes_whole_as_csv_with_a_row_in_the_access_log(bank: Any) -> None:
    for number in range(5):
        submit(bank, f"RC-{number}", channel="WEB" if number % 2 else "TERMINAL")
    tell(bank, "RC-1")
    officer = bank.staff("ann", "officer")
    asked = {"platform_id": "P01", "state": "SUBMITTED", "limit": 2}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = bank.client.get("/v1/recharges", params={**asked, **cursor}, headers=officer).json()
        seen += [row["request_no"] for row in page["rows"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["RC-0", "RC-2", "RC-3", "RC-4"]
    terminal = bank.client.get("/v1/recharges", params={"channel": "TERMINAL"}, headers=officer).json()["rows"]
    assert [row["request_no"] for row in terminal] == ["RC-0", "RC-2", "RC-4"]
    whole = bank.client.get("/v1/recharges", params={"platform_id": "P01"}, headers={**officer, "Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(whole.text)))
    assert (whole.headers["x-row-count"], [row["state"] for row in rows].count("PAID"), len(rows)) == ("5", 1, 5)
    assert bank.client.get("/v1/recharges/RC-1", params={"platform_id": "P01"}, headers=officer).status_code == 200
    logged = bank.rows("SELECT kind, subject FROM auth.access_log ORDER BY 1, 2")
    assert ("ACCOUNT_SEEN", "recharge P01 RC-1") in logged and any(kind == "EXPORT" for kind, _ in logged)


def test_a_dry_run_announces_and_credits_nothing(bank: Any) -> None:
    body = {"platform_id": "P01", "request_no": "RC-1", "account": ACCOUNT, "paycom_id": "PC01", "channel": "TERMINAL"}
    dry = bank.post({**body, "amount_minor": 600}, path="/v1/recharges?dry_run=true")
    assert (dry.status_code, dry.json()["recharge"]["state"]) == (200, "SUBMITTED")
    assert bank.rows("SELECT count(*) FROM payments.recharge") == [(0,)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("payments.recharge SET amount_minor = 601", "recharge RC-1"),
        ("payments.recharge SET fee_minor = 4", "recharge RC-1"),
        ("payments.recharge_backroll SET order_id = 1", "backroll of recharge RC-1"),
    ],
)
def test_a_row_that_says_other_than_its_order_is_named(bank: Any, change: str, named: str) -> None:
    submit(bank)
    tell(bank)
    roll_back(bank)
    with psycopg.connect(bank.admin_url) as connection:
        table = change.partition(" ")[0]
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only".encode())
        connection.execute(f"UPDATE {change}".encode())
        connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only".encode())
    bank.rows("SELECT ledger.seal_pending(10)")
    assert {fault.row for fault in verify(bank.admin_url).faults} == {named}


def test_what_no_order_says_of_a_recharge_is_held_by_the_anchors(bank: Any, tmp_path: Path) -> None:
    bind(bank)
    authorise(bank)
    submit(bank, channel="WITHHOLDING", card_hash=CARD, authorisation_no="AUTH-1")
    fail(bank)
    bank.recharge(ACCOUNT, 1)
    assert bank.client.post("/v1/clock", json={"now": "2026-08-31T02:01:00Z"}).status_code == 200
    sound(bank)
    anchors = Anchors(tmp_path / "anchors")
    anchors.keep(bank.admin_url)
    for change in ("recharge SET card_hash = repeat('e', 64)", "recharge_outcome SET reason = 'other words'"):
        with psycopg.connect(bank.admin_url, autocommit=True) as connection:
            table = f"payments.{change.partition(' ')[0]}"
            connection.execute(f"CREATE TABLE public.kept AS SELECT * FROM {table}".encode())
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only".encode())
            connection.execute(f"UPDATE payments.{change}".encode())
            checks = {fault.check for fault in verify(bank.admin_url, anchors).faults}
            assert checks == {"rows are as they were anchored"}, change
            column = change.split()[2]
            connection.execute(f"UPDATE {table} SET {column} = (SELECT {column} FROM public.kept)".encode())
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only".encode())
            connection.execute(b"DROP TABLE public.kept")
    assert verify(bank.admin_url, anchors).faults == ()
