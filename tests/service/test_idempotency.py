"""The same key answers the same; another body is told what differs; refusals are judged anew (architecture section 6.3)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from transactional.batch import of_order
from transactional.bodies import Order, decode
from transactional.posting import Poster
from transactional.problems import Problem

LENDER, CHANNEL = "P01-L-000001", "P01-X-CHANNEL-PC01"
BODY = b"""{"platform_id":"P01","request_no":"R","order_type":"RECHARGE","currency":"CNY","movements":[
    {"movement_type":"RECHARGE","debit_account":"P01-X-CHANNEL-PC01","credit_account":"P01-L-000001","amount_minor":5}]}"""


def test_a_replay_gives_the_first_answer_again_and_posts_nothing(api: Any) -> None:
    body = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10))
    first = api.post(body, "key")
    before = api.content()
    # the same content in another form: keys in another order, defaults spelt out
    again = api.post({**dict(reversed(body.items())), "place_holds": [], "reverses_request_no": None}, "key")
    assert "Idempotency-Replayed" not in first.headers
    assert (again.status_code, again.text, again.headers["Idempotency-Replayed"]) == (201, first.text, "true")
    assert api.content() == before


def test_the_same_key_with_another_body_is_told_which_fields_differ(api: Any) -> None:
    body = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10))
    api.post(body, "key")
    before = api.content()
    other = {**body, "request_no": "OTHER", "movements": [{**body["movements"][0], "amount_minor": 11}]}
    answer = api.post(other, "key")
    assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert answer.json()["fields"] == ["movements[0].amount_minor", "request_no"]
    assert api.content() == before


def test_a_refusal_does_not_use_up_its_key(api: Any) -> None:
    body = api.order("WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 10))
    assert api.post(body, "key").status_code == 422
    api.recharge(LENDER, 10)
    assert api.post(body, "key").status_code == 201


def test_a_bulk_call_is_replayed_as_a_whole(api: Any) -> None:
    bulk = {"orders": [api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10)) for _ in range(3)]}
    first = api.post(bulk, "key", "/v1/orders/bulk")
    again = api.post(bulk, "key", "/v1/orders/bulk")
    assert (again.status_code, again.text, again.headers["Idempotency-Replayed"]) == (201, first.text, "true")
    bulk["orders"][2]["movements"][0]["amount_minor"] = 9
    assert api.post(bulk, "key", "/v1/orders/bulk").json()["fields"] == ["orders[2].movements[0].amount_minor"]
    assert api.balance(LENDER)["balance_minor"] == 30


@pytest.mark.parametrize("key", ["", " ", "k" * 256])
def test_without_a_usable_key_nothing_is_posted(api: Any, key: str) -> None:
    body = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10))
    answer = api.client.post("/v1/orders", json=body, headers={"Idempotency-Key": key} if key else {})
    assert (answer.status_code, answer.json()["code"]) == (400, "IDEMPOTENCY_KEY_MISSING")


def test_of_equal_requests_at_once_one_is_posted(api: Any) -> None:
    body = api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 10))
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: api.post(body, "key"), range(30)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert all(
        answer.json()["code"] == "IN_FLIGHT" and answer.headers["Retry-After"] for answer in answers if answer.status_code == 409
    )
    assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
    assert api.balance(LENDER)["balance_minor"] == 10


def test_a_key_in_flight_and_a_full_queue_are_told_to_come_back(test_settings: Any) -> None:
    async def fill() -> list[Problem]:
        poster = Poster(test_settings, queue_max=1)  # never started: what is queued stays queued
        order = decode(Order, BODY)
        waiting = poster.submit(of_order("*", "first", order))
        refused = []
        for key in ("first", "second"):
            with pytest.raises(Problem) as caught:
                poster.submit(of_order("*", key, order))
            refused.append(caught.value)
        await poster.stop()
        with pytest.raises(Problem) as unknown:
            await waiting
        return [*refused, unknown.value]

    problems = asyncio.run(fill())
    assert [problem.code for problem in problems] == ["IN_FLIGHT", "QUEUE_FULL", "OUTCOME_UNKNOWN"]
    answers = [problem.response() for problem in problems]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(409, "1"), (503, "1"), (503, "1")]
