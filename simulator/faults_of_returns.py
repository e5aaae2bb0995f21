"""Faults of failed withdrawals and their return to the customer: B18, B19 (spec 07 sections 7.4 and 7.5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind, MovementType, OrderType
from simulator.bank_day import next_working_day
from simulator.fault_places import DAY, amount_of
from simulator.fault_rows import remove
from simulator.file_format import Row
from simulator.files import REFUSED

if TYPE_CHECKING:
    from simulator.faults import Planter

LOOKED_BACK = 12 * DAY
"""So long before a return its failed withdrawal is looked for: a broken file in between leaves the question open."""


def plant_unpaired(planter: Planter, number: int) -> bool:
    """B18: money went back to a customer for a withdrawal that did not fail, or that was of another amount."""
    for failed_on, row, returned_on in _returned(planter):
        request_no = str(row["request_no"])
        if returned_on in planter.places.broken_dates:
            continue
        if number % 2 and not any(returned_on - LOOKED_BACK <= day <= returned_on for day in planter.places.broken_dates):
            remove(planter.places, failed_on, FileKind.CHANNEL, row)
            planter.note("B18", returned_on, "R4B", request_no, "money went back for a withdrawal that did not fail")
        else:
            row["amount_minor"] = amount_of(row) + planter.rng.randrange(1, 9_000)
            planter.note("B18", failed_on, "R4B", request_no, "money went back for a withdrawal of another amount")
        planter.places.take(request_no, [str(row["account_no"])])
        return True
    return False


def plant_late(planter: Planter, _number: int) -> bool:
    """B19: the channel could not pay a withdrawal, and the customer does not get the money back in this world."""
    for day, row in _withdrawals(planter):
        failed_on = next_working_day(day)
        due_on = next_working_day(failed_on)
        span = (due_on - day).days + 1
        if due_on > planter.parameters.end or any(day + n * DAY in planter.places.broken_dates for n in range(span)):
            continue
        at = f"{failed_on}T11:00:00+08:00"
        planter.places.rows(failed_on, FileKind.CHANNEL).append({**row, "txn_at": at, "channel_status": REFUSED})
        planter.places.take(str(row["request_no"]), [str(row["account_no"])])
        planter.note("B19", failed_on, "R4B", str(row["request_no"]), "failed withdrawal that is not given back")
        return True
    return False


def _withdrawals(planter: Planter) -> Iterator[tuple[date, Row]]:
    """Withdrawals that the channel paid and no fault has used."""
    days = [day for day, kind in planter.places.feeds if kind is FileKind.CHANNEL]
    refused = {
        row["request_no"]
        for day in days
        for row in planter.places.rows(day, FileKind.CHANNEL)
        if row["channel_status"] == REFUSED
    }
    for day in planter.places.quiet_nights():
        rows = [row for row in planter.places.rows(day, FileKind.CHANNEL) if row["order_type"] == OrderType.WITHDRAW]
        planter.rng.shuffle(rows)
        for row in rows:
            free = planter.places.is_free(str(row["request_no"]), [str(row["account_no"])])
            if free and row["request_no"] not in refused:
                yield day, row


def _returned(planter: Planter) -> Iterator[tuple[date, Row, date]]:
    """Withdrawals that failed and no fault has used: when, the channel's row, and when the customer got the money back."""
    taken, given_back = _posted(planter, MovementType.WITHDRAW), _posted(planter, MovementType.BACKROLL)
    for day in planter.places.quiet_nights():
        rows = [row for row in planter.places.rows(day, FileKind.CHANNEL) if row["channel_status"] == REFUSED]
        planter.rng.shuffle(rows)
        for row in rows:
            request_no = str(row["request_no"])
            returned_on = given_back.get(f"{request_no}#B")
            known = taken.get(request_no) not in {None, *planter.places.broken_dates}
            if known and returned_on and planter.places.is_free(request_no, [str(row["account_no"])]):
                yield day, row, returned_on


def _posted(planter: Planter, movement_type: MovementType) -> dict[str, date]:
    """When the platform's ledger has the movements of a type, by request."""
    return {
        str(row["request_no"]): day
        for (day, kind), feed in planter.places.feeds.items()
        if kind is FileKind.POSTINGS
        for row in feed.rows
        if row["movement_type"] == movement_type
    }
