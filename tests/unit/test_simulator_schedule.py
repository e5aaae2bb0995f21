"""The simulator's repayment schedules (spec 05 section 5.1)."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.vocabulary import PlanType
from simulator.bank_day import months_after
from simulator.schedule import annuity_payment, half_up, schedule

START = date(2026, 1, 31)


@pytest.mark.parametrize(
    ("plan_type", "expected"),
    [
        # 1,200.00 at 12 % over 3 months, by hand: r = 1 % a month
        (PlanType.ANNUITY, [(39603, 1200), (39999, 804), (40398, 404)]),
        (PlanType.EQUAL_PRINCIPAL, [(40000, 1200), (40000, 800), (40000, 400)]),
        (PlanType.INTEREST_FIRST, [(0, 1200), (0, 1200), (120000, 1200)]),
        (PlanType.FLAT, [(40000, 1200), (40000, 1200), (40000, 1200)]),
        # 89 days from 31 January to 30 April: 120000 · 0.12 · 89 / 365 = 3511.23
        (PlanType.BULLET, [(120000, 3511)]),
    ],
)
def test_each_plan_type_follows_its_formula(plan_type: PlanType, expected: list[tuple[int, int]]) -> None:
    rows = schedule(plan_type, 120_000, 120_000, 3, START)
    assert [(row.principal_minor, row.interest_minor) for row in rows] == expected


def test_rows_fall_due_on_the_same_day_of_later_months_or_on_their_last_day() -> None:
    rows = schedule(PlanType.FLAT, 120_000, 120_000, 3, START)
    assert [row.due_on for row in rows] == [date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30)]
    assert months_after(date(2025, 11, 30), 3) == date(2026, 2, 28)


def test_halves_are_rounded_up() -> None:
    assert [half_up(1, 2), half_up(149, 100), half_up(151, 100), half_up(150, 100)] == [1, 1, 2, 2]


def test_the_annuity_agrees_with_a_published_example() -> None:
    # 100,000.00 at 6 % over 360 months: 599.55
    assert annuity_payment(10_000_000, 60_000, 360) == 59_955


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(PlanType)),
    st.integers(100_000, 50_000_000),
    st.integers(10_000, 360_000),
    st.integers(1, 36),
)
def test_principal_of_all_rows_is_the_loan_and_no_row_is_negative(
    plan_type: PlanType, principal: int, rate_ppm: int, months: int
) -> None:
    rows = schedule(plan_type, principal, rate_ppm, months, START)
    assert sum(row.principal_minor for row in rows) == principal
    assert all(row.principal_minor >= 0 and row.interest_minor >= 0 for row in rows)
    assert [row.issue_no for row in rows] == list(range(1, len(rows) + 1))
