"""The yearly rate that a lender's principal earned."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.received_yield import received_yield


def test_interest_of_one_percent_a_month_on_steady_principal_is_about_twelve_percent_a_year() -> None:
    assert received_yield(1_000, 0, 100_000 * 31) == Decimal("0.117742")
    assert received_yield(1_000, 100, 100_000 * 31) == Decimal("0.105968")


def test_without_outstanding_principal_there_is_no_yield() -> None:
    assert received_yield(1_000, 0, 0) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**18))
def test_a_yield_is_the_exact_ratio_rounded_once(interest: int, fees: int, principal_days: int) -> None:
    found = received_yield(interest, fees, principal_days)
    assert found is not None
    assert abs(found * principal_days - (interest - fees) * 365) <= Decimal(principal_days) / 2 / 1_000_000
