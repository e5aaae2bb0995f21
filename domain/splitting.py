"""How one payment becomes the parts of many lenders, to the cent (spec 05 section 5.1, spec 07 section 7.5).

A part is split pro rata to the outstanding principal of the claims by the largest remainder, so that the parts of a repayment add
up to its order, and no claim is ever paid more principal than it has outstanding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.allocation import Allocation
from domain.errors import BadInput
from domain.money import largest_remainder
from domain.vocabulary import Component


@dataclass(frozen=True)
class OpenClaim:
    """A lender's share of a loan: what is outstanding of its principal, minor units."""

    claim_no: str
    outstanding_minor: int


@dataclass(frozen=True)
class Part:
    """What one claim receives of one component of one instalment, minor units; never zero."""

    claim_no: str
    issue_no: int
    component: Component
    amount_minor: int


def split(allocations: Sequence[Allocation], claims: Sequence[OpenClaim]) -> list[Part]:
    """The parts of the claims, in the order of `allocations` and within each of `claims`.

    Principal paid lowers what is outstanding for the allocations that follow. Raises BadInput when there is no outstanding claim,
    when principal exceeds what is outstanding, or when an amount is negative.

    >>> parts = split([Allocation(1, Component.INTEREST, 100)], [OpenClaim("A", 200), OpenClaim("B", 100)])
    >>> [part.amount_minor for part in parts]
    [67, 33]
    """
    outstanding = [claim.outstanding_minor for claim in claims]
    if any(amount < 0 for amount in outstanding) or any(one.amount_minor < 0 for one in allocations):
        raise BadInput("amounts and what is outstanding cannot be negative")
    parts: list[Part] = []
    for one in allocations:
        if one.amount_minor == 0:
            continue
        total = sum(outstanding)
        if total == 0:
            raise BadInput(f"no claim is outstanding for instalment {one.issue_no}")
        if one.component is Component.PRINCIPAL and one.amount_minor > total:
            raise BadInput(f"principal {one.amount_minor} of instalment {one.issue_no} exceeds the outstanding {total}")
        amounts = largest_remainder(one.amount_minor, outstanding)
        parts += [
            Part(claim.claim_no, one.issue_no, one.component, amount)
            for claim, amount in zip(claims, amounts, strict=True)
            if amount
        ]
        if one.component is Component.PRINCIPAL:
            outstanding = [before - paid for before, paid in zip(outstanding, amounts, strict=True)]
    return parts
