"""Posting over real sockets, as the service's process answers it: pipelines, chunks, ends of connections, what is not plain."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

NUMBERS = count(1)


def _order(amount: Any = 5) -> bytes:
    leg = {"movement_type": "RECHARGE", "debit_account": "P01-X-CHANNEL-PC01", "credit_account": "P01-L-000001"}
    body = {"platform_id": "P01", "request_no": f"W-{next(NUMBERS)}", "order_type": "RECHARGE", "currency": "CNY"}
    return json.dumps({**body, "movements": [{**leg, "amount_minor": amount}]}).encode()


def _answer(stream: Any) -> tuple[int, dict[str, str], Any]:
    status = int(stream.readline().split()[1])
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, json.loads(stream.read(int(headers["content-length"])))


def test_requests_sent_together_on_one_connection_are_answered_in_their_order(wire: Any) -> None:
    with wire.connect() as line, line.makefile("rb") as stream:
        orders = [_order() for _ in range(5)]
        line.sendall(b"".join(wire.request(order, f"pipe-{number}") for number, order in enumerate(orders)))
        for order in orders:
            status, _, answer = _answer(stream)
            assert (status, answer["request_no"]) == (201, json.loads(order)["request_no"])


def test_a_body_in_chunks_and_in_pieces_is_one_order(wire: Any) -> None:
    order = _order()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (order[:7], order[7:60], order[60:])) + b"0\r\n\r\n"
    sent = wire.request(chunks, "chunked", "Transfer-Encoding: chunked")
    with wire.connect() as line, line.makefile("rb") as stream:
        for place in range(0, len(sent), 50):
            line.sendall(sent[place : place + 50])
        status, _, first = _answer(stream)
        assert status == 201
        line.sendall(wire.request(order, "chunked"))
        status, headers, again = _answer(stream)
        assert (status, again, headers["idempotency-replayed"]) == (201, first, "true")


def test_a_connection_is_closed_when_the_client_asks_or_speaks_http_1_0(wire: Any) -> None:
    for more, version in ((("Connection: close",), "1.1"), ((), "1.0")):
        with wire.connect() as line, line.makefile("rb") as stream:
            line.sendall(wire.request(_order(), f"close-{version}", *more, version=version))
            status, headers, _ = _answer(stream)
            assert (status, headers.get("connection")) == (201, "close")
            assert stream.read() == b""


def test_a_body_beyond_the_limit_is_refused_while_it_comes_and_the_service_goes_on(wire: Any) -> None:
    with wire.connect() as line, line.makefile("rb") as stream:
        head = wire.request(b"", "large").replace(b"Content-Length: 0", b"Content-Length: 50000000")
        line.sendall(head)
        try:
            for _ in range(800):
                line.sendall(b" " * 65_536)
        except OSError:
            pass  # the service hung up, as it may
        status, headers, answer = _answer(stream)
        assert (status, headers["content-type"], answer["code"]) == (413, "application/problem+json", "BODY_TOO_LARGE")
    with wire.connect() as line, line.makefile("rb") as stream:
        line.sendall(wire.request(_order(), "after-large"))
        assert _answer(stream)[0] == 201


def test_refusals_at_the_wire_are_problem_documents_with_their_headers(wire: Any) -> None:
    cases = [
        (wire.request(_order(1.5), "float"), 400, "BODY_INVALID"),
        (wire.request(b"{", "cut"), 400, "MALFORMED_JSON"),
        (wire.request(_order(), " "), 400, "IDEMPOTENCY_KEY_MISSING"),
        (wire.request(_order(), "who").replace(wire.key.encode(), b"nobody"), 401, "NOT_AUTHENTICATED"),
    ]
    with wire.connect() as line, line.makefile("rb") as stream:
        for sent, expected, code in cases:
            line.sendall(sent)
            status, headers, answer = _answer(stream)
            assert (answer["code"], headers["content-type"]) == (code, "application/problem+json")
            assert status == answer["status"] and (status == expected or code == "BODY_INVALID")


def test_dry_runs_expectations_and_proxied_requests_are_answered_by_the_application(wire: Any) -> None:
    with wire.connect() as line, line.makefile("rb") as stream:
        line.sendall(wire.request(_order(), "dry", path="/v1/orders?dry_run=true"))
        status, headers, _ = _answer(stream)
        assert (status, headers["fundwatch-dry-run"]) == (200, "true")
        line.sendall(wire.request(_order(), "proxied", "X-Forwarded-For: 10.1.2.3"))
        assert _answer(stream)[0] == 201
        order = _order()
        head, _, body = wire.request(order, "expected", "Expect: 100-continue").partition(b"\r\n\r\n")
        line.sendall(head + b"\r\n\r\n")
        assert stream.readline().split()[1] == b"100" and stream.readline() == b"\r\n"
        line.sendall(body)
        assert _answer(stream)[0] == 201


def test_a_client_that_goes_away_in_the_middle_of_a_body_leaves_nothing(wire: Any) -> None:
    order = _order()
    with wire.connect() as line:
        line.sendall(wire.request(order, "gone")[:-20])
    with wire.connect() as line, line.makefile("rb") as stream:
        line.sendall(wire.request(order, "gone"))
        status, headers, _ = _answer(stream)
        assert (status, headers.get("idempotency-replayed")) == (201, None)
