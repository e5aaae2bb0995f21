"""Loans of the truth: plan rows with what was paid on both sides, claims of lenders, statuses (spec 00 section 0.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from domain.errors import Failed
from domain.money import largest_remainder
from domain.vocabulary import Component, LoanStatus, PlanType
from simulator.bank_day import months_after
from simulator.people import Customer
from simulator.schedule import schedule

BAD_DEBT_DAYS = 180
BAD_DPD = 60
BAD_WITHIN_MONTHS = 12
"""A loan is bad when its borrower is so many days past due within so many months after disbursement (spec 06 section 6.4)."""
ALLOWED_NEXT = {
    LoanStatus.ANNOUNCED: {LoanStatus.RAISING},
    LoanStatus.RAISING: {LoanStatus.FULL},
    LoanStatus.FULL: {LoanStatus.DISBURSED},
    LoanStatus.DISBURSED: {LoanStatus.REPAYING},
    LoanStatus.REPAYING: {LoanStatus.REPAID, LoanStatus.OVERDUE},
    LoanStatus.OVERDUE: {LoanStatus.REPAYING, LoanStatus.REPAID, LoanStatus.BAD_DEBT},
    LoanStatus.BAD_DEBT: {LoanStatus.REPAID},
    LoanStatus.REPAID: set(),
}
"""Order of statuses (spec 03 section 3.5), with the ways between repaying and overdue."""


class Habit(StrEnum):
    """How a borrower repays: on time, now and then late but never BAD_DPD days, or bad: not any more from some instalment on."""

    ON_TIME = "ON_TIME"
    LATE = "LATE"
    STOPS = "STOPS"


@dataclass
class PlanRow:
    """One instalment: what is due, what lenders received, what the borrower himself paid, by component, minor units."""

    issue_no: int
    due_on: date
    due: dict[Component, int]
    received: dict[Component, int] = field(default_factory=lambda: dict.fromkeys(Component, 0))
    paid: dict[Component, int] = field(default_factory=lambda: dict.fromkeys(Component, 0))

    def unreceived(self, component: Component) -> int:
        """What lenders have not received of the component."""
        return self.due[component] - self.received[component]

    def unpaid(self, component: Component) -> int:
        """What the borrower himself has not paid of the component."""
        return self.due[component] - self.paid[component]

    @property
    def is_settled(self) -> bool:
        """Whether the borrower has paid all of it and lenders have received all of it."""
        return self.paid == self.due and self.received == self.due


@dataclass
class Claim:
    """One lender's share of one loan; `principal_minor` is outstanding, a closed claim keeps what it had when it closed."""

    claim_no: str
    loan_no: str
    lender: Customer
    account_no: str
    principal_minor: int
    opened_on: date
    origin: str = "PRIMARY"
    parent_claim_no: str | None = None
    closed_on: date | None = None


@dataclass
class Loan:
    """One debt, from its announcement to its end."""

    loan_no: str
    borrower: Customer
    account_no: str
    guarantor_account_no: str | None
    contract_minor: int
    rate_ppm: int
    plan_type: PlanType
    term_months: int
    raised_from: date
    purpose_code: str
    grade: str
    habit: Habit
    true_pd: float
    stops_when: float
    disbursed_on: date | None = None
    rows: list[PlanRow] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    statuses: list[tuple[LoanStatus, datetime]] = field(default_factory=list)

    @property
    def status(self) -> LoanStatus:
        """The newest status."""
        return self.statuses[-1][0]

    @property
    def open_claims(self) -> list[Claim]:
        """Claims that still count, in the order in which they were opened."""
        return [claim for claim in self.claims if claim.closed_on is None]

    @property
    def outstanding_minor(self) -> int:
        """OP: disbursed less principal that lenders received from anyone."""
        return sum(row.unreceived(Component.PRINCIPAL) for row in self.rows)

    def become(self, status: LoanStatus, at: datetime) -> None:
        """Go to the next status; Failed when the order of statuses does not allow it."""
        if self.statuses and status not in ALLOWED_NEXT[self.status]:
            raise Failed(f"{self.loan_no}: status {status} cannot follow {self.status}")
        self.statuses.append((status, at))

    def disburse(self, day: date) -> None:
        """Make the plan: rows count from the day of disbursement."""
        self.disbursed_on = day
        rows = schedule(self.plan_type, self.contract_minor, self.rate_ppm, self.term_months, day)
        self.rows = [
            PlanRow(
                row.issue_no,
                row.due_on,
                {Component.PRINCIPAL: row.principal_minor, Component.INTEREST: row.interest_minor},
            )
            for row in rows
        ]

    @property
    def stops_at(self) -> int | None:
        """First instalment that a borrower who stops does not pay: early enough for the loan to be bad in time; None: he pays."""
        if self.habit is not Habit.STOPS or self.disbursed_on is None:
            return None
        latest = months_after(self.disbursed_on, BAD_WITHIN_MONTHS) - timedelta(days=BAD_DPD)
        early_enough = sum(row.due_on <= latest for row in self.rows)
        return 1 + int(self.stops_when * early_enough)

    def receive(self, row: PlanRow, component: Component, amount_minor: int, day: date) -> list[tuple[Claim, int]]:
        """Give lenders an amount of a row, split by outstanding principal with the largest remainder; returns the parts."""
        claims = self.open_claims
        parts = largest_remainder(amount_minor, [claim.principal_minor for claim in claims])
        row.received[component] += amount_minor
        if component is Component.PRINCIPAL:
            for claim, part in zip(claims, parts, strict=True):
                if part == claim.principal_minor:
                    claim.closed_on = day
                else:
                    claim.principal_minor -= part
        return [(claim, part) for claim, part in zip(claims, parts, strict=True) if part > 0]

    def overdue_rows(self, day: date) -> list[PlanRow]:
        """Rows due strictly before a day that are not settled on both sides."""
        return [row for row in self.rows if row.due_on < day and not row.is_settled]

    def status_on(self, day: date) -> LoanStatus:
        """The status that the plan shows at the end of a day, for a disbursed loan."""
        if all(row.is_settled for row in self.rows):
            return LoanStatus.REPAID
        overdue = self.overdue_rows(day)
        if not overdue:
            return LoanStatus.REPAYING
        days = (day - min(row.due_on for row in overdue)).days
        return LoanStatus.BAD_DEBT if days > BAD_DEBT_DAYS else LoanStatus.OVERDUE
