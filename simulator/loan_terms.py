"""What new loans look like: amount, rate, plan, guarantor, and how their borrower will repay."""

from __future__ import annotations

from datetime import date
from random import Random

from domain.vocabulary import AccountRole, PlanType
from simulator.loans import Habit, Loan
from simulator.parameters import YUAN
from simulator.people import Customer
from simulator.risk import GRADES, prospect_of, true_pd

TERMS = (3, 6, 6, 9, 12, 12, 18, 24)
BULLET_TERM_MOST = 9
"""A loan that is due in one piece is short: a longer one could not turn bad within 12 months."""
PURPOSES = ("WORKING_CAPITAL", "EQUIPMENT", "EDUCATION", "HOUSEHOLD", "MEDICAL")
PLAN_TYPES = tuple(PlanType)


def draw_loan(
    rng: Random, seed: int, platform_id: str, number: int, borrower: Customer, guarantors: list[str], raised_from: date
) -> Loan:
    """A loan of one borrower; the five plan types follow each other by number.

    Its terms come from the platform's stream, its grade and its fate from a stream of its own.
    """
    loan_no = f"{platform_id}-LN-{number:06d}"
    prospect = prospect_of(seed, borrower.party.party_ref, loan_no)
    guarantor = rng.choice(guarantors) if rng.randrange(3) else None
    contract_minor = rng.randrange(30, 121) * 100 * YUAN
    rate_ppm = 60_000 + 10_000 * GRADES.index(prospect.grade) + 1_000 * rng.randrange(60)
    plan_type = PLAN_TYPES[number % len(PLAN_TYPES)]
    term_months = rng.choice(TERMS)
    if plan_type is PlanType.BULLET:
        term_months = min(term_months, BULLET_TERM_MOST)
    pd = true_pd(prospect.risk, term_months, contract_minor)
    careful = Habit.LATE if prospect.is_late else Habit.ON_TIME
    return Loan(
        loan_no=loan_no,
        borrower=borrower,
        account_no=borrower.accounts[AccountRole.BORROWERS],
        guarantor_account_no=guarantor,
        contract_minor=contract_minor,
        rate_ppm=rate_ppm,
        plan_type=plan_type,
        term_months=term_months,
        raised_from=raised_from,
        purpose_code=rng.choice(PURPOSES),
        grade=prospect.grade,
        habit=Habit.STOPS if prospect.is_bad(pd) else careful,
        true_pd=pd,
        stops_when=prospect.when,
    )
