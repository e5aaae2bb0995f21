"""Orders over HTTP: the ledger's invariants, each with the request that would break it (architecture section 6)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from domain.vocabulary import ALLOWED_MOVEMENTS

LENDER, OTHER_LENDER, BORROWER = "P01-L-000001", "P01-L-000002", "P01-B-000001"
CHANNEL = "P01-X-CHANNEL-PC01"


def _refused(api: Any, body: dict[str, Any], status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """Assert that a body is refused with this code and leaves every row as it was."""
    before = api.content()
    answer = api.post(body)
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert document["field"] == field
    assert api.content() == before
    return document


def test_a_movement_writes_one_debit_and_one_credit_with_running_balances(api: Any) -> None:
    api.recharge(LENDER, 700)
    posted = api.recharge(LENDER, 300)
    entries = api.rows(
        f"""SELECT account_no, amount_minor, balance_after_minor, account_version FROM ledger.entry
            JOIN registry.account USING (account_id) WHERE movement_id = {posted["movement_ids"][0]} ORDER BY amount_minor"""
    )
    assert entries == [(CHANNEL, -300, -1000, 2), (LENDER, 300, 1000, 2)]
    assert api.rows("SELECT sum(amount_minor) FROM ledger.entry") == [(0,)]


def test_the_law_in_the_database_is_the_law_of_the_vocabulary(api: Any) -> None:
    stored = set(api.rows("SELECT movement_type, debit_role, credit_role FROM ledger.allowed_movement"))
    assert stored == {
        (kind.value, debit.value, credit.value) for kind, pairs in ALLOWED_MOVEMENTS.items() for debit, credit in pairs
    }


def test_a_movement_outside_the_law_is_refused(api: Any) -> None:
    api.recharge(LENDER, 1000)
    body = api.order("DISBURSE", ("TENDER", LENDER, "P01-X-SUSPENSE", 10))
    _refused(api, body, 422, "MOVEMENT_NOT_ALLOWED", "movements[0].movement_type")


def test_an_account_never_falls_below_zero(api: Any) -> None:
    api.recharge(LENDER, 1000)
    _refused(api, api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 1001)), 422, "INSUFFICIENT_FUNDS", "account")
    assert api.post(api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 1000))).status_code == 201


def test_held_money_is_not_available_until_the_hold_is_released(api: Any) -> None:
    api.recharge(LENDER, 1000)
    hold = {"hold_no": "H-1", "account": LENDER, "amount_minor": 800}
    assert api.post(api.order("TENDER", place_holds=[hold])).status_code == 201
    _refused(api, api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 201)), 422, "INSUFFICIENT_FUNDS")
    assert api.balance(LENDER) == {
        "account_no": LENDER,
        "currency": "CNY",
        "balance_minor": 1000,
        "held_minor": 800,
        "available_minor": 200,
    }
    disburse = api.order("DISBURSE", ("TENDER", LENDER, BORROWER, 1000), release_holds=["H-1"])
    assert api.post(disburse).status_code == 201
    assert api.balance(LENDER)["held_minor"] == api.balance(LENDER)["balance_minor"] == 0
    _refused(api, api.order("DISBURSE", release_holds=["H-1"]), 409, "HOLD_RELEASED", "release_holds[0]")
    _refused(api, api.order("TENDER", place_holds=[{**hold, "amount_minor": 1}]), 409, "HOLD_NO_TAKEN", "place_holds[0].hold_no")
    _refused(api, api.order("DISBURSE", release_holds=["H-2"]), 422, "UNKNOWN_HOLD", "release_holds[0]")


def test_a_hold_larger_than_what_is_available_is_refused(api: Any) -> None:
    api.recharge(LENDER, 1000)
    body = api.order("TENDER", place_holds=[{"hold_no": "H-1", "account": LENDER, "amount_minor": 1001}])
    _refused(api, body, 422, "INSUFFICIENT_FUNDS")


@pytest.mark.parametrize(
    ("movement", "code", "field"),
    [
        (("RECHARGE", CHANNEL, "P01-L-999999", 5), "UNKNOWN_ACCOUNT", "movements[0].credit_account"),
        (("RECHARGE", "P01-X-CHANNEL-PC09", LENDER, 5), "UNKNOWN_ACCOUNT", "movements[0].debit_account"),
        (("RECHARGE", CHANNEL, "P02-L-000001", 5), "ACCOUNT_OF_OTHER_PLATFORM", "movements[0].credit_account"),
        (("RECHARGE", CHANNEL, "P01-L-USD", 5), "CURRENCY_MISMATCH", "movements[0].credit_account"),
        (("CREDIT_ASSIGNMENT", LENDER, LENDER, 5), "SAME_ACCOUNT", "movements[0].credit_account"),
        (("RECHARGE", CHANNEL, LENDER, 1.5), "BODY_INVALID", "movements[0].amount_minor"),
        (("RECHARGE", CHANNEL, LENDER, 5.0), "BODY_INVALID", "movements[0].amount_minor"),
        (("RECHARGE", CHANNEL, LENDER, 0), "BODY_INVALID", "movements[0].amount_minor"),
        (("RECHARGE", CHANNEL, LENDER, -5), "BODY_INVALID", "movements[0].amount_minor"),
        (("RECHARGE", CHANNEL, LENDER, 10**15 + 1), "BODY_INVALID", "movements[0].amount_minor"),
        (("BRIBE", CHANNEL, LENDER, 5), "BODY_INVALID", "movements[0].movement_type"),
    ],
)
def test_a_bad_movement_is_refused_with_its_field(api: Any, movement: Any, code: str, field: str) -> None:
    _refused(api, api.order("RECHARGE", movement), 422, code, field)


def test_an_order_that_asks_for_nothing_is_refused(api: Any) -> None:
    _refused(api, api.order("TENDER"), 422, "BODY_INVALID", "movements")


def test_own_funds_must_be_cleared_within_the_order(api: Any) -> None:
    first = ("OWN_FUNDS_IN", "P01-X-SPECIAL", "P01-X-OWNFUNDS", 50)
    _refused(api, api.order("TOP_UP", first), 422, "OWN_FUNDS_NOT_CLEARED")
    assert api.post(api.order("TOP_UP", first, ("TOP_UP", "P01-X-OWNFUNDS", "P01-F-MARKETING", 50))).status_code == 201


def test_a_request_number_is_used_once_a_platform(api: Any) -> None:
    posted = api.recharge(LENDER, 10)
    again = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10), request_no=posted["request_no"])
    _refused(api, again, 409, "REQUEST_NO_TAKEN", "request_no")
    other = api.order("RECHARGE", ("RECHARGE", "P02-X-CHANNEL-PC01", "P02-L-000001", 10), platform_id="P02")
    assert api.post({**other, "request_no": posted["request_no"]}).status_code == 201


def test_an_order_is_reversed_once_whole_and_swapped(api: Any) -> None:
    posted = api.recharge(LENDER, 400)
    back = ("RECHARGE", LENDER, CHANNEL, 400)
    _refused(api, api.order("RECHARGE", back), 422, "MOVEMENT_NOT_ALLOWED")
    original = posted["request_no"]
    less = api.order("RECHARGE", ("RECHARGE", LENDER, CHANNEL, 399), reverses_request_no=original)
    _refused(api, less, 422, "REVERSAL_DIFFERS", "movements[0].movement_type")
    same = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 400), reverses_request_no=original)
    _refused(api, same, 422, "REVERSAL_DIFFERS")
    unknown = api.order("RECHARGE", back, reverses_request_no="NOWHERE")
    _refused(api, unknown, 422, "UNKNOWN_REVERSED_ORDER", "reverses_request_no")
    reversal = api.post(api.order("RECHARGE", back, reverses_request_no=original))
    assert reversal.status_code == 201
    found = api.rows(f"SELECT reversal_of FROM ledger.movement WHERE movement_id = {reversal.json()['movement_ids'][0]}")
    assert found == [(posted["movement_ids"][0],)]
    assert api.balance(LENDER)["balance_minor"] == 0
    api.recharge(LENDER, 400)
    _refused(api, api.order("RECHARGE", back, reverses_request_no=original), 409, "ALREADY_REVERSED")
    twice = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 400), reverses_request_no=reversal.json()["request_no"])
    _refused(api, twice, 422, "REVERSAL_DIFFERS")


def test_posted_rows_can_neither_be_changed_nor_deleted(api: Any) -> None:
    api.recharge(LENDER, 10)
    api.post(api.order("TENDER", place_holds=[{"hold_no": "H", "account": LENDER, "amount_minor": 1}]))
    for table in ("trade_order", "movement", "entry", "hold_event"):
        for statement in (
            f"UPDATE ledger.{table} SET amount_minor = 1",
            f"DELETE FROM ledger.{table}",
            f"TRUNCATE ledger.{table}",
        ):
            with psycopg.connect(api.admin_url) as owner, pytest.raises(psycopg.Error, match=r"posted|foreign key"):
                owner.execute(statement.encode())
            with psycopg.connect(api.service_url) as service, pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(statement.encode())


def test_one_bad_order_does_not_fail_the_orders_beside_it(api: Any) -> None:
    api.recharge(LENDER, 100)
    bodies = [api.order("RECHARGE", ("RECHARGE", CHANNEL, OTHER_LENDER, 1)) for _ in range(20)]
    bodies[7] = api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 101))
    with ThreadPoolExecutor(20) as pool:
        statuses = [answer.status_code for answer in pool.map(api.post, bodies)]
    assert statuses == [422 if index == 7 else 201 for index in range(20)]
    assert (api.balance(OTHER_LENDER)["balance_minor"], api.balance(LENDER)["balance_minor"]) == (19, 100)


def test_of_many_withdrawals_at_once_only_those_covered_are_posted(api: Any) -> None:
    api.recharge(LENDER, 500)
    bodies = [api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 100)) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(api.post, bodies))
    assert statuses == [201] * 5 + [422] * 7
    assert api.balance(LENDER)["balance_minor"] == 0


def test_a_bulk_call_posts_all_its_orders_or_none(api: Any) -> None:
    good = [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)) for _ in range(30)]
    answer = api.post({"orders": good}, path="/v1/orders/bulk")
    assert (answer.status_code, answer.json()) == (201, {"orders": 30, "movements": 30})
    before = api.content()
    bad = [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)), api.order("RECHARGE", ("RECHARGE", CHANNEL, "P01-L-9", 10))]
    answer = api.post({"orders": bad}, path="/v1/orders/bulk")
    assert (answer.status_code, answer.json()["field"]) == (422, "orders[1].movements[0].credit_account")
    assert api.content() == before


def test_later_orders_of_a_bulk_call_spend_what_earlier_ones_brought(api: Any) -> None:
    orders = [
        api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)),
        api.order("TENDER", place_holds=[{"hold_no": "H", "account": LENDER, "amount_minor": 10}]),
        api.order("DISBURSE", ("TENDER", LENDER, BORROWER, 10), release_holds=["H"]),
    ]
    assert api.post({"orders": list(reversed(orders))}, path="/v1/orders/bulk").status_code == 422
    assert api.post({"orders": orders}, path="/v1/orders/bulk").status_code == 201
    assert api.balance(BORROWER)["balance_minor"] == 10


def test_a_request_that_breaks_the_database_is_singled_out(api: Any) -> None:
    with psycopg.connect(api.admin_url) as owner:
        owner.execute(
            """CREATE FUNCTION ledger.choke() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN IF NEW.request_no = 'POISON' THEN RAISE division_by_zero; END IF; RETURN NEW; END $$"""
        )
        owner.execute("CREATE TRIGGER choke BEFORE INSERT ON ledger.trade_order FOR EACH ROW EXECUTE FUNCTION ledger.choke()")
    bodies = [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 1)) for _ in range(16)]
    bodies[5]["request_no"] = "POISON"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(api.post, bodies))
    assert [answer.status_code for answer in answers] == [500 if index == 5 else 201 for index in range(16)]
    assert answers[5].json()["code"] == "INTERNAL"
    assert api.balance(LENDER)["balance_minor"] == 15
