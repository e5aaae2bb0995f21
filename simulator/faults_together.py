"""Several faults on one business date, one account and one order: each is still one item of its own (spec 07 section 7.4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind, OrderType
from simulator.fault_places import DAY, amount_of
from simulator.fault_rows import insert_after, remove, row_of
from simulator.file_format import Row

if TYPE_CHECKING:
    from simulator.faults import Planter

WAYS = ("B10", "B11", "B04", "B06")
"""What is wrong with the order in the channel's list, in turn."""


def plant(planter: Planter, number: int) -> bool:
    """A recharge that is wrong in the channel's list and at the platform, on an account with wrong balances that date."""
    for day, channel in _recharges(planter):
        account, request_no = str(channel["account_no"]), str(channel["request_no"])
        posting = row_of(planter.places, day, FileKind.POSTINGS, request_no)
        if number % 2 and not planter.places.shift(day, planter.parameters.end, posting, amount_of(posting)):
            continue
        planter.places.take(request_no, [account])
        _channel(planter, day, channel, WAYS[number // 2 % len(WAYS)])
        if number % 2:
            insert_after(planter.places, day, FileKind.POSTINGS, posting, dict(posting))
            planter.note(
                "B08", day, "R3", f"{request_no}#{posting['seq']}", "platform's ledger has the posting twice, with others"
            )
        else:
            order = row_of(planter.places, day, FileKind.ORDERS, request_no)
            order["amount_minor"] = amount_of(order) + planter.rng.randrange(1, 9_000)
            planter.note("B16", day, "R1", request_no, "order's total is not the sum of its parts, with others")
        _balances(planter, day, account)
        return True
    return False


def _recharges(planter: Planter) -> Iterator[tuple[date, Row]]:
    places = planter.places
    for day in places.pair_nights():
        listed = {str(row["request_no"]) for row in places.rows(day, FileKind.POSTINGS)}
        rows = [row for row in places.rows(day, FileKind.CHANNEL) if row["order_type"] == OrderType.RECHARGE]
        places.rng.shuffle(rows)
        for row in rows:
            request_no = str(row["request_no"])
            free = places.is_free(request_no, [str(row["account_no"])])
            if free and request_no in listed and places.in_quiet_hours(day, str(row["txn_at"])):
                yield day, row


def _channel(planter: Planter, day: date, row: Row, code: str) -> None:
    if code == "B10":
        insert_after(planter.places, day, FileKind.CHANNEL, row, dict(row))
    elif code == "B11":
        remove(planter.places, day, FileKind.CHANNEL, row)
    elif code == "B04":
        row["amount_minor"] = amount_of(row) + planter.rng.randrange(2, 9_000)
    else:
        row["channel_status"] = "FAILED"
    planter.note(code, day, "R4", str(row["request_no"]), "channel has a recharge otherwise than the bank, with others")


def _balances(planter: Planter, day: date, account: str) -> None:
    """B20 and B26 on the account: closing and amount set aside are each wrong on the one date."""
    row = planter.places.balance_row(day, account)
    delta, held = planter.rng.randrange(2, 50_000), planter.rng.randrange(1, 500)
    row["closing_minor"] = amount_of(row, "closing_minor") + delta + held
    row["held_minor"] = amount_of(row, "held_minor") + held
    planter.note("B20", day, "R6", account, f"closing balance off by {delta + held}, with others", day + DAY)
    planter.note("B26", day, "R6", f"{account}:held", f"amount set aside off by {held}, with others", day + DAY)
