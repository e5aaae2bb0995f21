"""Faults that only a second look tells from sound records: a cent of rounding (B17), one record that two fit (B28)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind, MovementType
from simulator.fault_places import amount_of
from simulator.fault_rows import insert_after, remove
from simulator.file_format import Row
from simulator.files import FIRST_SEQ

if TYPE_CHECKING:
    from simulator.faults import Planter

ALIKE_WITHIN = timedelta(minutes=30)


def plant_rounding(planter: Planter, number: int) -> bool:
    """B17: the platform rounds a lender's share of interest another way; every second time another lender has the cent."""
    places = planter.places
    for day, parts in _split_interest(planter):
        changes = [(parts[0], 1), (parts[1], -1)] if number % 2 and amount_of(parts[1]) > 1 else [(parts[0], 1)]
        done: list[tuple[Row, int]] = []
        for row, delta in changes:
            if places.shift(day, planter.parameters.end, row, delta):
                done.append((row, delta))
        for row, delta in done:
            row["amount_minor"] = amount_of(row) + delta
            places.take(str(row["request_no"]), places.accounts_of(row))
            planter.note("B17", day, "R3", f"{row['request_no']}#{row['seq']}", f"share of interest off by {delta}")
        if done:
            return True
    return False


def _split_interest(planter: Planter) -> Iterator[tuple[date, list[Row]]]:
    """Shares of interest of one order, two and more, that no fault has used."""
    for day in planter.places.quiet_nights():
        parts: dict[str, list[Row]] = defaultdict(list)
        for row in planter.places.free_postings(day):
            if row["movement_type"] == MovementType.INTEREST:
                parts[str(row["request_no"])].append(row)
        yield from ((day, rows) for rows in parts.values() if len(rows) > 1)


def plant_ambiguous(planter: Planter, _number: int) -> bool:
    """B28: for two equal recharges of one account the platform has one posting under a number that is neither's."""
    places = planter.places
    for day in places.quiet_nights():
        for first, second in _twins(planter, day):
            if not places.shift(day, planter.parameters.end, first, -amount_of(first)):
                continue
            request_no = planter.new_request_no(day)
            insert_after(places, day, FileKind.POSTINGS, second, {**second, "request_no": request_no, "seq": FIRST_SEQ})
            places.take(request_no, places.accounts_of(first))
            planter.note("B28", day, "R3", f"{request_no}#{FIRST_SEQ}", "platform's recharge fits two of the bank's equally well")
            for row in (first, second):
                remove(places, day, FileKind.POSTINGS, row)
                places.take(str(row["request_no"]), [])
                planter.note("B28", day, "R3", f"{row['request_no']}#{row['seq']}", "one of two that a posting fits equally well")
            return True
    return False


def _twins(planter: Planter, day: date) -> Iterator[tuple[Row, Row]]:
    alike: dict[tuple[str, str, int], Row] = {}
    for row in planter.places.free_postings(day):
        if row["movement_type"] != MovementType.RECHARGE:
            continue
        key = (str(row["debit_account_no"]), str(row["credit_account_no"]), amount_of(row))
        other = alike.setdefault(key, row)
        if other is not row and abs(_at(other) - _at(row)) <= ALIKE_WITHIN:
            yield other, row


def _at(row: Row) -> datetime:
    return datetime.fromisoformat(str(row["txn_at"]))
