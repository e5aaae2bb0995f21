"""Splitting a payment among claims: nothing lost, nobody paid more than is theirs, fair to one minor unit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.allocation import Allocation
from domain.errors import BadInput
from domain.splitting import OpenClaim, Part, split
from domain.vocabulary import Component

CLAIMS = st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(lambda amounts: sum(amounts) > 0)


def claims_of(amounts: list[int]) -> list[OpenClaim]:
    return [OpenClaim(f"C{number}", amount) for number, amount in enumerate(amounts)]


@given(CLAIMS, st.data())
def test_parts_add_up_and_no_claim_gets_more_principal_than_is_outstanding(amounts: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, sum(amounts)))
    second = data.draw(st.integers(0, sum(amounts) - first))
    interest = data.draw(st.integers(0, 10**9)) if first < sum(amounts) else 0
    wanted = [
        Allocation(1, Component.PRINCIPAL, first),
        Allocation(2, Component.INTEREST, interest),
        Allocation(2, Component.PRINCIPAL, second),
    ]
    parts = split(wanted, claims_of(amounts))
    for one in wanted:
        ours = [part for part in parts if (part.issue_no, part.component) == (one.issue_no, one.component)]
        assert sum(part.amount_minor for part in ours) == one.amount_minor
    assert all(part.amount_minor > 0 for part in parts)
    for number, amount in enumerate(amounts):
        paid = sum(p.amount_minor for p in parts if p.claim_no == f"C{number}" and p.component is Component.PRINCIPAL)
        assert paid <= amount


@given(CLAIMS, st.integers(1, 10**9))
def test_every_share_is_within_one_minor_unit_of_its_exact_share(amounts: list[int], interest: int) -> None:
    parts = split([Allocation(1, Component.INTEREST, interest)], claims_of(amounts))
    paid = {part.claim_no: part.amount_minor for part in parts}
    for number, amount in enumerate(amounts):
        exact = Fraction(interest * amount, sum(amounts))
        assert abs(paid.get(f"C{number}", 0) - exact) < 1


@given(CLAIMS)
def test_a_loan_paid_in_full_leaves_every_claim_at_zero(amounts: list[int]) -> None:
    parts = split([Allocation(1, Component.PRINCIPAL, sum(amounts))], claims_of(amounts))
    assert [(part.claim_no, part.amount_minor) for part in parts] == [(f"C{n}", a) for n, a in enumerate(amounts) if a]


def test_equal_claims_share_the_odd_cent_in_their_order() -> None:
    parts = split([Allocation(3, Component.PRINCIPAL, 100)], claims_of([100, 100, 100]))
    assert parts == [Part(f"C{n}", 3, Component.PRINCIPAL, amount) for n, amount in enumerate([34, 33, 33])]


@pytest.mark.parametrize(
    ("allocation", "amounts"),
    [
        (Allocation(1, Component.PRINCIPAL, 301), [100, 200]),
        (Allocation(1, Component.INTEREST, 1), [0, 0]),
        (Allocation(1, Component.INTEREST, 1), []),
        (Allocation(1, Component.INTEREST, -1), [10]),
        (Allocation(1, Component.INTEREST, 1), [10, -1]),
    ],
)
def test_what_cannot_be_split_is_refused(allocation: Allocation, amounts: list[int]) -> None:
    with pytest.raises(BadInput):
        split([allocation], claims_of(amounts))
