"""What new loans look like: amount, rate, plan, guarantor, and how their borrower will repay."""

from __future__ import annotations

from datetime import date
from random import Random

from domain.vocabulary import AccountRole, PlanType
from simulator.loans import Habit, Loan
from simulator.parameters import YUAN
from simulator.people import Customer

TERMS = (3, 6, 6, 9, 12, 12, 18, 24)
PURPOSES = ("WORKING_CAPITAL", "EQUIPMENT", "EDUCATION", "HOUSEHOLD", "MEDICAL")
GRADES = ("A", "A", "B", "B", "C", "D")
HABITS = {
    "A": (Habit.ON_TIME,) * 19 + (Habit.LATE,),
    "B": (Habit.ON_TIME,) * 16 + (Habit.LATE,) * 3 + (Habit.STOPS,),
    "C": (Habit.ON_TIME,) * 12 + (Habit.LATE,) * 5 + (Habit.STOPS,) * 3,
    "D": (Habit.ON_TIME,) * 8 + (Habit.LATE,) * 6 + (Habit.STOPS,) * 6,
}
"""Out of twenty borrowers of a grade, how many repay in which way."""
PLAN_TYPES = tuple(PlanType)


def draw_loan(rng: Random, platform_id: str, number: int, borrower: Customer, guarantors: list[str], raised_from: date) -> Loan:
    """A loan of one borrower; the five plan types follow each other by number."""
    grade = rng.choice(GRADES)
    return Loan(
        loan_no=f"{platform_id}-LN-{number:06d}",
        borrower=borrower,
        account_no=borrower.accounts[AccountRole.BORROWERS],
        guarantor_account_no=rng.choice(guarantors) if rng.randrange(3) else None,
        contract_minor=rng.randrange(30, 121) * 100 * YUAN,
        rate_ppm=60_000 + 5_000 * GRADES.index(grade) + 1_000 * rng.randrange(60),
        plan_type=PLAN_TYPES[number % len(PLAN_TYPES)],
        term_months=rng.choice(TERMS),
        raised_from=raised_from,
        purpose_code=rng.choice(PURPOSES),
        grade=grade,
        habit=rng.choice(HABITS[grade]),
    )
