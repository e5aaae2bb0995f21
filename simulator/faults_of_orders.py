"""Faults of the platform's own order list (book O): B03, B06, B13, B16 (spec 07 section 7.4)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind, OrderType
from simulator.bank_day import next_working_day
from simulator.fault_places import amount_of
from simulator.fault_rows import free_orders, insert_after
from simulator.file_format import Row

if TYPE_CHECKING:
    from simulator.faults import Planter

MOVED = frozenset(
    {
        OrderType.RECHARGE,
        OrderType.WITHDRAW,
        OrderType.DISBURSE,
        OrderType.REPAYMENT,
        OrderType.CREDIT_ASSIGNMENT,
        OrderType.MARKETING,
    }
)
"""Orders that both ledgers moved when they succeeded."""
STUCK_AFTER_WORKING_DAYS = 3


def plant_without_cash(planter: Planter, number: int) -> bool:
    """B03: an order, every second one a bid, stands in the platform's list alone."""
    preferred = frozenset({OrderType.TENDER if number % 2 else OrderType.RECHARGE})
    for types in (preferred, MOVED):
        for day, model in free_orders(planter.places, types):
            row = _copy(planter, day, model)
            planter.note("B03", day, "R1", str(row["request_no"]), f"{row['order_type']} order that no ledger has")
            return True
    return False


def plant_status(planter: Planter) -> bool:
    """B06: the platform calls an order failed that both ledgers moved."""
    for day, row in free_orders(planter.places, MOVED):
        row["order_status"] = "FAILED"
        planter.places.take(str(row["request_no"]), [])
        planter.note("B06", day, "R1", str(row["request_no"]), "platform calls an order failed that was executed")
        return True
    return False


def plant_stuck(planter: Planter, _number: int) -> bool:
    """B13: an order that is never answered, early enough to wait for more than three working days in this world."""
    for day, model in free_orders(planter.places, MOVED):
        shown = day
        for _ in range(STUCK_AFTER_WORKING_DAYS + 1):
            shown = next_working_day(shown)
        if shown + timedelta(days=1) > planter.parameters.end or shown in planter.places.broken_dates:
            continue
        row = _copy(planter, day, model)
        row["order_status"] = "PROCESSING"
        planter.note("B13", day, "R1P", str(row["request_no"]), "order that is never answered")
        return True
    return False


def plant_split(planter: Planter, _number: int) -> bool:
    """B16: the order's total is not what its parts add up to."""
    for day, row in free_orders(planter.places, MOVED):
        row["amount_minor"] = amount_of(row) + planter.rng.randrange(1, 9_000)
        planter.places.take(str(row["request_no"]), [])
        planter.note("B16", day, "R1", str(row["request_no"]), f"{row['order_type']} order's total is not the sum of its parts")
        return True
    return False


def _copy(planter: Planter, day: date, model: Row) -> Row:
    row: Row = {**model, "request_no": planter.new_request_no(day), "amount_minor": 100 + planter.rng.randrange(1, 90_000)}
    insert_after(planter.places, day, FileKind.ORDERS, model, row)
    planter.places.take(str(row["request_no"]), [])
    return row
