"""Control of every statement (spec 07 section 7.6, guide 9.3.9): balances, counts, sums, sequence, repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ingest.statements.model import BOOKED, CREDIT, Ended, Entries, Event, Statement
from ingest.statements.refusal import Refused
from ingest.statements.source import Content

BALANCE, TOTALS, NONE = "BALANCE", "TOTALS", "NONE"
_INT64 = 2**63
# statements are few beside their entries; they and their names are all that is held of a file
STATEMENTS_MAX = 100_000


@dataclass
class Sums:
    """Entries of one statement so far, by direction; booked money apart from all."""

    count: dict[str, int] = field(default_factory=lambda: {"C": 0, "D": 0})
    minor: dict[str, int] = field(default_factory=lambda: {"C": 0, "D": 0})
    booked: dict[str, int] = field(default_factory=lambda: {"C": 0, "D": 0})


@dataclass(frozen=True)
class Last:
    """The statement before, of the same account, currency and kind of format."""

    seq_no: int | None
    period_to: date | None
    closing_minor: int | None
    what: str


@dataclass
class Before:
    """What was loaded already: hashes of contents, statements by their own reference, the last one of each account."""

    hashes: dict[str, str] = field(default_factory=dict)
    refs: dict[tuple[str, str, str, str, int | None, date | None], str] = field(default_factory=dict)
    last: dict[tuple[str, str, str], Last] = field(default_factory=dict)

    def add(self, statement: Statement) -> None:
        """A statement that landed."""
        what = f"{statement.file_name} ({statement.stmt_ref or statement.stmt_id})"
        if statement.stmt_ref is not None:
            self.refs[_reference(statement)] = what
        last = self.last.get(_stream(statement))
        if last is None or (statement.period_to or date.min, statement.seq_no or 0) >= (
            last.period_to or date.min,
            last.seq_no or 0,
        ):
            self.last[_stream(statement)] = Last(statement.seq_no, statement.period_to, statement.closing_minor, what)


def _family(form: str) -> str:
    return form.split(".001.", maxsplit=1)[0]


def _stream(statement: Statement) -> tuple[str, str, str]:
    return statement.account, statement.currency, _family(statement.format)


def _reference(statement: Statement) -> tuple[str, str, str, str, int | None, date | None]:
    return (*_stream(statement), statement.stmt_ref or "", statement.seq_no, statement.period_to)


def controlled(content: Content, events: Iterable[Event], before: Before) -> Iterator[Event]:
    """The events, each statement completed by its sums; refuses at the first statement that fails.

    `before` is asked and not extended: what was read lands only when the whole file does. Statements of the file itself follow
    each other, too.
    """
    sums: dict[str, Sums] = {}
    ended = 0
    here = Before({}, dict(before.refs), dict(before.last))
    for event in events:
        if isinstance(event, Entries):
            _add(sums, event.batch)
        elif isinstance(event, Ended):
            statement = event.statement
            statement.file_name, statement.file_sha256 = content.file_name, content.sha256
            _check(content, event, sums.pop(statement.stmt_id, Sums()), here)
            here.add(statement)
            ended += 1
            if ended > STATEMENTS_MAX:
                raise Refused("SIZE", content.at(event.line_no), f"the file holds more than {STATEMENTS_MAX} statements")
        yield event


def _add(sums: dict[str, Sums], batch: pa.RecordBatch) -> None:
    amounts = batch.column("amount_minor")
    largest = pc.max(amounts).as_py() or 0
    if largest * len(amounts) >= _INT64:
        # Arrow's sum of 64-bit integers wraps without a word
        amounts = pc.cast(amounts, pa.decimal128(38, 0))
    table = pa.table(
        {"stmt_id": batch.column("stmt_id"), "dr_cr": batch.column("dr_cr"), "status": batch.column("status"), "amount": amounts}
    )
    grouped = table.group_by(["stmt_id", "dr_cr", "status"], use_threads=False).aggregate(
        [("amount", "sum"), ("amount", "count")]
    )
    for row in grouped.to_pylist():
        of, total = sums.setdefault(row["stmt_id"], Sums()), int(row["amount_sum"])
        of.count[row["dr_cr"]] += row["amount_count"]
        of.minor[row["dr_cr"]] += total
        if row["status"] == BOOKED:
            of.booked[row["dr_cr"]] += total


def _check(content: Content, event: Ended, sums: Sums, before: Before) -> None:
    statement, declared, place = event.statement, event.declared, content.at(event.line_no)
    statement.entry_cnt = sum(sums.count.values())
    statement.credit_minor, statement.debit_minor = sums.booked[CREDIT], sums.booked["D"]
    whose = f"statement of {statement.account} in {statement.currency}"
    counted = (
        ("entries", declared.entry_cnt, statement.entry_cnt),
        ("credits", declared.credit_cnt, sums.count[CREDIT]),
        ("debits", declared.debit_cnt, sums.count["D"]),
    )
    for name, said, came in counted:
        if said is not None and said != came:
            raise Refused("ROW_COUNT", place, f"the {whose} says {said} {name}, {came} came")
    summed = (("credits", declared.credit_minor, sums.minor[CREDIT]), ("debits", declared.debit_minor, sums.minor["D"]))
    for name, said, came in summed:
        if said is not None and said != came:
            raise Refused("CONTROL_TOTAL", place, f"the {whose} says {said} minor units of {name}, they add up to {came}")
    is_summed = all(said is not None for _, said, _ in summed)
    statement.proof = TOTALS if is_summed else NONE
    if statement.opening_minor is not None and statement.closing_minor is not None and event.is_whole:
        reached = statement.opening_minor + statement.credit_minor - statement.debit_minor
        if reached != statement.closing_minor:
            raise Refused(
                "BALANCE",
                place,
                f"the {whose} opens with {statement.opening_minor}, its entries lead to {reached}, it closes with "
                f"{statement.closing_minor} minor units",
            )
        statement.proof = BALANCE
    _follow(content, event, before, whose)


def _follow(content: Content, event: Ended, before: Before, whose: str) -> None:
    """The statement against the one before it: not again, no number left out, opening where the last one closed."""
    statement, place = event.statement, content.at(event.line_no)
    if statement.period_from and statement.period_to and statement.period_from > statement.period_to:
        raise Refused("DATE", place, f"the {whose} runs from {statement.period_from} back to {statement.period_to}")
    if statement.stmt_ref is not None and (_reference(statement) in before.refs):
        raise Refused("DUPLICATE", place, f"the {whose} came before in {before.refs[_reference(statement)]}")
    last = before.last.get(_stream(statement))
    if last is None:
        return
    if statement.seq_no is not None and last.seq_no is not None and not _is_new_year(statement, last):
        if statement.seq_no <= last.seq_no:
            raise Refused(
                "SEQUENCE", place, f"the {whose} has number {statement.seq_no}; {last.seq_no} came before in {last.what}"
            )
        if statement.seq_no != last.seq_no + 1:
            raise Refused(
                "SEQUENCE", place, f"the {whose} has number {statement.seq_no}; {last.seq_no + 1} was due after {last.what}"
            )
    if statement.period_to and last.period_to and statement.period_to < last.period_to:
        raise Refused("SEQUENCE", place, f"the {whose} ends on {statement.period_to}, before {last.what} ({last.period_to})")
    if event.is_whole and last.closing_minor is not None:
        opening = statement.opening_minor
        net = statement.credit_minor - statement.debit_minor
        if opening is None and statement.closing_minor == last.closing_minor + net:
            # no opening of its own (OFX): what the last one closed with leads to its closing, which proves it
            statement.opening_minor, statement.proof = last.closing_minor, BALANCE
        if opening is not None and opening != last.closing_minor:
            raise Refused("BALANCE", place, f"the {whose} opens with {opening}; {last.what} closed with {last.closing_minor}")


def _is_new_year(statement: Statement, last: Last) -> bool:
    """Banks that begin again with 1 each year."""
    return statement.seq_no == 1 and bool(
        last.period_to and statement.period_to and statement.period_to.year > last.period_to.year
    )
