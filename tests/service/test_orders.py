"""Orders over HTTP: the ledger's invariants, each with the request that would break it (architecture section 6)."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from transactional.keys import add_key
from transactional.verify import verify

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
    shown = {"balance_minor": 1000, "held_minor": 800, "available_minor": 200}
    assert shown.items() <= api.balance(LENDER).items()
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
    other = api.order("MARKETING", back, reverses_request_no=original)
    _refused(api, other, 422, "REVERSAL_DIFFERS", "order_type")
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


def test_who_entered_an_order_is_kept_with_it(api: Any) -> None:
    first = api.recharge(LENDER, 10)["order_id"]
    key = {"Authorization": f"Bearer {add_key(api.admin_url, 'P01')}", "Idempotency-Key": "k"}
    back = api.order("RECHARGE", ("RECHARGE", LENDER, CHANNEL, 10), reverses_request_no="REQ-0")
    for body in (api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)), back):  # the fast path and the careful one
        headers = {**key, "Idempotency-Key": body["request_no"]}
        assert api.client.post("/v1/orders", json=body, headers=headers).status_code == 201
    found = api.rows("SELECT order_id, entered_by FROM ledger.trade_order ORDER BY order_id")
    assert found == [(first, "key:*"), (first + 1, "key:P01"), (found[2][0], "key:P01")]


def test_what_was_posted_is_heard_of_in_the_outbox(api: Any) -> None:
    api.recharge(LENDER, 10)
    orders = [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)) for _ in range(3)]
    assert api.post({"orders": orders}, path="/v1/orders/bulk").status_code == 201
    assert api.post(api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 41))).status_code == 422
    heard = api.rows("SELECT platform_id, subject, payload FROM outbox.event WHERE topic = 'ledger.posted' ORDER BY event_id")
    assert [heard_of[:2] for heard_of in heard] == [("P01", "P01"), ("P01", "P01")]
    assert [len(payload["orders"]) for _, _, payload in heard] == [1, 3]
    told = [tuple(order) for _, _, payload in heard for order in payload["orders"]]
    assert told == api.rows("SELECT order_id, platform_id, request_no, order_type FROM ledger.trade_order ORDER BY order_id")


def test_good_orders_without_reversals_take_the_fast_path(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "transactional.posting")
    api.recharge(LENDER, 1000, effective_at="1999-12-31T00:00:00Z")
    hold = {"hold_no": "H", "account": LENDER, "amount_minor": 300, "expires_at": "2030-01-01T00:00:00Z"}
    assert api.post(api.order("TENDER", place_holds=[hold])).status_code == 201
    movements = (("TENDER", LENDER, BORROWER, 1000), ("COMMISSION", BORROWER, "P01-F-INCOME", 3))
    assert api.post(api.order("DISBURSE", *movements, release_holds=["H"])).status_code == 201
    assert not [record for record in caplog.records if "carefully" in record.message]
    events = api.rows("SELECT event_type, amount_minor FROM ledger.hold_event ORDER BY hold_event_id")
    assert events == [("PLACE", 300), ("RELEASE", 300)]
    assert api.rows("SELECT count(*) FROM ledger.hold_to_expire") == [(0,)]
    assert verify(api.service_url).faults == ()


def _random_orders(api: Any, count: int) -> list[dict[str, Any]]:
    """Good and bad orders of every kind, some only good or bad because of those before them."""
    rng = random.Random(7)
    holds: list[str] = []
    orders: list[dict[str, Any]] = []
    for _ in range(count):
        amount, account = rng.randrange(1, 60), rng.choice([LENDER, OTHER_LENDER, "P01-L-9", "P02-L-000001"])
        kind = rng.choice(["recharge", "recharge", "withdraw", "hold", "release", "capture", "reverse", "again"])
        if kind == "recharge":
            order = api.order("RECHARGE", ("RECHARGE", CHANNEL, account, amount))
        elif kind == "withdraw":
            order = api.order(rng.choice(["WITHDRAW", "TENDER"]), ("WITHDRAW", account, "P01-X-WITHDRAWAL", amount))
        elif kind == "hold":
            holds.append(rng.choice([*holds[-2:], f"H-{len(holds)}"]))
            order = api.order("TENDER", place_holds=[{"hold_no": holds[-1], "account": account, "amount_minor": amount}])
        elif kind == "release":
            order = api.order("DISBURSE", release_holds=[rng.choice([*holds, "NONE"])])
        elif kind == "capture":
            capture = {"hold_no": rng.choice([*holds, "NONE"]), "amount_minor": rng.randrange(1, 30), "final": rng.random() < 0.5}
            order = api.order("DISBURSE", ("TENDER", account, BORROWER, amount), capture_holds=[capture])
        elif kind == "reverse" and any(order["movements"] for order in orders):
            first = rng.choice([order for order in orders if order["movements"]])
            names = ("movement_type", "credit_account", "debit_account", "amount_minor")
            movements = [tuple(movement[name] for name in names) for movement in first["movements"]]
            order = api.order(first["order_type"], *movements, reverses_request_no=first["request_no"])
        else:
            order = api.order("RECHARGE", ("RECHARGE", CHANNEL, account, amount))
            order["request_no"] = rng.choice(orders)["request_no"] if orders else order["request_no"]
        orders.append(order)
    return orders


def _verdict(answer: Any) -> tuple[Any, ...]:
    body = answer.json()
    if answer.status_code in (200, 201):
        return "posted", body["request_no"], len(body["movement_ids"])
    return answer.status_code, body["code"], body.get("field"), body.get("detail")


def test_a_dry_run_says_what_posting_would_and_leaves_nothing(api: Any) -> None:
    verdicts = []
    for number, order in enumerate(_random_orders(api, 120)):
        before = api.content() if number % 20 == 0 else None
        rehearsed = api.post(order, path="/v1/orders?dry_run=true")
        assert rehearsed.status_code != 201 and (before is None or api.content() == before)
        if rehearsed.status_code == 200:
            assert rehearsed.headers["Fundwatch-Dry-Run"] == "true"
        posted = api.post(order)
        assert _verdict(rehearsed) == _verdict(posted), order
        verdicts.append(_verdict(posted)[:2])
    codes = {verdict[1] for verdict in verdicts if verdict[0] != "posted"}
    assert len([verdict for verdict in verdicts if verdict[0] == "posted"]) > 20
    assert {"INSUFFICIENT_FUNDS", "UNKNOWN_ACCOUNT", "ACCOUNT_OF_OTHER_PLATFORM", "REQUEST_NO_TAKEN", "UNKNOWN_HOLD"} <= codes
    assert verify(api.service_url).faults == ()


def test_a_dry_run_of_a_bulk_call_keeps_its_key_free(api: Any) -> None:
    bulk = {"orders": [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)) for _ in range(3)]}
    before = api.content()
    for _ in range(2):
        rehearsed = api.post(bulk, "key", "/v1/orders/bulk?dry_run=true")
        assert (rehearsed.status_code, rehearsed.json()) == (200, {"orders": 3, "movements": 3})
    assert api.content() == before
    assert api.post(bulk, "key", "/v1/orders/bulk").status_code == 201
    replayed = api.post(bulk, "key", "/v1/orders/bulk?dry_run=true")
    assert (replayed.status_code, replayed.headers["Idempotency-Replayed"]) == (201, "true")


def test_the_verdicts_of_a_call_let_another_platforms_account_look_like_none(api: Any) -> None:
    orders = [api.order("RECHARGE", ("RECHARGE", CHANNEL, account, 5)) for account in ("P02-L-000001", "P01-L-777777", LENDER)]
    orders.append(api.order("FREEZE", place_holds=[{"hold_no": "H", "account": "P02-L-000001", "amount_minor": 1}]))
    key = {"Authorization": f"Bearer {add_key(api.admin_url, 'P01')}", "Idempotency-Key": "one"}
    bulk = {"orders": orders, "atomic": False}
    for _ in range(2):  # posted, then replayed
        results = api.client.post("/v1/orders/bulk", json=bulk, headers=key).json()["results"]
        assert [result.get("code") for result in results] == ["UNKNOWN_ACCOUNT", "UNKNOWN_ACCOUNT", None, "UNKNOWN_ACCOUNT"]
    assert [*results[0]] == [*results[1]]
    for order in orders:
        order["request_no"] += "-again"
    of_the_bank = api.post(bulk, path="/v1/orders/bulk").json()["results"]
    assert of_the_bank[0]["code"] == "ACCOUNT_OF_OTHER_PLATFORM"


def test_a_call_that_is_not_atomic_judges_each_order_as_if_it_came_alone(api: Any) -> None:
    orders = _random_orders(api, 60)
    answer = api.post({"orders": orders, "atomic": False}, "key", "/v1/orders/bulk")
    assert answer.status_code == 201, answer.text
    results = answer.json()["results"]
    posted = [result for result in results if result["status"] == "posted"]
    assert [(result["order_id"], result["request_no"]) for result in posted] == api.rows(
        "SELECT order_id, request_no FROM ledger.trade_order ORDER BY order_id"
    )
    assert answer.json()["orders"] == len(posted) and 10 < len(posted) < 50
    for order, result in zip(orders, results, strict=True):
        if result["status"] == "refused" and result["code"] != "INSUFFICIENT_FUNDS":
            by_now = ("REQUEST_NO_TAKEN", "HOLD_RELEASED", "ALREADY_REVERSED", "HOLD_NO_TAKEN")
            assert api.post(order).json()["code"] in (result["code"], *by_now)
    before = api.content()
    again = api.post({"orders": orders, "atomic": False}, "key", "/v1/orders/bulk")
    assert (again.text, again.headers["Idempotency-Replayed"]) == (answer.text, "true")
    assert api.content() == before
    assert verify(api.service_url).faults == ()


GOOD = (
    '{"platform_id":"P01","request_no":"R","order_type":"RECHARGE","currency":"CNY","movements":[{"movement_type":"RECHARGE",'
    '"debit_account":"P01-X-CHANNEL-PC01","credit_account":"P01-L-000001","amount_minor":5}]}'
)


BAD = (
    ('"currency":"CNY"', '"currency":"CNY","currency":"CNY"', "DUPLICATE_FIELD"),
    ('"amount_minor":5', '"amount_minor":5,"amount_minor":500', "DUPLICATE_FIELD"),
    ('"amount_minor":5', '"amount_minor":5,"amount\\u005fminor":500', "DUPLICATE_FIELD"),
    ('"amount_minor":5', '"amount_minor":1.0', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":1e3', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":5E-1', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":"5"', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":NaN', "MALFORMED_JSON"),
    ('"amount_minor":5', '"amount_minor":0', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":-5', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":99999999999999999999999999', "BODY_INVALID"),
    ('"amount_minor":5', '"amount_minor":null', "BODY_INVALID"),
    ('"CNY"', '"XXX"', "BODY_INVALID"),
    ('"CNY"', '"cny"', "BODY_INVALID"),
    ('"CNY"', '"СNY"', "BODY_INVALID"),
    ('"CNY"', '"CNY","currency_exponent":3', "BODY_INVALID"),
    ('"R"', '"Ｒ"', "BODY_INVALID"),
    ('"R"', '"R\\u200b"', "BODY_INVALID"),
    ('"R"', '" "', "BODY_INVALID"),
    ('"R"', '""', "BODY_INVALID"),
    ('"R"', '"R\\u0000"', "BODY_INVALID"),
    ('"P01-L-000001"', '"P01\u2010L-000001"', "BODY_INVALID"),
    ('"R"', '"R","effective_at":"0001-01-01T00:00:00+14:00"', "BODY_INVALID"),
    ('"R"', '"R","effective_at":"9999-12-31T23:59:59-14:00"', "BODY_INVALID"),
    ('"R"', '"R","effective_at":"2026-02-30T00:00:00Z"', "BODY_INVALID"),
    ('"R"', '"R","effective_at":"2026-02-01T00:00:00"', "BODY_INVALID"),
    ('"R"', '"R","simulated_at":"2200-01-01T00:00:00Z"', "BODY_INVALID"),
    ('"R"', '"R","capture_holds":[]', "BODY_INVALID"),
    ('"R"', '"R","more":' + "[" * 100_000 + "]" * 100_000, "BODY_INVALID MALFORMED_JSON"),
    ('"R"', '"R\ud800"', "BODY_INVALID MALFORMED_JSON"),
    (GOOD, "", "MALFORMED_JSON"),
    (GOOD, "[" + GOOD + "]", "BODY_INVALID"),
    (GOOD, GOOD + GOOD, "MALFORMED_JSON"),
)


def test_every_bad_body_is_a_typed_error_and_writes_nothing(api: Any) -> None:
    before = api.content()
    for old, new, code in BAD:
        raw = GOOD.replace(old, new, 1).encode("utf-8", "surrogatepass")
        assert raw != GOOD.encode()
        for path, body in (("/v1/orders", raw), ("/v1/orders/bulk", b'{"orders":[' + raw + b"]}")):
            answer = api.client.post(path, content=body, headers={"Idempotency-Key": "k"})
            assert answer.status_code in (400, 422), (new[:80], answer.text)
            assert answer.json()["code"] in code.split() or path.endswith("bulk"), (new[:80], answer.text)
    assert api.content() == before


def test_a_body_of_ten_megabytes_is_too_large(api: Any) -> None:
    before = api.content()
    for path in ("/v1/orders", "/v1/orders/bulk"):
        answer = api.client.post(path, content=GOOD.encode() + b" " * 10_000_000, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert api.content() == before
