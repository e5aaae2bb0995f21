"""A stream of orders: posted part by part while it arrives, gone on with under the same key, ended by the first refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transactional.order_stream import cut
from transactional.problems import Problem
from transactional.verify import verify

LENDER, CHANNEL = "P01-L-000001", "P01-X-CHANNEL-PC01"
STREAM = "/v1/orders/stream"


def _line(number: int, amount: Any = 1, credit: str = LENDER, moves: int = 1) -> bytes:
    leg = {"movement_type": "RECHARGE", "debit_account": CHANNEL, "credit_account": credit, "amount_minor": amount}
    order = {"platform_id": "P01", "request_no": f"S-{number}", "order_type": "RECHARGE", "currency": "CNY"}
    return json.dumps({**order, "movements": [leg] * moves}).encode()


def _send(api: Any, lines: Iterable[bytes], key: str = "stream", query: str = "") -> Any:
    headers = {"Idempotency-Key": key, "Content-Type": "application/x-ndjson"}
    return api.client.post(f"{STREAM}{query}", content=b"\n".join(lines) + b"\n", headers=headers)


def _said(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def _orders(api: Any) -> int:
    return int(api.rows("SELECT count(*) FROM ledger.trade_order")[0][0])


def test_a_stream_is_posted_a_thousand_lines_at_a_time_and_replays_as_a_whole(api: Any) -> None:
    lines = [_line(number) for number in range(2_345)]
    said = _said(_send(api, lines))
    assert [(part.get("first_line"), part["lines"], part.get("movements")) for part in said] == [
        (1, 1_000, 1_000),
        (1_001, 1_000, 1_000),
        (2_001, 345, 345),
        (None, 2_345, None),
    ]
    assert said[-1] == {"done": True, "lines": 2_345}
    before = api.content()
    again = _said(_send(api, lines))
    assert all(part["is_replay"] for part in again[:-1]) and again[-1] == said[-1]
    assert api.content() == before
    assert verify(api.service_url).faults == ()


def test_a_bad_line_ends_the_stream_there_and_the_corrected_rest_goes_on_under_the_same_key(api: Any) -> None:
    lines = [_line(number) for number in range(2_500)]
    broken = [*lines[:1_700], _line(1_700, amount=1.5), *lines[1_701:]]
    posted, refused = _said(_send(api, broken))
    assert posted["lines"] == 1_000
    assert (refused["first_line"], refused["problem"]["code"]) == (1_001, "BODY_INVALID")
    assert "line 1701: movements[0].amount_minor" in refused["problem"]["field"]
    assert _orders(api) == 1_000
    said = _said(_send(api, lines))
    assert [part.get("is_replay", False) for part in said] == [True, False, False, False] and said[-1]["done"]
    assert _orders(api) == 2_500


def test_each_order_has_its_own_verdict_where_the_stream_asks_for_it(api: Any) -> None:
    lines = [_line(number, credit=LENDER if number % 2 else "P01-L-999999") for number in range(1_100)]
    said = _said(_send(api, lines, query="?atomic=false"))
    assert [len(part["results"]) for part in said[:-1]] == [1_000, 100]
    assert _orders(api) == 550


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        ([], 400, "MALFORMED_JSON"),
        ([b"", _line(1)], 400, "MALFORMED_JSON"),
        ([_line(1), b"[]"], 400, "MALFORMED_JSON"),
        ([b'{"platform_id": "P01"},{"request_no": "S-1"', b'"currency": "CNY"}'], 400, "MALFORMED_JSON"),
        ([_line(1) + b"," + _line(2)], 400, "MALFORMED_JSON"),
        ([_line(1)[:-1] + b', "currency": "CNY"}'], 400, "DUPLICATE_FIELD"),
        ([_line(1), _line(1)], 409, "REQUEST_NO_TAKEN"),
        ([_line(1), _line(2, credit="P01-L-999999")], 422, "UNKNOWN_ACCOUNT"),
        ([b'{"a": "' + b"x" * 5_000_000 + b'"}'], 413, "BODY_TOO_LARGE"),
        ([b"\xff\xfe{}"], 400, "MALFORMED_JSON"),
    ],
)
def test_a_fault_in_the_first_part_is_answered_as_such_and_writes_nothing(
    api: Any, lines: list[bytes], status: int, code: str
) -> None:
    before = api.content()
    answer = _send(api, lines)
    assert answer.json()["code"] == code, answer.text
    assert answer.status_code == status or (answer.status_code, status) == (422, 400)
    assert answer.headers["content-type"] == "application/problem+json"
    assert api.content() == before


def test_a_dry_run_says_what_one_part_would_become_and_refuses_more(api: Any) -> None:
    before = api.content()
    said = _said(_send(api, [_line(number) for number in range(3)], query="?dry_run=true"))
    assert said[0]["is_dry_run"] and said[0]["movements"] == 3
    answer = _send(api, [_line(number) for number in range(1_001)], query="?dry_run=true")
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAMETER_INVALID"), answer.text
    assert api.content() == before


def test_orders_of_many_movements_fill_a_part_sooner(api: Any) -> None:
    said = _said(_send(api, [_line(number, moves=4_000) for number in range(5)]))
    assert [part["lines"] for part in said] == [2, 2, 1, 5]


def test_over_the_wire_a_stream_is_answered_while_it_is_sent_and_a_broken_one_goes_on(wire: Any) -> None:
    lines = [_line(number) for number in range(2_000)]
    chunks = b"".join(b"%x\r\n%s\n\r\n" % (len(line) + 1, line) for line in lines[:1_500])
    with wire.connect() as sock, sock.makefile("rb") as answer:
        sock.sendall(wire.request(chunks, "broken", "Transfer-Encoding: chunked", path=STREAM))
        assert answer.readline().split()[1] == b"200"
        while answer.readline().strip():
            pass
        answer.readline()  # the size of a chunk
        assert json.loads(answer.readline())["lines"] == 1_000  # while 500 lines and the end are still to come
    headers = {"Authorization": f"Bearer {wire.key}", "Idempotency-Key": "broken", "Content-Type": "application/x-ndjson"}
    whole = httpx2.post(f"{wire.url}{STREAM}", content=b"\n".join(lines), headers=headers)
    said = [json.loads(line) for line in whole.text.splitlines()]
    assert [part.get("is_replay", False) for part in said] == [True, False, False] and said[-1] == {"done": True, "lines": 2_000}


async def _pieces(text: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    places = [0, *sorted({size % (len(text) + 1) for size in sizes}), len(text)]
    for start, end in pairwise(places):
        yield text[start:end]


async def _parts(text: bytes, sizes: list[int]) -> list[tuple[int, list[bytes]]]:
    return [(part.first_line, part.lines) async for part in cut(_pieces(text, sizes))]


@given(st.lists(st.integers(0, 10**6), max_size=12), st.integers(1, 2_200), st.booleans())
def test_a_stream_is_cut_alike_however_it_arrives(sizes: list[int], count: int, is_ended: bool) -> None:
    text = b"\n".join(b'{"n":%d}' % number for number in range(count)) + b"\r\n" * is_ended
    assert asyncio.run(_parts(text, sizes)) == asyncio.run(_parts(text, []))


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async def read() -> None:
        async for _ in cut(endless()):
            pass

    with pytest.raises(Problem, match="line 1 is longer"):
        asyncio.run(read())
