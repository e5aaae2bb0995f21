"""Small changes of a file's rows that planters share: find, insert behind, remove, shift the statement's balances."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from domain.vocabulary import FileKind, OrderType
from simulator.fault_places import DAY, Places, amount_of
from simulator.file_format import Row


def row_of(places: Places, day: date, kind: FileKind, request_no: str) -> Row:
    """The row of a request in a file."""
    return next(row for row in places.rows(day, kind) if row["request_no"] == request_no)


def insert_after(places: Places, day: date, kind: FileKind, after: Row, row: Row) -> None:
    """Put a row behind another one, which is found by identity."""
    rows = places.rows(day, kind)
    rows.insert(next(index for index, other in enumerate(rows) if other is after) + 1, row)


def remove(places: Places, day: date, kind: FileKind, row: Row) -> None:
    """Take a row out, found by identity."""
    rows = places.rows(day, kind)
    del rows[next(index for index, other in enumerate(rows) if other is row)]


def free_channel_rows(places: Places) -> Iterator[tuple[date, Row]]:
    """Recharges of the channel in quiet hours whose request and account no fault has used."""
    for day in places.quiet_nights():
        rows = list(places.rows(day, FileKind.CHANNEL))
        places.rng.shuffle(rows)
        for row in rows:
            free = places.is_free(str(row["request_no"]), [str(row["account_no"])])
            if free and places.in_quiet_hours(day, str(row["txn_at"])) and row["order_type"] == OrderType.RECHARGE:
                yield day, row


def free_orders(places: Places, types: frozenset[OrderType]) -> Iterator[tuple[date, Row]]:
    """Orders of some types that no fault has used, in the platform's own list."""
    for day in places.quiet_nights():
        rows = list(places.rows(day, FileKind.ORDERS))
        places.rng.shuffle(rows)
        for row in rows:
            if row["order_type"] in types and places.is_free(str(row["request_no"]), []):
                yield day, row


def shift_statement(places: Places, first: date, amount_minor: int) -> None:
    """Move the statement's balances from an entry of `first` on, as a bank that booked it would."""
    day = first
    while (day, FileKind.STATEMENT) in places.feeds:
        for row in places.rows(day, FileKind.STATEMENT):
            if row["line_type"] == "CLOSING" or (row["line_type"] == "OPENING" and day > first):
                row["amount_minor"] = amount_of(row) + amount_minor
        day += DAY
