"""Statements, orders in full, balances with their holds and of whole platforms."""

from __future__ import annotations

from typing import Any

import pytest

from transactional.keys import add_key

LENDER, INCOME = "P01-L-000001", "P01-F-INCOME"
CHANNEL = "P01-X-CHANNEL-PC01"


def _statement(api: Any, first: str, last: str, **more: Any) -> dict[str, Any]:
    answer = api.client.get(f"/v1/accounts/{LENDER}/statement", params={"from": first, "to": last, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _three_days(api: Any) -> None:
    api.recharge(LENDER, 100, simulated_at="2026-08-01T10:00:00Z")
    api.recharge(LENDER, 30, simulated_at="2026-08-02T10:00:00Z")
    api.recharge(LENDER, 7, simulated_at="2026-08-04T10:00:00Z", effective_at="2026-08-02T09:00:00Z")


def test_a_statement_opens_moves_and_closes_to_the_cent_with_the_late_movement_where_it_counts(api: Any) -> None:
    _three_days(api)
    found = _statement(api, "2026-08-02", "2026-08-03")
    assert (found["opening_minor"], found["moved_minor"], found["closing_minor"], found["movements"]) == (100, 37, 137, 2)
    assert [(row["amount_minor"], row["balance_after_minor"], row["late"]) for row in found["rows"]] == [
        (7, 107, True),
        (30, 137, False),
    ]
    known_then = _statement(api, "2026-08-02", "2026-08-03", known_as_of="2026-08-03T00:00:00Z")
    assert (known_then["closing_minor"], len(known_then["rows"])) == (130, 1)


def test_pages_of_a_statement_keep_what_was_known_at_the_first(api: Any) -> None:
    _three_days(api)
    first = _statement(api, "2026-08-01", "2026-08-03", limit=1)
    api.recharge(LENDER, 1, simulated_at="2026-08-05T10:00:00Z", effective_at="2026-08-02T09:30:00Z")
    second = _statement(api, "2026-08-01", "2026-08-03", limit=1, cursor=first["next_cursor"])
    assert (second["known_as_of"], second["closing_minor"]) == (first["known_as_of"], first["closing_minor"])
    third = _statement(api, "2026-08-01", "2026-08-03", limit=1, cursor=second["next_cursor"])
    assert [page["rows"][0]["amount_minor"] for page in (first, second, third)] == [100, 7, 30]
    assert (third["next_cursor"], third["rows"][0]["balance_after_minor"]) == (None, first["closing_minor"])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("from=2026-08-03&to=2026-08-02", "PERIOD_INVALID"),
        ("from=1990-01-01&to=2026-08-02", "PERIOD_INVALID"),
        ("from=1970-01-01&to=1970-01-01", "HISTORY_NOT_KEPT"),
        ("to=2026-08-02", "PARAMETER_INVALID"),
        ("from=2026-08-01&to=2026-08-02&known_as_of=2100-01-01T00:00:00Z", "KNOWN_AS_OF_IN_FUTURE"),
    ],
)
def test_a_statement_of_no_period_is_refused(api: Any, query: str, code: str) -> None:
    _three_days(api)
    answer = api.client.get(f"/v1/accounts/{LENDER}/statement?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


def test_an_order_is_shown_with_movements_holds_and_its_reversal(api: Any) -> None:
    body = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 5), place_holds=[])
    assert api.post(body).status_code == 201
    back = api.order("RECHARGE", ("RECHARGE", LENDER, CHANNEL, 5), reverses_request_no=body["request_no"])
    assert api.post(back).status_code == 201
    found = api.client.get(f"/v1/orders/P01/{body['request_no']}").json()
    assert (found["state"], found["reversed_by_request_no"]) == ("REVERSED", back["request_no"])
    assert [step["state"] for step in found["history"]] == ["POSTED", "REVERSED"]
    assert [row["amount_minor"] for row in found["movements"]] == [5]
    assert api.client.get(f"/v1/orders/P01/{back['request_no']}").json()["reverses_request_no"] == body["request_no"]


def test_foreign_unknown_and_malformed_ids_look_alike(api: Any) -> None:
    number = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 5))
    assert api.post(number).status_code == 201
    foreign = {"Authorization": f"Bearer {add_key(api.admin_url, 'P02')}"}
    period = "statement?from=2026-08-01&to=2026-08-02"
    for path in (
        *(f"/v1/orders/P01/{number['request_no']}", "/v1/orders/P02/NONE", "/v1/orders/P02/%00"),
        *(f"/v1/accounts/{LENDER}/balance", f"/v1/accounts/{LENDER}/{period}", f"/v1/accounts/%00/{period}"),
        *("/v1/platforms/P01/balances", "/v1/platforms/%00/balances"),
    ):
        assert api.client.get(path, headers=foreign).status_code == 404, path


def test_a_balance_lists_its_holds_and_a_platform_sums_to_nothing(api: Any) -> None:
    api.recharge(LENDER, 100)
    hold = {"hold_no": "H-1", "account": LENDER, "amount_minor": 40}
    assert api.post(api.order("TENDER", place_holds=[hold])).status_code == 201
    found = api.balance(LENDER, detail="true")
    assert (found["balance_minor"], found["held_minor"], found["available_minor"]) == (100, 40, 60)
    assert found["holds"] == [{"is_legal": False, "order_type": "TENDER", "holds": 1, "held_minor": 40}]
    sums = api.client.get("/v1/platforms/P01/balances").json()
    assert sums["sum_minor"]["CNY"] == 0
    controls = {row["control_account_no"]: row["balance_minor"] for row in sums["rows"] if row["control_account_no"]}
    assert controls[CHANNEL] == -100
