"""Faults of settlements, in the bank's statement and in the payment company's files: B15, B22 (spec 07 section 7.4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind
from simulator.channel_fee import channel_fee
from simulator.fault_places import amount_of
from simulator.fault_rows import shift_statement
from simulator.file_format import Row

if TYPE_CHECKING:
    from simulator.faults import Planter


def plant_entry(planter: Planter, number: int) -> bool:
    """B22: the statement has a settlement with another amount; its balances follow. Every second one is in `plant_batch`."""
    if number % 2:
        return False
    for day in planter.places.quiet_nights():
        for row in planter.places.rows(day, FileKind.STATEMENT):
            if row["type_code"] != "CHANNEL_SETTLEMENT" or not planter.places.is_free(str(row["bank_ref"]), []):
                continue
            delta = planter.rng.randrange(1, 5_000)
            row["amount_minor"] = amount_of(row) + delta
            shift_statement(planter.places, day, delta)
            planter.places.take(str(row["bank_ref"]), [])
            planter.note("B22", day, "R5", str(row["bank_ref"]), f"statement has a settlement that is off by {delta}")
            return True
    return False


def plant_fee(planter: Planter, _number: int) -> bool:
    """B15: the payment company keeps another fee than its terms say."""
    for day, batch in _free_batches(planter):
        delta = planter.rng.randrange(1, 500)
        batch["fee_minor"] = amount_of(batch, "fee_minor") + delta
        batch["net_minor"] = amount_of(batch, "net_minor") - delta
        planter.places.take(str(batch["settlement_batch_no"]), [])
        planter.note("B15", day, "R5F", str(batch["settlement_batch_no"]), f"fee of a batch is off by {delta}")
        return True
    return False


def plant_batch(planter: Planter, number: int) -> bool:
    """B22: a batch is settled without one of the orders that the channel put into it, or with another sum."""
    for _, batch in _free_batches(planter):
        number_of_batch = str(batch["settlement_batch_no"])
        listed = [
            (day, row)
            for (day, kind), feed in planter.places.feeds.items()
            if kind is FileKind.CHANNEL and day not in planter.places.broken_dates
            for row in feed.rows
            if row["settlement_batch_no"] == number_of_batch and row["channel_status"] == "SUCCESS"
        ]
        if len(listed) < 2:
            continue
        day, order = planter.rng.choice(listed)
        missing = amount_of(order) if number % 4 == 1 else planter.rng.randrange(1, 900)
        batch["gross_minor"] = amount_of(batch, "gross_minor") - missing
        if number % 4 == 1:
            batch["order_count"] = amount_of(batch, "order_count") - 1
        # the fee follows what is settled, so that it is as the terms say
        fee = channel_fee(amount_of(batch, "gross_minor"), amount_of(batch, "order_count"))
        batch["fee_minor"], batch["net_minor"] = fee, amount_of(batch, "gross_minor") - fee
        planter.places.take(number_of_batch, [])
        planter.note("B22", day, "R5B", number_of_batch, f"batch lacks {missing} of what the channel's orders add up to")
        return True
    return False


def _free_batches(planter: Planter) -> Iterator[tuple[date, Row]]:
    """Settlement batches of quiet dates that no fault has used."""
    for day in planter.places.quiet_nights():
        for batch in planter.places.rows(day, FileKind.SETTLEMENT):
            if planter.places.is_free(str(batch["settlement_batch_no"]), []):
                yield day, batch
