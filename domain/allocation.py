"""What a payment settles: oldest row first, inside a row interest before principal (spec 05 section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from domain.errors import BadInput
from domain.vocabulary import Component


@dataclass(frozen=True)
class OwedRow:
    """What is still owed of one instalment, minor units."""

    issue_no: int
    due_on: date
    principal_minor: int
    interest_minor: int


@dataclass(frozen=True)
class Allocation:
    """The part of a payment that settles one component of one instalment, minor units."""

    issue_no: int
    component: Component
    amount_minor: int


def allocate(amount_minor: int, owed: Sequence[OwedRow]) -> tuple[list[Allocation], int]:
    """Spread a payment over what is owed; gives the allocations and what is left over.

    Parts and rest add up to the amount. Raises BadInput when an amount is negative.
    """
    if amount_minor < 0 or any(row.principal_minor < 0 or row.interest_minor < 0 for row in owed):
        raise BadInput("a payment and what is owed cannot be negative")
    allocations: list[Allocation] = []
    rest = amount_minor
    for row in sorted(owed, key=lambda row: (row.due_on, row.issue_no)):
        for component, part in ((Component.INTEREST, row.interest_minor), (Component.PRINCIPAL, row.principal_minor)):
            taken = min(rest, part)
            if taken:
                allocations.append(Allocation(row.issue_no, component, taken))
                rest -= taken
    return allocations, rest
