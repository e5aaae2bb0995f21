"""Schedules, days past due, buckets and allocation (spec 05 sections 5.1 and 5.2, spec 11 appendix A)."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.allocation import OwedRow, allocate
from domain.buckets import BUCKETS, bucket_of
from domain.days_past_due import DueRow, days_past_due
from domain.errors import BadInput
from domain.schedules import annuity_instalment, months_after, schedule
from domain.vocabulary import Component, PlanType

START = date(2026, 1, 5)
RATE = Decimal("0.12")


def test_the_annuity_of_appendix_a_agrees_to_the_cent() -> None:
    rows = schedule(PlanType.ANNUITY, 1_000_000, RATE, 12, START)
    assert annuity_instalment(1_000_000, RATE, 12) == 88_849
    assert (rows[0].principal_minor, rows[0].interest_minor) == (78_849, 10_000)
    assert (rows[-1].principal_minor, rows[-1].interest_minor) == (87_967, 880)
    assert sum(row.principal_minor for row in rows) == 1_000_000


def test_equal_principal_pays_interest_on_what_remains() -> None:
    rows = schedule(PlanType.EQUAL_PRINCIPAL, 100_000, RATE, 3, START)
    assert [(r.principal_minor, r.interest_minor) for r in rows] == [(33_333, 1_000), (33_333, 667), (33_334, 333)]


def test_interest_first_repays_the_principal_at_the_end() -> None:
    rows = schedule(PlanType.INTEREST_FIRST, 100_000, RATE, 3, START)
    assert [(r.principal_minor, r.interest_minor) for r in rows] == [(0, 1_000), (0, 1_000), (100_000, 1_000)]


def test_flat_pays_interest_on_the_whole_principal() -> None:
    rows = schedule(PlanType.FLAT, 100_000, RATE, 3, START)
    assert [(r.principal_minor, r.interest_minor) for r in rows] == [(33_333, 1_000), (33_333, 1_000), (33_334, 1_000)]


def test_a_bullet_counts_days() -> None:
    (row,) = schedule(PlanType.BULLET, 100_000, RATE, 3, START)
    assert (row.due_on, row.principal_minor, row.interest_minor) == (date(2026, 4, 5), 100_000, 2_959)


@given(
    st.sampled_from(PlanType),
    st.integers(1, 10**9),
    st.decimals(0, 1, places=6),
    st.integers(1, 60),
    st.dates(date(2015, 1, 1), date(2030, 12, 31)),
)
def test_the_principal_of_every_schedule_adds_up_and_dates_rise(
    plan: PlanType, principal: int, rate: Decimal, months: int, start: date
) -> None:
    rows = schedule(plan, principal, rate, months, start)
    assert sum(row.principal_minor for row in rows) == principal
    assert all(row.principal_minor >= 0 and row.interest_minor >= 0 for row in rows)
    assert [row.issue_no for row in rows] == list(range(1, len(rows) + 1))
    assert start < rows[0].due_on and all(a.due_on < b.due_on for a, b in pairwise(rows))


def test_a_month_without_that_day_is_due_on_its_last() -> None:
    assert [months_after(date(2027, 12, 31), n) for n in (1, 2, 4)] == [date(2028, 1, 31), date(2028, 2, 29), date(2028, 4, 30)]


@pytest.mark.parametrize(("principal", "rate", "months"), [(0, "0.1", 3), (1, "-0.1", 3), (1, "0.1", 0), (1, "NaN", 1)])
def test_arguments_that_make_no_loan_are_refused(principal: int, rate: str, months: int) -> None:
    with pytest.raises(BadInput):
        schedule(PlanType.ANNUITY, principal, Decimal(rate), months, START)


DUE = date(2026, 7, 5)
D = date(2026, 8, 31)


def test_days_count_from_the_oldest_row_that_is_missing_more_than_a_cent() -> None:
    cured = DueRow(date(2026, 5, 5), 10_000, 100, 10_000, 99)
    assert days_past_due([cured, DueRow(DUE, 10_000, 100), DueRow(date(2026, 8, 5), 10_000, 100)], D) == 57
    assert days_past_due([DueRow(DUE, 10_000, 100, 9_999, 99)], D) == 57
    assert days_past_due([cured], D) == 0
    assert days_past_due([], D) == 0


def test_a_row_due_on_the_day_is_not_overdue_and_the_offset_gives_one_day_more() -> None:
    row = DueRow(DUE, 10_000, 100)
    next_day, day_after = DUE + timedelta(days=1), DUE + timedelta(days=2)
    assert (days_past_due([row], DUE), days_past_due([row], next_day)) == (0, 1)
    assert (days_past_due([row], next_day, overdue_day_offset=1), days_past_due([row], day_after, overdue_day_offset=1)) == (0, 2)


def test_too_much_principal_does_not_pay_the_interest() -> None:
    assert days_past_due([DueRow(DUE, 10_000, 100, 10_100, 0)], D) == 57


def test_buckets_cover_every_day_without_gap() -> None:
    names = {"M0": 0, "M1": 1, "M2": 31, "M3": 61, "M4": 91, "M5": 121, "M6": 151, "M6+": 181}
    for (name, first), bucket in zip(names.items(), BUCKETS, strict=True):
        assert bucket_of(first).name == bucket.name == name
        assert bucket_of(bucket.last_day if bucket.last_day is not None else 10_000).name == name
    with pytest.raises(BadInput):
        bucket_of(-1)


def test_a_payment_settles_the_oldest_row_first_and_interest_before_principal() -> None:
    owed = [OwedRow(2, date(2026, 8, 5), 100, 10), OwedRow(1, DUE, 100, 10)]
    parts, rest = allocate(115, owed)
    assert [(p.issue_no, p.component, p.amount_minor) for p in parts] == [
        (1, Component.INTEREST, 10),
        (1, Component.PRINCIPAL, 100),
        (2, Component.INTEREST, 5),
    ]
    assert rest == 0


@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 999), st.integers(0, 99)), max_size=8))
def test_allocations_and_rest_add_up_and_never_exceed_what_is_owed(amount: int, amounts: list[tuple[int, int]]) -> None:
    owed = [OwedRow(n, START + timedelta(days=30 * n), p, i) for n, (p, i) in enumerate(amounts, start=1)]
    parts, rest = allocate(amount, owed)
    assert sum(part.amount_minor for part in parts) + rest == amount
    assert rest == max(0, amount - sum(p + i for p, i in amounts))
    assert all(part.amount_minor > 0 for part in parts)


def test_a_negative_payment_is_refused() -> None:
    with pytest.raises(BadInput):
        allocate(-1, [])
