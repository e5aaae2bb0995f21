"""Every write that moves or holds money: bad bodies are typed and write nothing, a dry run answers what the real write does."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import pytest

from tests.service.loans.conftest import BORROWING, GUARANTEEING, GUARANTOR, LENDERS

TOTAL = sum(LENDERS.values())
LENDER, CHANNEL, INCOME, SUPPLIER = "P01-L-000001", "P01-X-CHANNEL-PC01", "P01-F-INCOME", "P01-S-1"
# POST paths that post an order or place a hold, in the order in which this market can do them
MONEY = (
    "/v1/orders",
    "/v1/orders/bulk",
    "/v1/loans/{loan_no}/bids",
    "/v1/loans/{loan_no}/disbursement",
    "/v1/loans/{loan_no}/failed-raise",
    "/v1/loans/{loan_no}/repayments",
    "/v1/loans/{loan_no}/prepayments",
    "/v1/loans/{loan_no}/entrusted-payments",
    "/v1/deals/{deal_no}/payment",
    "/v1/urgent-payments",
    "/v1/urgent-returns",
    "/v1/marketing-payments",
    "/v1/service-fees",
    "/v1/loans/{loan_no}/compensations",
    "/v1/guarantee-calls/{call_no}/payment",
    "/v1/subrogations/{claim_no}/repayments",
    "/v1/withdrawals",
    "/v1/withdrawals/{withdrawal_no}/confirmation",
    "/v1/recharges",
    "/v1/recharges/{request_no}/outcome",
    "/v1/recharges/{request_no}/backroll",
)
# Money moves here, too, after a decision of two people or the word of core banking; tested beside those.
BY_OTHERS = {
    "/v1/approvals/{approval_id}/decision",
    "/v1/adjustments/{adjustment_id}/posting",
    "/v1/outside/core-banking/status",
}
# what differs between two runs of the same write by its nature
OF_ITS_OWN = {"order_id", "backroll_order_id", "movement_ids", "movement_id", "recorded_at", "bid_id"}
BAD_AMOUNTS: list[Any] = [1.0, 1.5, -1, 0, 2**63, 10**30, "5", None, True, [5], {"minor": 5}]
BAD_IDS = ["", " ", "a b", "Ｐ01", "Р01", "P01\u200b", "a" * 65, "P01\n", "\x00", 7, None]
BAD_CURRENCIES = ["cny", "XXX", "CNYY", "", "ＣＮＹ", 156]
BAD_TIMES = ["yesterday", "2026-02-30T00:00:00Z", "1066-10-14T00:00:00Z", "9999-12-31T00:00:00Z", "2026-08-01T00:00:00", 0]
BAD_TEXTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"NaN",
    b'{"a": 1e3}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
]


def _bodies(market: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """Path and valid body of each money write; called once a market, whose loans stand as each needs them."""
    for number in ("L-1", "L-2"):
        market.register(number, contract_minor=TOTAL)
        market.status(number, "6", "2026-01-05")
    for account, amount in LENDERS.items():
        market.api.recharge(account, 4 * amount)
    order = market.api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 5))
    bulk = {"orders": [market.api.order("RECHARGE", ("RECHARGE", CHANNEL, LENDER, 5)) for _ in range(2)]}
    withdrawal = {"withdrawal_no": "W-1", "account": LENDER, "amount_minor": 60, "speed": "T1"}
    confirmation = {"confirmed": True, "method": "OTP", "evidence_hash": "ab" * 32}
    recharge = {"request_no": "RC-1", "account": LENDER, "paycom_id": "PC01", "channel": "WEB", "amount_minor": 60}
    paid = {"outcome": "PAID", "paycom_order_no": "PAY-1", "amount_minor": 60}
    bid = {"bid_no": "BID-2", "account": LENDER, "amount_minor": LENDERS[LENDER]}
    disbursed = {"request_no": "DISB-1", "borrower_account": BORROWING, "amount_minor": TOTAL}
    fees = [{"credit_account": INCOME, "amount_minor": 3}]
    prepayment = {"request_no": "PRE-5", "account": BORROWING, "principal_minor": 100, "interest_minor": 0}
    urgent = {"urgent_account": "P01-F-URGENT", "account": LENDER, "amount_minor": 30}
    part = [{"account": LENDER, "amount_minor": 7}]
    for number in ("L-5", "L-6", "L-7"):
        market.lend(number)
    return {
        "/v1/orders": ("orders", order),
        "/v1/orders/bulk": ("orders/bulk", bulk),
        "/v1/loans/{loan_no}/bids": ("loans/L-2/bids", bid),
        "/v1/loans/{loan_no}/disbursement": ("loans/L-1/disbursement", {**disbursed, "fees": fees}),
        "/v1/loans/{loan_no}/failed-raise": ("loans/L-2/failed-raise", {"request_no": "FAIL-2", "reason": "not filled"}),
        "/v1/loans/{loan_no}/repayments": (
            "loans/L-1/repayments",
            {"request_no": "PAY-1", "account": BORROWING, "amount_minor": 90},
        ),
        "/v1/loans/{loan_no}/prepayments": ("loans/L-5/prepayments", prepayment),
        "/v1/loans/{loan_no}/entrusted-payments": (
            "loans/L-5/entrusted-payments",
            {"request_no": "ENT-5", "account": BORROWING, "payee_account": SUPPLIER, "amount_minor": 40},
        ),
        "/v1/deals/{deal_no}/payment": (
            "deals/D-6/payment",
            {"request_no": "BUY-6", "buyer_account": "P01-L-000002", "fee_account": INCOME, "claim_no": "C-6"},
        ),
        "/v1/urgent-payments": ("urgent-payments", {**urgent, "request_no": "U-1"}),
        "/v1/urgent-returns": ("urgent-returns", {**urgent, "request_no": "U-2"}),
        "/v1/marketing-payments": (
            "marketing-payments",
            {"request_no": "M-1", "marketing_account": "P01-F-MARKETING", "payments": part},
        ),
        "/v1/service-fees": ("service-fees", {"request_no": "F-1", "income_account": INCOME, "fees": part}),
        "/v1/loans/{loan_no}/compensations": (
            "loans/L-1/compensations",
            {"request_no": "COMP-1", "account": GUARANTEEING, "amount_minor": 50},
        ),
        "/v1/guarantee-calls/{call_no}/payment": (
            "guarantee-calls/K-7/payment",
            {"request_no": "G-7", "account": GUARANTEEING, "amount_minor": 60, "claim_no": "SUB-7"},
        ),
        "/v1/subrogations/{claim_no}/repayments": (
            "subrogations/SUB-7/repayments",
            {"request_no": "B-7", "account": BORROWING, "amount_minor": 50},
        ),
        "/v1/withdrawals": ("withdrawals", withdrawal),
        "/v1/withdrawals/{withdrawal_no}/confirmation": ("withdrawals/W-1/confirmation", confirmation),
        "/v1/recharges": ("recharges", recharge),
        "/v1/recharges/{request_no}/outcome": ("recharges/RC-1/outcome", paid),
        "/v1/recharges/{request_no}/backroll": ("recharges/RC-1/backroll", {"reason": "charged back"}),
    }


def _prepare(market: Any, path: str) -> None:
    """What has to be there before a write."""
    if path.endswith("disbursement"):
        for account, amount in LENDERS.items():
            market.done("loans/L-1/bids", {"bid_no": f"BID-1-{account[-1]}", "account": account, "amount_minor": amount})
        market.status("L-1", "1", "2026-01-15")
    elif path.endswith("{loan_no}/repayments"):
        market.done("loans/L-1/plan?generate=true", {"reason": "ORIGINAL", "valid_from": "2026-01-15"})
    elif path.endswith("entrusted-payments"):
        registered = {"account_no": SUPPLIER, "platform_id": "P01", "account_role": "SUPPLIER", "currency": "CNY"}
        urgent = {**registered, "account_no": "P01-F-URGENT", "account_role": "PLATFORM_URGENT"}
        assert market.api.client.post("/v1/registry", json={"sub_accounts": [registered, urgent]}).status_code == 200
        listed = sha256(SUPPLIER.encode()).hexdigest()
        entry = {"kind": "ACCOUNT", "value": listed, "holds_from": "2026-01-15", "valid_from": "2026-01-15"}
        market.api.approved("WHITE_LIST", listed, entry, platform_id="P01")
    elif path.endswith("deals/{deal_no}/payment"):
        days = {"listed_on": "2026-01-15", "expires_on": "2026-02-28"}
        terms = {"principal_minor": 500, "price_minor": 490}
        market.done("transfers", {"listing_no": "S-6", "claim_no": "L-6-CL-1", **terms, **days})
        deal = {"deal_no": "D-6", "buyer_customer_no": "P01-C000002", "fee_minor": 5, "agreed_on": "2026-01-15"}
        market.done("transfers/S-6/deals", {**deal, **terms})
    elif path.endswith("urgent-payments"):
        for target in ("P01-F-URGENT", "P01-F-MARKETING"):
            movements = (("OWN_FUNDS_IN", "P01-X-SPECIAL", "P01-X-OWNFUNDS", 90), ("TOP_UP", "P01-X-OWNFUNDS", target, 90))
            assert market.api.post(market.api.order("TOP_UP", *movements)).status_code == 201
    elif path.endswith("compensations"):
        policy = {"policy_no": "G-7", "loan_no": "L-7", "customer_no": GUARANTOR, "coverage": "PRINCIPAL_AND_INTEREST"}
        terms = {
            "cover_minor": 9_000,
            "waiting_days": 0,
            "premium_minor": 0,
            "valid_from": "2026-01-15",
            "valid_to": "2026-12-31",
        }
        market.done("guarantees", {**policy, **terms})
        market.at("2026-02-20")
        market.api.recharge(GUARANTEEING, 1_000)
        called = {"call_no": "K-7", "issue_no": 1, "called_minor": 60, "called_on": "2026-02-20", "due_on": "2026-02-27"}
        market.done("guarantees/G-7/calls", called)


def _content(market: Any) -> Any:
    return market.content(), market.api.content(), market.api.rows("SELECT count(*) FROM payments.withdrawal, payments.recharge")


def _same(value: Any) -> Any:
    """An answer without what two runs never share."""
    if isinstance(value, dict):
        return {name: _same(part) for name, part in value.items() if name not in OF_ITS_OWN}
    return [_same(part) for part in value] if isinstance(value, list) else value


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for name, part in parts for leaf in _leaves(part, (*path, name))]
    return found if isinstance(value, (dict, list)) else [(path, value)]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    at = copy
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = new
    return copy


def _bad(body: dict[str, Any]) -> list[bytes]:
    """Bodies that are wrong in one place each."""
    found = list(BAD_TEXTS)
    for path, value in _leaves(body):
        name = path[-1]
        wrong = BAD_AMOUNTS if isinstance(value, int) and not isinstance(value, bool) else []
        if isinstance(value, str) and (str(name).endswith(("_no", "account", "platform_id")) or name == "platform_id"):
            wrong = [one for one in BAD_IDS if one is not None or name != "claim_no"]  # which may be left out
        elif name == "currency":
            wrong = BAD_CURRENCIES
        found += [json.dumps(_with(body, path, one)).encode() for one in wrong if one != value or isinstance(one, bool)]
    text = json.dumps(body)
    found.append((text[:-1] + ', "unheard_of": 1}').encode())
    found.append(("{" + json.dumps("platform_id") + ': "P01", ' + text[1:]).encode() if "platform_id" in body else b"{}")
    found += [json.dumps({**body, "simulated_at": time, "effective_at": time, "expires_at": time}).encode() for time in BAD_TIMES]
    return found


def _send(market: Any, path: str, content: bytes, number: int) -> Any:
    headers = {"Idempotency-Key": f"bad-{path}-{number}", "Content-Type": "application/json"}
    return market.api.client.post(f"/v1/{path}", content=content, headers=headers)


@pytest.mark.timeout(900)
def test_each_money_write_refuses_bad_bodies_rehearses_and_then_does_what_it_rehearsed(market: Any) -> None:
    bodies = _bodies(market)
    assert tuple(bodies) == MONEY
    for path, (url, given) in bodies.items():
        _prepare(market, path)
        body = given if "orders" in path else {"platform_id": "P01", **given}
        before = _content(market)
        for number, content in enumerate(_bad(body)):
            answer = _send(market, url, content, number)
            document = answer.json()
            assert 400 <= answer.status_code < 500 and document["code"], (path, content[:300], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        assert _content(market) == before, path
        dry = market.api.post(body, path=f"/v1/{url}?dry_run=true", key=f"same-{path}")
        assert (dry.status_code, dry.headers["fundwatch-dry-run"]) == (200, "true"), (path, dry.text)
        assert _content(market) == before, path
        real = market.api.post(body, path=f"/v1/{url}", key=f"same-{path}")
        assert real.status_code == 201, (path, real.text)
        assert _same(real.json()) == _same(dry.json()), path
        assert _content(market) != before, path
    assert market.faults() == []


def test_ten_megabytes_are_too_large_for_every_money_write(market: Any) -> None:
    for path in MONEY:
        url = re.sub(r"{\w+}", "L-1", path.removeprefix("/v1/"))
        answer = _send(market, url, b" " * (33 * 1024 * 1024), 0)
        assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE"), path


def test_every_path_that_posts_orders_is_looked_at_here_or_named(market: Any) -> None:
    document = market.api.client.app.openapi()
    tags = {"orders", "withdrawals", "recharges", "platform money"}
    writes = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    posting = {
        path
        for path, post in writes.items()
        if tags & set(post["tags"]) or "/loans/{loan_no}/" in path or path.endswith(("/payment", "/repayments"))
    }
    not_money = {f"/v1/loans/{{loan_no}}/{what}" for what in ("terms", "status", "plan")}
    not_money.add("/v1/advances/{withdrawal_no}/repayment")  # says that the bank has its own money back
    not_money.add("/v1/orders/stream")  # lines, each a bulk call's order: tests/service/test_order_stream.py
    assert posting - not_money == set(MONEY)
    assert set(document["paths"]) >= BY_OTHERS
