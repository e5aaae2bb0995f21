"""The truth ledger of one platform: orders, movements, holds and balances of book B (contracts sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from domain.errors import Failed
from domain.vocabulary import ALLOWED_MOVEMENTS, CONTROL_ROLES, AccountRole, Component, MovementType, OrderType
from simulator.bank_day import business_date_of
from simulator.parameters import CURRENCY


@dataclass(frozen=True, slots=True)
class Movement:
    """One transfer from a debited to a credited account, minor units."""

    movement_type: MovementType
    debit: str
    credit: str
    amount_minor: int
    loan_no: str | None = None
    issue_no: int | None = None
    component: Component | None = None
    claim_no: str | None = None

    def body(self) -> dict[str, Any]:
        """The movement as the HTTP API takes it; fields without a value are left out."""
        fields = {
            "movement_type": self.movement_type.value,
            "debit_account": self.debit,
            "credit_account": self.credit,
            "amount_minor": self.amount_minor,
            "loan_no": self.loan_no,
            "issue_no": self.issue_no,
            "component": self.component.value if self.component else None,
            "claim_no": self.claim_no,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside on an account until an order releases it."""

    hold_no: str
    account_no: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Order:
    """One order of book B as it will be posted, with what the platform's order file says of it."""

    platform_id: str
    request_no: str
    order_type: OrderType
    at: datetime
    account_no: str | None
    counter_account_no: str | None
    amount_minor: int
    movements: tuple[Movement, ...] = ()
    place_holds: tuple[Hold, ...] = ()
    release_holds: tuple[str, ...] = ()
    loan_no: str | None = None

    @property
    def business_date(self) -> date:
        """Business date that the service will give it."""
        return business_date_of(self.at)

    def body(self) -> dict[str, Any]:
        """The order as the HTTP API takes it (contracts section 5)."""
        body: dict[str, Any] = {
            "platform_id": self.platform_id,
            "request_no": self.request_no,
            "order_type": self.order_type.value,
            "currency": CURRENCY,
            "movements": [movement.body() for movement in self.movements],
            "simulated_at": self.at.isoformat(),
        }
        if self.place_holds:
            body["place_holds"] = [
                {"hold_no": hold.hold_no, "account": hold.account_no, "amount_minor": hold.amount_minor}
                for hold in self.place_holds
            ]
        if self.release_holds:
            body["release_holds"] = list(self.release_holds)
        return body


@dataclass
class Book:
    """Balances (credits − debits) and holds of one platform; refuses what the service would refuse."""

    roles: dict[str, AccountRole]
    balance: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.balance = dict.fromkeys(self.roles, 0)
        self.held = dict.fromkeys(self.roles, 0)

    def is_sub_account(self, account_no: str) -> bool:
        """Whether an account lies under the special account, so that platforms keep it in book V too."""
        return self.roles[account_no] not in CONTROL_ROLES

    def sub_accounts(self) -> Iterable[str]:
        """Numbers of all sub-accounts, in the order of the registry."""
        return (account_no for account_no in self.roles if self.is_sub_account(account_no))

    def available(self, account_no: str) -> int:
        """Balance less holds."""
        return self.balance[account_no] - self.held[account_no]

    def post(self, order: Order) -> None:
        """Apply an order; Failed when a movement is not allowed, money is missing, or time runs backwards."""
        if self.orders and order.at <= self.orders[-1].at:
            raise Failed(f"{order.request_no} is not later than the order before it")
        for hold_no in order.release_holds:
            hold = self.holds.pop(hold_no)
            self.held[hold.account_no] -= hold.amount_minor
        for movement in order.movements:
            self._move(order, movement)
        for hold in order.place_holds:
            self.holds[hold.hold_no] = hold
            self.held[hold.account_no] += hold.amount_minor
            self._assert_covered(order, hold.account_no)
        self.orders.append(order)

    def _move(self, order: Order, movement: Movement) -> None:
        pair = (self.roles[movement.debit], self.roles[movement.credit])
        if pair not in ALLOWED_MOVEMENTS[movement.movement_type] or movement.amount_minor <= 0:
            raise Failed(f"{order.request_no}: {movement} is not allowed")
        self.balance[movement.debit] -= movement.amount_minor
        self.balance[movement.credit] += movement.amount_minor
        if self.is_sub_account(movement.debit):
            self._assert_covered(order, movement.debit)

    def _assert_covered(self, order: Order, account_no: str) -> None:
        if self.available(account_no) < 0:
            raise Failed(f"{order.request_no}: {account_no} would fall below zero")
