"""Faults of the channel's lists and of the bank's statement: B06, B09, B10, B11, B21, B27 (spec 07 section 7.4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from domain.vocabulary import FileKind
from simulator.fault_places import DAY, amount_of
from simulator.fault_rows import free_channel_rows, insert_after, remove, shift_statement
from simulator.file_format import Row

if TYPE_CHECKING:
    from simulator.faults import Planter


def plant_channel_status(planter: Planter) -> bool:
    """B06: the channel calls a recharge failed that custody credited."""
    return _channel(planter, "B06", "channel calls a recharge failed that was credited", _fail)


def plant_channel_twice(planter: Planter, _number: int) -> bool:
    """B10: one line of the channel's list stands there twice."""
    return _channel(planter, "B10", "channel lists a recharge twice", _double)


def plant_channel_lost(planter: Planter, _number: int) -> bool:
    """B11: one line of the channel's list is missing."""
    return _channel(planter, "B11", "channel does not list a recharge", _lose)


def _fail(_planter: Planter, _day: date, row: Row) -> None:
    row["channel_status"] = "FAILED"


def _double(planter: Planter, day: date, row: Row) -> None:
    insert_after(planter.places, day, FileKind.CHANNEL, row, dict(row))


def _lose(planter: Planter, day: date, row: Row) -> None:
    remove(planter.places, day, FileKind.CHANNEL, row)


def _channel(planter: Planter, code: str, what: str, change: Callable[[Planter, date, Row], None]) -> bool:
    for day, row in free_channel_rows(planter.places):
        change(planter, day, row)
        planter.places.take(str(row["request_no"]), [str(row["account_no"])])
        planter.note(code, day, "R4", str(row["request_no"]), what)
        return True
    return False


def plant_unknown_entry(planter: Planter, _number: int) -> bool:
    """B27: money on the statement that nobody refers to; its balances follow."""
    for day in planter.places.quiet_nights():
        rows = planter.places.rows(day, FileKind.STATEMENT)
        if any(row["type_code"] == "UNKNOWN" for row in rows):
            continue
        amount, entry_no = planter.rng.randrange(1_000, 500_000), len(rows)
        entry: Row = {**rows[-1], "line_type": "ENTRY", "entry_no": entry_no, "amount_minor": amount, "type_code": "UNKNOWN"}
        rows.insert(len(rows) - 1, entry)
        shift_statement(planter.places, day, amount)
        planter.note("B27", day, "R5", f"@entry-{day}-{entry_no}", "entry without a reference")
        return True
    return False


def plant_total(planter: Planter, _number: int) -> bool:
    """B21: the statement's closing balance is wrong on one date, without an entry."""
    for day in planter.places.pair_nights():
        if (day, "B21") in planter.dates or (day + DAY, "B21") in planter.dates or (day - DAY, "B21") in planter.dates:
            continue
        closing = planter.places.rows(day, FileKind.STATEMENT)[-1]
        delta = planter.rng.randrange(1, 50_000)
        closing["amount_minor"] = amount_of(closing) + delta
        planter.note("B21", day, "R7", "B-1", f"statement's closing balance off by {delta}", day + DAY)
        return True
    return False


def plant_entry_twice(planter: Planter, _number: int) -> bool:
    """B09: the statement has an entry twice; its balances follow."""
    for day in planter.places.quiet_nights():
        rows = planter.places.rows(day, FileKind.STATEMENT)
        entries = [row for row in rows if row["bank_ref"] and planter.places.is_free(str(row["bank_ref"]), [])]
        if not entries:
            continue
        model = planter.rng.choice(entries)
        rows.insert(len(rows) - 1, {**model, "entry_no": len(rows) - 1})
        shift_statement(planter.places, day, amount_of(model))
        planter.places.take(str(model["bank_ref"]), [])
        planter.note("B09", day, "R5", str(model["bank_ref"]), f"statement has an entry of {model['type_code']} twice")
        return True
    return False
