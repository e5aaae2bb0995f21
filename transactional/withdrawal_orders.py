"""Orders of a withdrawal, each from its state: taking, letting go, paid out, rolled back; request numbers end in `#C #P #B`."""

from __future__ import annotations

from typing import Any

from domain.vocabulary import MovementType, OrderType
from fundwatch.settings import Settings
from transactional.bodies import Capture, Movement, Order
from transactional.posting_within import post_within

ORDER_TYPES = {"T1": OrderType.WITHDRAW_T1, "T0": OrderType.WITHDRAW_T0, "REAL_TIME": OrderType.WITHDRAW_REAL_TIME}


async def settle(settings: Settings, connection: Any, due: Any) -> None:
    """Post the last order of a withdrawal: WITHDRAW_PAYOUT when the bank paid, BACKROLL of amount and fee when it could not.

    `due` is a row of `payments.to_settle`; the caller's transaction holds the withdrawal's turn, and one settled before is left.
    """
    asked = await connection.fetchrow("SELECT * FROM payments.take_turn($1, $2)", due["platform_id"], due["withdrawal_no"])
    if asked["settled_at"] is not None:
        return
    order = _paid(asked) if due["outcome"] == "PAID" else _rolled_back(asked)
    posted = await post_within(connection, settings, order, "bank")
    await connection.execute(
        "SELECT payments.put_settlement($1, $2, $3, $4, $5)",
        *(due["platform_id"], due["withdrawal_no"], due["outcome"], due["reason"], posted["order_id"]),
    )


def taking(asked: Any) -> Order:
    """The confirmed withdrawal: its hold is spent on amount and fee."""
    payable = f"{asked['platform_id']}-X-WITHDRAWAL"
    movements = [Movement(MovementType.WITHDRAW, asked["account_no"], payable, asked["amount_minor"])]
    if asked["fee_minor"]:
        movements.append(Movement(MovementType.COMMISSION, asked["account_no"], asked["fee_account_no"], asked["fee_minor"]))
    captures = [Capture(asked["withdrawal_no"])]
    return Order(
        *(asked["platform_id"], f"{asked['withdrawal_no']}#C", ORDER_TYPES[asked["speed"]], asked["currency"], movements),
        capture_holds=captures,
    )


def letting_go(asked: Any) -> Order:
    """The refused withdrawal: its hold is let go."""
    return Order(
        *(asked["platform_id"], f"{asked['withdrawal_no']}#C", OrderType.UNFREEZE, asked["currency"]),
        release_holds=[asked["withdrawal_no"]],
    )


def _paid(asked: Any) -> Order:
    platform = asked["platform_id"]
    movement = Movement(MovementType.WITHDRAW_PAYOUT, f"{platform}-X-WITHDRAWAL", f"{platform}-X-SPECIAL", asked["amount_minor"])
    return Order(platform, f"{asked['withdrawal_no']}#P", OrderType.WITHDRAW_PAYOUT, asked["currency"], [movement])


def _rolled_back(asked: Any) -> Order:
    platform, account = asked["platform_id"], asked["account_no"]
    movements = [Movement(MovementType.BACKROLL, f"{platform}-X-WITHDRAWAL", account, asked["amount_minor"])]
    if asked["fee_minor"]:
        movements.append(Movement(MovementType.BACKROLL_COMMISSION, asked["fee_account_no"], account, asked["fee_minor"]))
    return Order(platform, f"{asked['withdrawal_no']}#B", OrderType.BACKROLL, asked["currency"], movements)
