"""The simulator's own repayment schedules (spec 05 section 5.1): an independent truth beside `domain`.

All amounts are integer minor units, rates are parts per million a year, every row is rounded half-up, and the last row absorbs
the residual so that the principal of all rows adds up to the loan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext

from domain.money import round_half_up
from domain.vocabulary import PlanType
from simulator.bank_day import months_after

PPM = 1_000_000


@dataclass(frozen=True)
class Instalment:
    """One row of a schedule: principal and interest due on a day, minor units."""

    issue_no: int
    due_on: date
    principal_minor: int
    interest_minor: int


def half_up(numerator: int, denominator: int) -> int:
    """Nearest integer of a non-negative fraction, halves up.

    >>> half_up(5, 2), half_up(7, 3)
    (3, 2)
    """
    return (2 * numerator + denominator) // (2 * denominator)


def month_interest(principal_minor: int, rate_ppm: int) -> int:
    """Interest of one month on a principal: P·R/12."""
    return half_up(principal_minor * rate_ppm, 12 * PPM)


def annuity_payment(principal_minor: int, rate_ppm: int, months: int) -> int:
    """Equal monthly payment A = P·r(1+r)^n/((1+r)^n−1), r = R/12.

    >>> annuity_payment(1_200_000, 120_000, 12)
    106619
    """
    with localcontext() as context:
        context.prec = 60
        rate = Decimal(rate_ppm) / (12 * PPM)
        growth = (1 + rate) ** months
        return round_half_up(principal_minor * rate * growth / (growth - 1))


def schedule(plan_type: PlanType, principal_minor: int, rate_ppm: int, months: int, disbursed_on: date) -> list[Instalment]:
    """Rows of a loan's plan, monthly, or one row at maturity for BULLET (interest P·R·days/365)."""
    if plan_type is PlanType.BULLET:
        due_on = months_after(disbursed_on, months)
        interest = half_up(principal_minor * rate_ppm * (due_on - disbursed_on).days, 365 * PPM)
        return [Instalment(1, due_on, principal_minor, interest)]
    rows, remaining = [], principal_minor
    for issue_no in range(1, months + 1):
        interest_base = principal_minor if plan_type is PlanType.FLAT else remaining
        interest = month_interest(interest_base, rate_ppm)
        principal = remaining if issue_no == months else _principal(plan_type, principal_minor, rate_ppm, months, interest)
        rows.append(Instalment(issue_no, months_after(disbursed_on, issue_no), principal, interest))
        remaining -= principal
    return rows


def _principal(plan_type: PlanType, principal_minor: int, rate_ppm: int, months: int, interest_minor: int) -> int:
    """Principal of a row that is not the last."""
    if plan_type is PlanType.ANNUITY:
        return annuity_payment(principal_minor, rate_ppm, months) - interest_minor
    if plan_type is PlanType.INTEREST_FIRST:
        return 0
    return half_up(principal_minor, months)
