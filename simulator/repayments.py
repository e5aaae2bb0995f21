"""What one instalment's payment moves: to lenders by share, or back to the guarantor who had paid them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from domain.vocabulary import Component, MovementType, OrderType
from simulator.book import Movement
from simulator.loans import Loan, PlanRow

PAY_ORDER = (Component.INTEREST, Component.PRINCIPAL)
"""Inside a row interest is paid before principal (spec 05 section 5.1)."""
PAYMENT_TYPE = {Component.PRINCIPAL: MovementType.PRINCIPAL, Component.INTEREST: MovementType.INTEREST}


@dataclass(frozen=True)
class Draft:
    """An order of a payment before it has a number and a time."""

    order_type: OrderType
    payer: str
    receiver: str | None
    movements: tuple[Movement, ...]


def plan_need(row: PlanRow) -> int:
    """What the borrower must have to pay a row in full, minor units."""
    return sum(row.unpaid(component) for component in Component)


def repayment_orders(loan: Loan, row: PlanRow, day: date) -> list[Draft]:
    """Orders by which the borrower settles a row: what lenders still miss, then what the guarantor had advanced."""
    to_guarantor = {component: row.unpaid(component) - row.unreceived(component) for component in PAY_ORDER}
    drafts = []
    lenders = _to_lenders(loan, row, day, loan.account_no, None)
    if lenders:
        drafts.append(Draft(OrderType.REPAYMENT, loan.account_no, None, lenders))
    guarantor = loan.guarantor_account_no
    back = tuple(
        Movement(
            MovementType.COMPENSATORY_REPAYMENT,
            loan.account_no,
            guarantor,
            amount,
            loan_no=loan.loan_no,
            issue_no=row.issue_no,
            component=component,
        )
        for component, amount in to_guarantor.items()
        if amount > 0 and guarantor
    )
    if back:
        drafts.append(Draft(OrderType.COMPENSATORY_REPAYMENT, loan.account_no, guarantor, back))
    row.paid = dict(row.due)
    return drafts


def compensation_order(loan: Loan, row: PlanRow, available_minor: int, day: date) -> Draft | None:
    """The order by which the guarantor pays lenders what they miss of a row; None when nothing is missing or money lacks."""
    missing = sum(row.unreceived(component) for component in PAY_ORDER)
    if missing == 0 or missing > available_minor or not loan.guarantor_account_no:
        return None
    movements = _to_lenders(loan, row, day, loan.guarantor_account_no, MovementType.COMPENSATORY)
    return Draft(OrderType.COMPENSATORY, loan.guarantor_account_no, None, movements)


def _to_lenders(loan: Loan, row: PlanRow, day: date, payer: str, movement_type: MovementType | None) -> tuple[Movement, ...]:
    movements = []
    for component in PAY_ORDER:
        amount = row.unreceived(component)
        if amount == 0:
            continue
        for claim, part in loan.receive(row, component, amount, day):
            movements.append(
                Movement(
                    movement_type or PAYMENT_TYPE[component],
                    payer,
                    claim.account_no,
                    part,
                    loan_no=loan.loan_no,
                    issue_no=row.issue_no,
                    component=component,
                    claim_no=claim.claim_no,
                )
            )
    return tuple(movements)
