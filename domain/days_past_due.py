"""Days past due on both sides of a loan (spec 00 section 0.3, spec 05 section 5.1).

LD counts from the oldest due row that lenders have not received, BD from the oldest that the borrower himself has not paid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

TAU_MINOR = 1
"""De minimis: a row is unpaid when more than this is missing (0.01 yuan)."""
OVERDUE_DAY_OFFSET = 0
"""Days after the due date at whose end a row is not yet overdue: 0 = strictly before D (spec 00 section 0.3)."""


@dataclass(frozen=True)
class DueRow:
    """A row of a plan with what one side has seen paid by D; minor units."""

    due_on: date
    due_principal_minor: int
    due_interest_minor: int
    paid_principal_minor: int = 0
    paid_interest_minor: int = 0

    @property
    def unpaid_minor(self) -> int:
        """What is missing; paying too much of one component does not settle the other."""
        principal = max(0, self.due_principal_minor - self.paid_principal_minor)
        return principal + max(0, self.due_interest_minor - self.paid_interest_minor)


def is_overdue(row: DueRow, day: date, tau_minor: int = TAU_MINOR, overdue_day_offset: int = OVERDUE_DAY_OFFSET) -> bool:
    """Whether a row is overdue at the end of `day`: due strictly before it (less the offset) and more than τ missing."""
    return row.due_on < day - timedelta(days=overdue_day_offset) and row.unpaid_minor > tau_minor


def days_past_due(
    rows: Iterable[DueRow], day: date, tau_minor: int = TAU_MINOR, overdue_day_offset: int = OVERDUE_DAY_OFFSET
) -> int:
    """Calendar days from the oldest overdue row to `day`; 0 when none is overdue.

    Rows with what lenders received give LD, rows with what the borrower paid give BD.
    """
    overdue = [row.due_on for row in rows if is_overdue(row, day, tau_minor, overdue_day_offset)]
    return (day - min(overdue)).days if overdue else 0
