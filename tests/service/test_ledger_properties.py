"""Random histories against a model: what the database accepts, refuses and keeps is what plain arithmetic says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transactional.verify import verify

LENDERS = ("P01-L-000001", "P01-L-000002", "P01-L-000003")
amounts = st.integers(1, 60)
steps = st.one_of(
    st.tuples(st.just("recharge"), st.sampled_from(LENDERS), amounts),
    st.tuples(st.just("withdraw"), st.sampled_from(LENDERS), amounts),
    st.tuples(st.just("hold"), st.sampled_from(LENDERS), amounts),
    st.tuples(st.just("release"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("reverse"), st.integers(0, 5), st.just(0)),
)


class Model:
    """Balances, holds and posted orders as the contract describes them."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.balance = dict.fromkeys(LENDERS, 0)
        self.holds: dict[str, tuple[str, int]] = {}
        self.placed: list[str] = []
        self.posted: list[tuple[str, tuple[str, str, str, int]]] = []
        self.reversed: set[str] = set()

    def available(self, account: str) -> int:
        """Balance less what is held."""
        return self.balance[account] - sum(amount for owner, amount in self.holds.values() if owner == account)

    def step(self, kind: str, target: Any, amount: int) -> tuple[dict[str, Any], bool] | None:
        """Body of a step and whether it must be accepted, with the model moved on; None when there is nothing to do it to."""
        if kind in ("recharge", "withdraw"):
            return self._move(kind, target, amount)
        if kind == "hold":
            return self._hold(target, amount)
        if kind == "release":
            return self._release(target)
        return self._reverse(target)

    def _move(self, kind: str, account: str, amount: int) -> tuple[dict[str, Any], bool]:
        sign = 1 if kind == "recharge" else -1
        pair = ("P01-X-CHANNEL-PC01", account) if sign > 0 else (account, "P01-X-WITHDRAWAL")
        movement = (kind.upper(), *pair, amount)
        body = self.api.order(kind.upper(), movement)
        is_fine = sign > 0 or self.available(account) >= amount
        if is_fine:
            self.balance[account] += sign * amount
            self.posted.append((body["request_no"], movement))
        return body, is_fine

    def _hold(self, account: str, amount: int) -> tuple[dict[str, Any], bool]:
        hold_no = f"H-{next(self.api.numbers)}"
        is_fine = self.available(account) >= amount
        if is_fine:
            self.holds[hold_no] = (account, amount)
            self.placed.append(hold_no)
        hold = {"hold_no": hold_no, "account": account, "amount_minor": amount}
        return self.api.order("TENDER", place_holds=[hold]), is_fine

    def _release(self, index: int) -> tuple[dict[str, Any], bool] | None:
        if not self.placed:
            return None
        hold_no = self.placed[index % len(self.placed)]
        is_fine = self.holds.pop(hold_no, None) is not None
        return self.api.order("DISBURSE", release_holds=[hold_no]), is_fine

    def _reverse(self, index: int) -> tuple[dict[str, Any], bool] | None:
        if not self.posted:
            return None
        request_no, (kind, debit, credit, amount) = self.posted[index % len(self.posted)]
        body = self.api.order(kind, (kind, credit, debit, amount), reverses_request_no=request_no)
        gives = credit if credit in self.balance else None  # a reversed recharge takes the money from the lender again
        is_fine = request_no not in self.reversed and (gives is None or self.available(gives) >= amount)
        if is_fine:
            self.reversed.add(request_no)
            self.balance[gives or debit] += -amount if gives else amount
        return body, is_fine


def _check(model: Model) -> None:
    for account in LENDERS:
        answer = model.api.balance(account)
        assert (answer["balance_minor"], answer["available_minor"]) == (model.balance[account], model.available(account))


@pytest.mark.timeout(120)
def test_any_history_is_judged_as_the_model_judges_it(api: Any) -> None:
    model = Model(api)  # one history goes on over all examples: the ledger never starts anew

    @settings(max_examples=12, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, min_size=4, max_size=16))
    def run(history: list[tuple[str, Any, int]]) -> None:
        for kind, target, amount in history:
            planned = model.step(kind, target, amount)
            if planned is None:
                continue
            body, is_fine = planned
            answer = api.post(body)
            assert (answer.status_code == 201) == is_fine, (kind, target, amount, answer.text)
        _check(model)

    run()
    assert model.posted and model.reversed and model.placed
    assert verify(api.service_url).faults == ()
    assert api.rows("SELECT sum(credit_minor - debit_minor) FROM ledger.balance") == [(0,)]
