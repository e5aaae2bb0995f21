"""Everything true of one platform at a moment, and what is to come."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from random import Random

from domain.vocabulary import AccountRole
from simulator.book import Book
from simulator.loans import Claim, Loan, PlanRow
from simulator.people import Community, Customer


class Duty(StrEnum):
    """What is planned for one instalment on a day."""

    REPAY = "REPAY"
    REPAY_PART = "REPAY_PART"
    COMPENSATE = "COMPENSATE"


@dataclass(frozen=True, slots=True)
class OpeningPayment:
    """A payment of the history: who paid what of which row."""

    payment_no: str
    loan_no: str
    issue_no: int
    component: str
    payer_role: AccountRole
    amount_minor: int
    paid_on: date


@dataclass(frozen=True, slots=True)
class DayClose:
    """Closing balance and held amount of every account at the end of a business date."""

    balance: dict[str, int]
    held: dict[str, int]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal that the customer's bank refuses: its request, whose it is, how much."""

    request_no: str
    account_no: str
    amount_minor: int


@dataclass
class PlatformState:
    """One platform: its people, its book, its loans, and its agenda of instalments by date."""

    seed: int
    community: Community
    rng: Random
    book: Book
    loans: list[Loan] = field(default_factory=list)
    agenda: dict[date, list[tuple[Loan, PlanRow, Duty]]] = field(default_factory=lambda: defaultdict(list))
    opening_payments: list[OpeningPayment] = field(default_factory=list)
    closes: dict[date, DayClose] = field(default_factory=dict)
    refused: list[tuple[datetime, Withdrawal]] = field(default_factory=list)
    """Withdrawals that the payment company could not pay out, when it found out."""
    claim_count: int = 0

    @property
    def platform_id(self) -> str:
        """Id of the platform."""
        return self.community.platform_id

    @property
    def guarantor_accounts(self) -> list[str]:
        """Sub-accounts of the platform's guarantors."""
        role = AccountRole.GUARANTEECORP
        return [customer.accounts[role] for customer in self.community.with_role(role)]

    def new_claim(self, loan: Loan, lender: Customer, principal_minor: int, day: date, parent: Claim | None = None) -> Claim:
        """Open a claim of a lender on a loan: at disbursement, or from another claim by transfer."""
        self.claim_count += 1
        claim = Claim(
            claim_no=f"{self.platform_id}-CL-{self.claim_count:07d}",
            loan_no=loan.loan_no,
            lender=lender,
            account_no=lender.accounts[AccountRole.INVESTOR],
            principal_minor=principal_minor,
            opened_on=day,
            origin="TRANSFER" if parent else "PRIMARY",
            parent_claim_no=parent.claim_no if parent else None,
        )
        loan.claims.append(claim)
        return claim

    def close_day(self, day: date) -> None:
        """Keep the closing balances of a business date."""
        self.closes[day] = DayClose(dict(self.book.balance), dict(self.book.held))
