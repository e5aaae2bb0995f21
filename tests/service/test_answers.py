"""Answers about money have the fields that the document says, of the kinds it says, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

LENDER, OTHER, PAYABLE, INCOME = "P01-L-000001", "P01-L-000002", "P01-X-WITHDRAWAL", "P01-F-INCOME"
CLOSED = {
    ("post", "/v1/orders"),
    ("post", "/v1/orders/bulk"),
    ("get", "/v1/orders"),
    ("get", "/v1/movements"),
    ("get", "/v1/holds"),
    ("get", "/v1/accounts"),
    ("get", "/v1/accounts/{account_no}"),
    ("get", "/v1/accounts/{account_no}/balance"),
    ("get", "/v1/accounts/{account_no}/movements"),
    ("get", "/v1/accounts/{account_no}/statement"),
    ("get", "/v1/platforms/{platform_id}/balances"),
    ("get", "/v1/customers/{platform_id}/{customer_no}/statement"),
    ("post", "/v1/limits/check"),
    ("post", "/v1/withdrawals"),
    ("post", "/v1/withdrawals/{withdrawal_no}/confirmation"),
    ("get", "/v1/withdrawals"),
    ("get", "/v1/withdrawals/{withdrawal_no}"),
    ("post", "/v1/recharges"),
    ("post", "/v1/recharges/{request_no}/outcome"),
    ("post", "/v1/recharges/{request_no}/backroll"),
    ("get", "/v1/recharges"),
    ("get", "/v1/recharges/{request_no}"),
    ("get", "/v1/breaks"),
    ("get", "/v1/breaks/{item_id}"),
    ("post", "/v1/breaks/{item_id}/state"),
}


class Reader:
    """Compares every answer with the schema that the document has for it."""

    def __init__(self, api: Any) -> None:
        self.api, self.document, self.seen = api, api.client.get("/openapi.json").json(), set[tuple[str, str]]()

    def schema(self, method: str, path: str, status: str) -> dict[str, Any]:
        found: dict[str, Any] = self.document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
        return {**found, "components": self.document["components"]}

    def check(self, method: str, path: str, answer: Any) -> Any:
        assert answer.status_code in (200, 201), answer.text
        found = answer.json()
        faults = list(Draft202012Validator(self.schema(method, path, str(answer.status_code))).iter_errors(found))
        assert not faults, (path, [(list(fault.absolute_path), fault.message) for fault in faults])
        self.seen.add((method, path))
        return found

    def get(self, path: str, **parameters: Any) -> Any:
        query = {name: parameters.pop(name) for name in list(parameters) if "{" + name + "}" not in path}
        return self.check("get", path, self.api.client.get(path.format(**parameters), params=query))

    def post(self, path: str, body: Any, /, dry_run: bool = False, **parameters: Any) -> Any:
        where = path.format(**parameters) + ("?dry_run=true" if dry_run else "")
        return self.check("post", path, self.api.post(body, path=where))


@pytest.fixture
def reader(api: Any) -> Reader:
    """A service at a standing clock, with money on an account."""
    assert api.client.post("/v1/clock", json={"now": "2026-08-31T02:00:00Z"}).status_code == 200
    found = Reader(api)
    found.post("/v1/orders", api.order("RECHARGE", ("RECHARGE", "P01-X-CHANNEL-PC01", LENDER, 5_000)), dry_run=True)
    api.recharge(LENDER, 5_000)
    return found


def _money(reader: Reader) -> None:
    api = reader.api
    hold = [{"hold_no": "H-1", "account": LENDER, "amount_minor": 10}]
    movement = ("TENDER", LENDER, "P01-B-000001", 7)
    reader.post("/v1/orders", api.order("TENDER", place_holds=hold))
    reader.post("/v1/orders/bulk", {"orders": [api.order("DISBURSE", movement), api.order("DISBURSE", movement)]})
    too_much = api.order("DISBURSE", ("TENDER", OTHER, "P01-B-000001", 7))
    each = reader.post("/v1/orders/bulk", {"orders": [api.order("DISBURSE", movement), too_much], "atomic": False})
    assert [one["status"] for one in each["results"]] == ["posted", "refused"]
    paid = {"platform_id": "P01", "withdrawal_no": "W-1", "account": LENDER, "amount_minor": 600, "speed": "T1"}
    reader.post("/v1/withdrawals", {**paid, "fee_minor": 5, "fee_account": INCOME})
    said = {"platform_id": "P01", "confirmed": True, "method": "OTP", "evidence_hash": "ab" * 32}
    reader.post("/v1/withdrawals/{withdrawal_no}/confirmation", said, withdrawal_no="W-1")
    announced = {"platform_id": "P01", "account": LENDER, "paycom_id": "PC01", "channel": "WEB", "amount_minor": 600}
    for number in ("RC-1", "RC-2"):
        reader.post("/v1/recharges", {**announced, "request_no": number})
    told = {"platform_id": "P01", "outcome": "PAID", "paycom_order_no": "PAY-1", "amount_minor": 600}
    reader.post("/v1/recharges/{request_no}/outcome", told, request_no="RC-1")
    failed = {"platform_id": "P01", "outcome": "FAILED", "reason": "51: no money"}
    reader.post("/v1/recharges/{request_no}/outcome", failed, request_no="RC-2")
    reader.post("/v1/recharges/{request_no}/backroll", {"platform_id": "P01", "reason": "back"}, request_no="RC-1")
    asked = {"platform_id": "P01", "customer_no": "P01-C000001", "currency": "CNY", "amount_minor": 1}
    assert reader.post("/v1/limits/check", asked)["rules"]
    assert reader.post("/v1/limits/check", {**asked, "currency": "USD"})["decided_by"] is None


def test_answers_about_money_have_the_fields_of_the_document_and_no_other(reader: Reader) -> None:
    _money(reader)
    for path in ("orders", "movements", "holds", "accounts", "withdrawals", "recharges"):
        page = reader.get(f"/v1/{path}", limit=1, **({"platform_id": "P01"} if path in ("withdrawals", "recharges") else {}))
        assert page["rows"], path
    reader.get("/v1/breaks", platform_id="P01")
    reader.get("/v1/accounts/{account_no}", account_no=LENDER)
    for more in ({}, {"detail": "true"}):
        reader.get("/v1/accounts/{account_no}/balance", account_no=LENDER, **more)
    assert len(reader.get("/v1/accounts/{account_no}/movements", account_no=LENDER, limit=3)["movements"]) == 3
    reader.get("/v1/withdrawals/{withdrawal_no}", withdrawal_no="W-1", platform_id="P01")
    reader.get("/v1/recharges/{request_no}", request_no="RC-1", platform_id="P01")
    assert reader.api.client.post("/v1/clock", json={"now": "2026-09-01T02:00:00Z"}).status_code == 200
    span = {"from": "2026-08-31", "to": "2026-08-31"}
    assert reader.get("/v1/accounts/{account_no}/statement", account_no=LENDER, **span)["rows"]
    reader.get("/v1/platforms/{platform_id}/balances", platform_id="P01")
    month = {"platform_id": "P01", "customer_no": "P01-C000001", "month": "2026-08"}
    assert reader.get("/v1/customers/{platform_id}/{customer_no}/statement", **month)["accounts"]
    # tests/service/test_breaks.py compares what is answered of one item
    assert reader.seen == CLOSED - {("post", "/v1/breaks/{item_id}/state"), ("get", "/v1/breaks/{item_id}")}


def test_every_answer_about_money_is_closed(reader: Reader) -> None:
    for method, path in sorted(CLOSED):
        told = reader.schema(method, path, "201" if method == "post" else "200")
        schema = told["components"]["schemas"][told["$ref"].rpartition("/")[2]]
        assert schema["additionalProperties"] is False, path
        assert set(schema["required"]) <= set(schema["properties"])
        assert not Draft202012Validator(told).is_valid({"unknown": 1}), path
