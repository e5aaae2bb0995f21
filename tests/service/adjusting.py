"""What tests of adjustments share: a night that published breaks, the desk's people, and the way of one adjustment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from transactional.keys import add_key

ACCOUNT = "P01-L-000001"
ITEM = "a1" * 16
NIGHT = "2026-09-01T01:30:00+08:00"
PUBLISHED = "2026-08-31"
NEXT_NIGHT = "2026-09-02T01:30:00+08:00"


@dataclass
class Desk:
    """The service with published breaks, seen by the finance desk."""

    api: Any

    def publish(self, run_id: int, day: str, *items: tuple[str, str, int], match_keys: dict[str, str] | None = None) -> None:
        """Publish a date of P01 by `run_id` with open items (item id, account, what book V has more than book B)."""
        with psycopg.connect(self.api.admin_url) as connection:
            connection.execute(
                """INSERT INTO run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
                   VALUES (%s, %s, %s, 0, '[]', 'test', 'PUBLISHED', now())""",
                [run_id, day, day],
            )
            connection.execute(
                """INSERT INTO run.published SELECT %s, 'P01', coalesce(max(version), 0) + 1, %s, 'COMPLETE', NULL, now()
                   FROM run.published WHERE business_date = %s AND platform_id = 'P01'""",
                [day, run_id, day],
            )
        for item_id, account_no, more in items:
            self.open_break(run_id, day, item_id, account_no, more, (match_keys or {}).get(item_id))

    def open_break(self, run_id: int, day: str, item_id: str, account_no: str, more: int, own: str | None = None) -> None:
        """One open item of a date; with `own` it is the bank's movement of that match key, which book V lacks."""
        book, effect = ("V", more) if own is None else ("B", -more)
        with psycopg.connect(self.api.admin_url) as connection:
            connection.execute(
                """INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, recon_id, code, match_key, account_no,
                     currency, amount_minor) VALUES (%s, %s, 'P01', %s, 'R3', 'B01', %s, %s, 'CNY', %s)""",
                [day, run_id, item_id, own or f"REQ-{item_id[:4]}#1", account_no, abs(more)],
            )
            connection.execute(
                "INSERT INTO mart.open_item_effect VALUES (%s, %s, 'P01', %s, 'R3', 'B01', %s, %s, 'CNY', %s)",
                [day, run_id, item_id, book, account_no, effect],
            )

    def clock(self, now: str) -> None:
        """Move the service's clock on."""
        assert self.api.client.post("/v1/clock", json={"now": now}).status_code == 200

    def person(self, name: str, role: str = "finance") -> dict[str, str]:
        """Headers of a signed-in person."""
        headers: dict[str, str] = self.api.staff(name, role)
        return headers

    def platform(self, platform_id: str = "P01") -> dict[str, str]:
        """Headers of a platform's own key."""
        return {"Authorization": f"Bearer {add_key(self.api.admin_url, platform_id)}"}

    def call(self, path: str, body: dict[str, Any], by: dict[str, str], **parameters: Any) -> Any:
        """Post under a key of its own."""
        key = {"Idempotency-Key": f"key-{next(self.api.numbers)}"}
        return self.api.client.post(f"/v1/{path}", json=body, headers={**key, **by}, params=parameters)

    def body(self, direction: str, amount: int, **more: Any) -> dict[str, Any]:
        """Body of an adjustment of ITEM on ACCOUNT."""
        return {
            "item_id": ITEM,
            "platform_id": "P01",
            "account_no": ACCOUNT,
            "direction": direction,
            "amount_minor": amount,
            "currency": "CNY",
            "reason_code": "MISSING_CREDIT" if direction == "CREDIT" else "DUPLICATE_CREDIT",
            "evidence_uri": "archive:2026/09/case-1.pdf",
            "evidence_sha256": "ab" * 32,
            **more,
        }

    def created(self, direction: str, amount: int, by: str = "fay", **more: Any) -> int:
        """Id of a new adjustment made by a finance person."""
        answer = self.call("adjustments", self.body(direction, amount, **more), self.person(by))
        assert answer.status_code == 201, answer.text
        made: int = answer.json()["adjustment_id"]
        return made

    def step(self, made: int, name: str, by: str, role: str = "finance", **body: Any) -> Any:
        """A step of an adjustment by a person."""
        return self.call(f"adjustments/{made}/{name}", body, self.person(by, role))

    def token(self, made: int) -> str:
        """The customer's one-time token, as the platform gets it."""
        answer = self.call(f"adjustments/{made}/consent-token", {}, self.platform())
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["token"]
        return found

    def answer(self, made: int, one_time: str, amount: int, by: dict[str, str] | None = None, **more: Any) -> Any:
        """The customer's word."""
        word = {
            "token": one_time,
            "amount_minor": amount,
            "text_version": "debit-1",
            "is_given": True,
            "channel": "OTP",
            "signed_at": self.now(),
            **more,
        }
        return self.call(f"adjustments/{made}/consent", word, by or self.platform())

    def consented(self, amount: int) -> int:
        """Id of a debit that the customer consented to."""
        made = self.created("DEBIT", amount)
        assert self.step(made, "consent-request", "fay", text_version="debit-1").status_code == 201
        assert self.answer(made, self.token(made), amount).status_code == 201
        return made

    def approved(self, direction: str, amount: int, by: str = "fay") -> int:
        """Id of an approved adjustment."""
        made = self.created(direction, amount, by) if direction == "CREDIT" else self.consented(amount)
        assert self.step(made, "submission", by).status_code == 201
        decided = self.step(made, "decision", "flo", approve=True)
        assert (decided.status_code, decided.json()["state"]) == (201, "APPROVED")
        return made

    def now(self) -> str:
        """The service's clock."""
        found: str = self.api.client.get("/v1/clock").json()["now"]
        return found

    def state(self, made: int) -> str:
        """State of an adjustment."""
        found: str = self.api.rows(f"SELECT state FROM work.adjustment_state WHERE adjustment_id = {made}")[0][0]
        return found

    def balance(self, account: str = ACCOUNT) -> int:
        """Balance in minor units."""
        found: int = self.api.balance(account)["balance_minor"]
        return found
