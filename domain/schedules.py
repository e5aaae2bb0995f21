"""Repayment schedules of the five plan types (spec 05 section 5.1), in integer minor units.

Every row is rounded half-up; the last row absorbs the residual, so that the principal of all rows is the loan's principal.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext

from domain.errors import BadInput
from domain.money import round_half_up
from domain.vocabulary import PlanType

_MONTHS = 12
_DAYS = 365
_PRECISION = 60


@dataclass(frozen=True)
class ScheduleRow:
    """One instalment: principal and interest due on a date, in minor units; `issue_no` counts from 1."""

    issue_no: int
    due_on: date
    principal_minor: int
    interest_minor: int


def schedule(
    plan_type: PlanType, principal_minor: int, annual_rate: Decimal, term_months: int, disbursed_on: date
) -> list[ScheduleRow]:
    """The instalments of a loan: monthly on the day of disbursement, or one at maturity for BULLET (P·R·days/365).

    `annual_rate` is a fraction (0.12 = 12 % a year). Raises BadInput when an argument makes no loan.
    """
    if principal_minor <= 0 or term_months <= 0 or not annual_rate.is_finite() or annual_rate < 0:
        raise BadInput("a schedule needs a positive principal and term and a rate of zero or more")
    if plan_type is PlanType.BULLET:
        due_on = months_after(disbursed_on, term_months)
        return [ScheduleRow(1, due_on, principal_minor, bullet_interest(principal_minor, annual_rate, disbursed_on, due_on))]
    rows: list[ScheduleRow] = []
    remaining = principal_minor
    for issue_no in range(1, term_months + 1):
        base = principal_minor if plan_type is PlanType.FLAT else remaining
        interest = _month_interest(base, annual_rate)
        is_last = issue_no == term_months
        wanted = remaining if is_last else _principal(plan_type, principal_minor, annual_rate, term_months, interest)
        part = min(wanted, remaining)
        rows.append(ScheduleRow(issue_no, months_after(disbursed_on, issue_no), part, interest))
        remaining -= part
    return rows


def annuity_instalment(principal_minor: int, annual_rate: Decimal, term_months: int) -> int:
    """Equal monthly payment P·r(1+r)^n/((1+r)^n−1) with r = R/12; P/n without interest.

    >>> annuity_instalment(1_000_000, Decimal("0.12"), 12)
    88849
    """
    with localcontext() as context:
        context.prec = _PRECISION
        rate = annual_rate / _MONTHS
        if rate == 0:
            return round_half_up(Decimal(principal_minor) / term_months)
        growth = (1 + rate) ** term_months
        return round_half_up(principal_minor * rate * growth / (growth - 1))


def bullet_interest(principal_minor: int, annual_rate: Decimal, start: date, end: date) -> int:
    """Interest of a day-based loan, P·R·days/365, half-up."""
    with localcontext() as context:
        context.prec = _PRECISION
        return round_half_up(principal_minor * annual_rate * (end - start).days / _DAYS)


def months_after(day: date, months: int) -> date:
    """The same day of the month so many months later, the month's last day when it has no such day.

    >>> months_after(date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    year, month = divmod(day.year * _MONTHS + day.month - 1 + months, _MONTHS)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _month_interest(base_minor: int, annual_rate: Decimal) -> int:
    with localcontext() as context:
        context.prec = _PRECISION
        return round_half_up(base_minor * annual_rate / _MONTHS)


def _principal(plan_type: PlanType, principal_minor: int, annual_rate: Decimal, term_months: int, interest_minor: int) -> int:
    """Principal of a row that is not the last."""
    if plan_type is PlanType.ANNUITY:
        return annuity_instalment(principal_minor, annual_rate, term_months) - interest_minor
    if plan_type is PlanType.INTEREST_FIRST:
        return 0
    return round_half_up(Decimal(principal_minor) / term_months)
