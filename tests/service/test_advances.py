"""Advances for withdrawals of the same day: opened by the confirmation, within the limit whatever comes at once, repaid once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.service.test_withdrawals import answered, ask, bank, confirm, sound
from transactional.keys import add_key

__all__ = ["bank"]  # the fixture of the withdrawals


def advances(bank: Any, **asked: str) -> list[tuple[str, str, int]]:
    rows = bank.client.get("/v1/advances", params={"platform_id": "P01", **asked}).json()["rows"]
    return [(row["withdrawal_no"], row["state"], row["amount_minor"]) for row in rows]


def cap(bank: Any, open_max: int, payment_max: int) -> None:
    payload = {"currency": "CNY", "open_max_minor": open_max, "payment_max_minor": payment_max}
    bank.approved("ADVANCE_LIMIT", "P01", payload, platform_id="P01")


def repay(bank: Any, number: str = "W-1") -> Any:
    return bank.post({"platform_id": "P01", "bank_reference": "REF-1"}, path=f"/v1/advances/{number}/repayment")


@pytest.mark.parametrize("speed", ["T0", "REAL_TIME"])
def test_a_withdrawal_of_the_same_day_is_advanced_until_it_is_repaid(bank: Any, database: Any, speed: str) -> None:
    ask(bank, speed=speed)
    assert advances(bank) == []
    assert confirm(bank).status_code == 201
    assert advances(bank, state="OPEN") == [("W-1", "OPEN", 600)]
    assert advances(bank, advanced_until="2026-08-30") == []
    answered(bank, database, "SENT", "PAID")
    assert repay(bank).json()["state"] == "REPAID"
    assert repay(bank).json()["code"] == "STATE_CONFLICT"
    assert repay(bank, "W-9").json()["code"] == "RECORD_NOT_FOUND"
    assert advances(bank) == [("W-1", "REPAID", 600)]
    sound(bank)


def test_a_withdrawal_of_the_next_day_and_a_failed_one_advance_nothing(bank: Any, database: Any) -> None:
    ask(bank)
    confirm(bank)
    assert advances(bank) == []
    ask(bank, withdrawal_no="W-2", speed="T0", amount_minor=100)
    confirm(bank, number="W-2")
    answered(bank, database, "SENT", "FAILED", reason="card closed")
    assert advances(bank) == [("W-2", "FAILED", 100)]
    assert repay(bank, "W-2").json()["code"] == "STATE_CONFLICT"


def test_the_limit_holds_whatever_is_confirmed_at_once(bank: Any) -> None:
    cap(bank, 300, 300)
    for number in range(6):
        ask(bank, withdrawal_no=f"W-{number}", speed="T0", amount_minor=100, fee_minor=0, fee_account=None)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: confirm(bank, number=f"W-{number}"), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 3
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"ADVANCE_EXCEEDED"}
    assert sum(amount for _, _, amount in advances(bank, state="OPEN")) == 300
    repaid = advances(bank, state="OPEN")[0][0]
    assert repay(bank, repaid).status_code == 201
    left = next(f"W-{number}" for number, answer in enumerate(answers) if answer.status_code == 422)
    assert confirm(bank, number=left).status_code == 201
    sound(bank)


def test_one_payment_in_real_time_has_a_limit_of_its_own_and_a_platform_cannot_repay(bank: Any) -> None:
    cap(bank, 1_000, 500)
    ask(bank, speed="REAL_TIME")
    before = bank.content()
    assert confirm(bank).json()["code"] == "ADVANCE_EXCEEDED"
    assert bank.content() == before
    headers = {"Authorization": f"Bearer {add_key(bank.admin_url, 'P01')}", "Idempotency-Key": "mine"}
    body = {"platform_id": "P01", "bank_reference": "REF"}
    assert bank.client.post("/v1/advances/W-1/repayment", json=body, headers=headers).status_code == 403
