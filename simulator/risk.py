"""The truth behind credit: every borrower's latent risk, and the true PD of every loan.

Who is how risky, and what becomes of a loan, are drawn from streams of their own, one a person and one a loan: nothing else in
the world moves when another loan is drawn. Nobody in the world sees the risk; people see what follows from it
(`simulator.bureau`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from random import Random

from simulator.parameters import YUAN

GRADES = ("A", "B", "C", "D")
GRADE_BELOW = (-0.5, 0.6, 1.5)
"""What a platform sees of the risk (itself and as much noise again, halved) below these bounds is graded A, B, C; above, D."""
INTERCEPT, SLOPE = -3.4, 1.5
TERM_SLOPE, TERM_MIDDLE = 0.25, 10
AMOUNT_SLOPE, AMOUNT_MIDDLE = 0.20, 7_500 * YUAN
LATE_INTERCEPT, LATE_SLOPE = -1.8, 0.6
PD_DIGITS = 9


def logistic(value: float) -> float:
    """1 / (1 + exp(−value)).

    >>> logistic(0.0)
    0.5
    """
    return 1.0 / (1.0 + exp(-value))


def risk_of(seed: int, party_ref: str) -> float:
    """Latent risk of a person, standard normal; the same on every platform."""
    return Random(f"{seed}/risk/{party_ref}").gauss(0.0, 1.0)


def true_pd(risk: float, term_months: int, contract_minor: int) -> float:
    """Probability that a loan is bad: 60 or more days past due, by its borrower, within 12 months after disbursement.

    >>> true_pd(0.0, 12, 7_500 * YUAN) < true_pd(1.0, 12, 7_500 * YUAN) < true_pd(1.0, 24, 9_000 * YUAN)
    True
    """
    terms = TERM_SLOPE * (term_months - TERM_MIDDLE) / 10 + AMOUNT_SLOPE * (contract_minor - AMOUNT_MIDDLE) / AMOUNT_MIDDLE
    return round(logistic(INTERCEPT + SLOPE * risk + terms), PD_DIGITS)


@dataclass(frozen=True)
class Prospect:
    """What the stream of one loan says: what the platform thinks of its borrower, and the draws that decide how it ends.

    `outcome` and `lateness` are uniform draws to be held against probabilities; `when` says at which of the instalments that can
    still make the loan bad a borrower stops, as a fraction of their number.
    """

    risk: float
    grade: str
    outcome: float
    lateness: float
    when: float

    def is_bad(self, pd: float) -> bool:
        """Whether a loan with this true PD turns bad."""
        return self.outcome < pd

    @property
    def is_late(self) -> bool:
        """Whether a borrower who does not stop pays late now and then (never 60 days)."""
        return self.lateness < logistic(LATE_INTERCEPT + LATE_SLOPE * self.risk)


def prospect_of(seed: int, party_ref: str, loan_no: str) -> Prospect:
    """The draws of a loan."""
    risk = risk_of(seed, party_ref)
    rng = Random(f"{seed}/loan/{loan_no}")
    seen = (risk + rng.gauss(0.0, 1.0)) / 2
    grade = GRADES[sum(seen >= bound for bound in GRADE_BELOW)]
    return Prospect(risk, grade, rng.random(), rng.random(), rng.random())
