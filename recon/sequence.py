"""The order of an account's records inside a day, found from the balances that they leave: nobody writes the time, all write the
balance.

A record leads from its balance less its amount to its balance. A day's order is the way through all of its records; where two
ways are possible, or none is, nothing is guessed and the day stays without an order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recon.arrow_tables import create_table
from recon.landing import column
from recon.spec import SequenceOf, SourceSpec

if TYPE_CHECKING:
    import duckdb

Step = tuple[int, int]
"""The balance before a record and the one after it."""


class SeveralWays(Exception):
    """More than one way leads through the records of a day."""


@dataclass
class Days:
    """Days of accounts by what was found: one order, several, none; and the days that do not open as the last one closed."""

    ordered: int = 0
    several: int = 0
    broken: int = 0
    gaps: int = 0


def order(steps: Sequence[Step], opening: int | None = None) -> list[int] | None:
    """Places of the steps in the one way through all of them; None when there is no way.

    `opening` says where a way begins that ends where it began. Raises when several ways are possible.

    >>> order([(50, 20), (0, 100), (100, 50)])
    [1, 2, 0]
    """
    here = _start(steps, opening)
    if here is None:
        return None
    left = set(range(len(steps)))
    found: list[int] = []
    while left:
        out = [number for number in left if steps[number][0] == here]
        if len(out) > 1:
            out = [number for number in out if _can_go_on(steps, left - {number}, steps[number][1])]
        if len(out) > 1:
            raise SeveralWays
        if not out:
            return None
        found.append(out[0])
        left.remove(out[0])
        here = steps[out[0]][1]
    return found


def _start(steps: Sequence[Step], opening: int | None) -> int | None:
    surplus = Counter(before for before, _ in steps)
    surplus.subtract(after for _, after in steps)
    odd = {balance: number for balance, number in surplus.items() if number}
    if not odd:
        if len(steps) == 1:
            return steps[0][0]
        if opening is None:
            raise SeveralWays
        return opening
    starts = [balance for balance, number in odd.items() if number == 1]
    return starts[0] if len(odd) == 2 and len(starts) == 1 and min(odd.values()) == -1 else None


def _can_go_on(steps: Sequence[Step], left: set[int], here: int) -> bool:
    """Whether what is left hangs together from here: with as many ways into each balance as out of it that is enough."""
    around: dict[int, set[int]] = defaultdict(set)
    for number in left:
        before, after = steps[number]
        around[before].add(after)
        around[after].add(before)
    seen, waiting = {here}, [here]
    while waiting:
        for balance in around[waiting.pop()] - seen:
            seen.add(balance)
            waiting.append(balance)
    return not left or seen >= set(around)


def number_days(connection: duckdb.DuckDBPyConnection, table: str, source: SourceSpec) -> dict[str, dict[str, int]]:
    """Fill every field of a landed table that is the place inside its account's day; gives what was found, by field."""
    told = {}
    for name, declared in source.fields.items():
        if declared.sequence is not None:
            told[name] = _number(connection, table, column(name, declared), declared.sequence, source)
    return told


def _number(
    connection: duckdb.DuckDBPyConnection, table: str, target: str, rule: SequenceOf, source: SourceSpec
) -> dict[str, int]:
    by = [column(name, source.fields[name]) for name in rule.by]
    amount, balance = (column(name, source.fields[name]) for name in (rule.amount, rule.balance))
    given = " and ".join(f"{one} is not null" for one in [*by, amount, balance, "business_date"])
    rows = connection.execute(
        f"""select {", ".join(by)}, business_date, {balance} - {amount}, {balance}, rowid from {table} where {given}
          order by {", ".join(by)}, business_date, rowid"""
    ).fetchall()
    days = Days()
    accounts = groupby(rows, lambda row: row[: len(by)])
    places = [entry for _, account in accounts for entry in _account(list(account), rule.rounding_minor, days)]
    schema = pa.schema([("row_no", pa.int64()), ("place", pa.string())])
    create_table(connection, "sequence_found", pa.Table.from_pylist(places, schema=schema))
    connection.execute(f"update {table} as t set {target} = f.place from sequence_found as f where t.rowid = f.row_no")
    connection.execute("drop table sequence_found")
    return asdict(days)


def _alike(balances: Sequence[int], rounding: int) -> dict[int, int]:
    """For each balance the least of those that hang together with it, each within the rounding of the next.

    >>> _alike([500, 100, 505, 510], 5)
    {100: 100, 500: 500, 505: 500, 510: 500}
    """
    found: dict[int, int] = {}
    last = least = None
    for balance in sorted(set(balances)):
        if last is None or least is None or balance - last > rounding:
            least = balance
        found[balance], last = least, balance
    return found


def _account(rows: list[tuple[Any, ...]], rounding: int, days: Days) -> Iterator[dict[str, Any]]:
    closing: int | None = None
    for _, group in groupby(rows, lambda row: row[-4]):
        day = list(group)
        steps = [(row[-3], row[-2]) for row in day]
        alike = _alike([*(balance for step in steps for balance in step), *([] if closing is None else [closing])], rounding)
        steps = [(alike[before], alike[after]) for before, after in steps]
        opening = None if closing is None else alike[closing]
        try:
            found = order(steps, opening)
        except SeveralWays:
            days.several += 1
            closing = None
            continue
        if found is None:
            days.broken += 1
            closing = None
            continue
        days.ordered += 1
        days.gaps += opening is not None and steps[found[0]][0] != opening
        closing = day[found[-1]][-2]
        for place, number in enumerate(found, 1):
            yield {"row_no": day[number][-1], "place": str(place)}
