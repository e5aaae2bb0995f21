"""Orders of a recharge, each from its state: the money in, and the reversal that takes it back (`NO#B`)."""

from __future__ import annotations

from typing import Any

from domain.vocabulary import MovementType, OrderType
from fundwatch.settings import Settings
from transactional.bodies import Movement, Order
from transactional.posting_within import post_within

ORDER_TYPES = {
    "WEB": OrderType.RECHARGE_WEB,
    "TERMINAL": OrderType.RECHARGE_TERMINAL,
    "WITHHOLDING": OrderType.RECHARGE_WITHHOLDING,
}


class _Rehearsed(Exception):
    """Ends a rehearsal, so that its savepoint is taken back."""


async def rehearse(connection: Any, settings: Settings, order: Order, entered_by: str) -> None:
    """Post an order and take it back: what the engine refuses is raised as FW422, else nothing is left and no lock held."""
    try:
        async with connection.transaction():
            await post_within(connection, settings, order, entered_by)
            raise _Rehearsed
    except _Rehearsed:
        return


def taking(asked: Any) -> Order:
    """The paid recharge: the payment company owes the bank, the customer has the money, the platform its fee."""
    movements = [Movement(MovementType.RECHARGE, asked["channel_account_no"], asked["account_no"], asked["amount_minor"])]
    if asked["fee_minor"]:
        movements.append(Movement(MovementType.COMMISSION, asked["account_no"], asked["fee_account_no"], asked["fee_minor"]))
    return Order(asked["platform_id"], asked["request_no"], ORDER_TYPES[asked["channel"]], asked["currency"], movements)


def taking_back(asked: Any) -> Order:
    """The reversal of that order, movement by movement."""
    swapped = [
        Movement(each.movement_type, each.credit_account, each.debit_account, each.amount_minor)
        for each in taking(asked).movements
    ]
    return Order(
        *(asked["platform_id"], f"{asked['request_no']}#B", ORDER_TYPES[asked["channel"]], asked["currency"], swapped),
        reverses_request_no=asked["request_no"],
    )
