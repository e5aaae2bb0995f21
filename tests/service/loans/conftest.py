"""A small lending market over the service: one borrower, three lenders, a guarantor, a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

BORROWER, GUARANTOR = "P01-C000003", "P01-C000004"
BORROWING, GUARANTEEING = "P01-B-000003", "P01-G-000004"
LENDERS = {"P01-L-000001": 60_000, "P01-L-000002": 40_001}
TERMS = {
    "contract_minor": 200_000,
    "annual_rate": "0.12",
    "term_months": 3,
    "plan_type": "EQUAL_PRINCIPAL",
    "purpose_code": "1",
    "security_type": "GUARANTEE",
    "raise_start": "2026-01-05",
    "raise_end": "2026-01-20",
}


@dataclass
class Market:
    """What tests of the loans side do to the service, as platform P01."""

    api: Any

    def at(self, day: str) -> None:
        """Move the clock to ten o'clock UTC of a day."""
        answer = self.api.client.post("/v1/clock", json={"now": f"{day}T10:00:00Z"})
        assert answer.status_code == 200, answer.text

    def send(self, path: str, body: dict[str, Any], **more: Any) -> Any:
        """Post a body of P01 to a path below /v1."""
        return self.api.post({"platform_id": "P01", **body}, path=f"/v1/{path}", **more)

    def done(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post and assert that it was taken."""
        answer = self.send(path, body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, path: str, body: dict[str, Any], code: str, field: str | None = None) -> None:
        """Post and assert that it is refused with this code and leaves every row of loans, audit and outbox as it was."""
        before = self.content()
        answer = self.send(path, body)
        document = answer.json()
        assert document.get("code") == code, answer.text
        assert field is None or document["field"] == field, answer.text
        assert self.content() == before

    def content(self) -> dict[str, Any]:
        """A hash of every table that an act of the loans side may add to."""
        with psycopg.connect(self.api.admin_url) as connection:
            names = connection.execute(
                """SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.relkind = 'r' AND (n.nspname = 'loans' OR (n.nspname, c.relname) IN
                     (('audit', 'change'), ('outbox', 'event'), ('api', 'answer'), ('work', 'approval'), ('work', 'decision')))"""
            ).fetchall()
            query = "SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {} t"
            return {name: connection.execute(query.format(name).encode()).fetchone() for (name,) in names}

    def get(self, path: str, **parameters: Any) -> Any:
        """Read below /v1 as the key of every platform, about P01."""
        return self.api.client.get(f"/v1/{path}", params={"platform_id": "P01", **parameters})

    def read(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Read and assert that it is there."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def register(self, loan_no: str, **more: Any) -> dict[str, Any]:
        """Register a loan of the borrower, announced."""
        about = {"loan_no": loan_no, "customer_no": BORROWER, "currency": "CNY", "announced_on": "2026-01-05"}
        return self.done("loans", {**TERMS, **about, **more})

    def status(self, loan_no: str, status: str, day: str, **more: Any) -> dict[str, Any]:
        """The loan's next status."""
        return self.done(f"loans/{loan_no}/status", {"status": status, "valid_from": day, "reason": "as told", **more})

    def pay(self, order_type: str, *movements: dict[str, Any], **more: Any) -> str:
        """Post an order of movements and answer its request number."""
        body = self.api.order(order_type) | {"movements": list(movements)} | more
        answer = self.api.post(body)
        assert answer.status_code == 201, answer.text
        return str(body["request_no"])

    def tender(self, loan_no: str, lenders: dict[str, int]) -> str:
        """The disbursement order of a loan: one TENDER movement a lender."""
        for account, amount in lenders.items():
            self.api.recharge(account, amount)
        return self.pay(
            "DISBURSE",
            *(
                movement("TENDER", account, BORROWING, amount, loan_no=loan_no, claim_no=f"{loan_no}-CL-{account[-1]}")
                for account, amount in lenders.items()
            ),
        )

    def lend(self, loan_no: str = "L-1", lenders: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
        """A loan that was raised, disbursed on 2026-01-15 and has its generated plan."""
        amounts = lenders or LENDERS
        self.register(loan_no, **more)
        self.status(loan_no, "6", "2026-01-05")
        self.status(loan_no, "1", "2026-01-14")
        self.tender(loan_no, amounts)
        self.status(loan_no, "9", "2026-01-15", disbursed_minor=sum(amounts.values()))
        self.done(f"loans/{loan_no}/plan?generate=true", {"reason": "ORIGINAL", "valid_from": "2026-01-15"})
        return self.read(f"loans/{loan_no}")

    def repay(self, loan_no: str, amount: int) -> str:
        """A repayment as the service splits it."""
        parts = self.read(f"loans/{loan_no}/split", amount_minor=amount)["parts"]
        self.api.recharge(BORROWING, amount)
        return self.pay(
            "REPAYMENT",
            *(
                movement(
                    "PRINCIPAL" if part["component"] == "P" else "INTEREST",
                    BORROWING,
                    part["credit_account"],
                    part["amount_minor"],
                    **{"loan_no": loan_no, **{name: part[name] for name in ("issue_no", "component", "claim_no")}},
                )
                for part in parts
            ),
        )

    def faults(self) -> list[tuple[Any, ...]]:
        """What `loans.verify()` names."""
        found: list[tuple[Any, ...]] = self.api.rows("SELECT * FROM loans.verify()")
        return found


def movement(kind: str, debit: str, credit: str, amount: int, **more: Any) -> dict[str, Any]:
    """Body of a movement."""
    return {"movement_type": kind, "debit_account": debit, "credit_account": credit, "amount_minor": amount, **more}


@pytest.fixture
def market(api: Any) -> Iterator[Market]:
    """The market on 2026-01-15, with a guarantor besides the three people of the registry."""
    guarantor = {
        "parties": [
            {"party_ref": "PARTY-4", "party_type": "FIRM", "id_hash": f"{4:064x}", "name_masked": "G*", "phone_masked": None}
        ],
        "customers": [
            {
                "platform_id": "P01",
                "customer_no": GUARANTOR,
                "party_ref": "PARTY-4",
                "roles": ["GUARANTEECORP"],
                "opened_on": "2026-01-02",
            }
        ],
        "sub_accounts": [
            {
                "account_no": GUARANTEEING,
                "platform_id": "P01",
                "account_role": "GUARANTEECORP",
                "customer_no": GUARANTOR,
                "currency": "CNY",
            }
        ],
    }
    answer = api.client.post("/v1/registry", json=guarantor)
    assert answer.status_code == 200, answer.text
    market = Market(api)
    market.at("2026-01-15")
    yield market
