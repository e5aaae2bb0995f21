"""MT940 and MT942 of SWIFT: end-of-day and intraday statements (spec 07 section 7.6).

Read here rather than by `mt-940`, which merges the statements of a file and refuses some banks' files without a tag for them.
Pages (60M, 62M) become one statement; RC and RD are reversals, so RC lowers the account; dates have SWIFT's century.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from ingest.statements import amounts, days
from ingest.statements.gather import Gathered, credible, stmt_id
from ingest.statements.lines import lines
from ingest.statements.model import CREDIT, DEBIT, Declared, Ended, Entry, Event, Statement
from ingest.statements.mt_86 import told
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import Content

# a line that looks like a field but carries none of these tags belongs to the field before it
_TAGS = "20|21|25P?|28C?|60[FM]|61|86|62[FM]|64|65|34F|13D?|90[DC]|NS"
_FIELD = re.compile(rf":({_TAGS}):(.*)")
_TAG_LIKE = re.compile(r":([0-9]{2}[A-Z]?):")
_ENVELOPE = re.compile(r"\{[1-3]:.*\{4:\s*")
_END = re.compile(r"-(\}.*)?\s*")
_LINE = re.compile(
    r"(?P<value>[0-9]{6})(?P<entry>[0-9]{4})?(?P<mark>R?[CD])(?P<funds>[A-Z])?(?P<amount>[0-9]{1,15}(?:[,.][0-9]*)?|,[0-9]+)"
    r"(?P<type>[A-Z][A-Z0-9]{3})(?P<cust>.*?)(?://(?P<bank>.*))?"
)
_BALANCE = re.compile(r"([DC])([0-9]{6})([A-Z]{3})([0-9]{1,15}(?:[,.][0-9]*)?|,[0-9]+)\s*")
_NUMBER = re.compile(r"([0-9]{1,5})(?:/([0-9]{1,5}))?\s*")
_FLOOR = re.compile(r"([A-Z]{3})([DC])?([0-9,.]+)\s*")
_TOTAL = re.compile(r"([0-9]{1,5})([A-Z]{3})([0-9,.]+)\s*")
_FIELD_LINES_MAX, _PREAMBLE_LINES_MAX = 200, 10


@dataclass
class _Field:
    line_no: int
    tag: str
    lines: list[str]

    @property
    def text(self) -> str:
        return self.lines[0].strip()


@dataclass
class _Page:
    """What one message said so far."""

    line_no: int
    ref: str
    account: str | None = None
    number: int | None = None
    page: int | None = None
    told_at: datetime | None = None
    totals: dict[str, tuple[int, str, str, Place]] = field(default_factory=dict)
    closed: str | None = None
    opened: str | None = None
    is_intraday: bool = False


def read(content: Content, encoding: str = "utf-8") -> Iterator[Event]:
    """Entries and statements of a file of MT940 or MT942 messages, in order."""
    with content.opened() as stream:
        reader = _Reader(content)
        for item in _fields(content, lines(content, stream, encoding)):
            yield from reader.take(item) if item.tag else reader.end(item.line_no)
        yield from reader.finish()


def _fields(content: Content, numbered: Iterator[tuple[int, str]]) -> Iterator[_Field]:
    """The fields with their continuation lines; one with an empty tag ends a message."""
    held: _Field | None = None
    number, has_begun = 0, False
    for number, raw in numbered:
        line = _ENVELOPE.sub("", raw) if raw.startswith("{") else raw
        found = _FIELD.match(line)
        if found:
            if held:
                yield held
            held, has_begun = _Field(number, found[1], [found[2]]), True
        elif _END.fullmatch(line):
            if held:
                yield held
            held = None
            yield _Field(number, "", [])
        elif held is None:
            _between(content, number, line, has_begun)
        elif _TAG_LIKE.match(line) and held.tag != "86":
            raise Refused("SCHEMA", content.at(number, 1), f"{line[:6]!r} is no field of MT940 or MT942")
        elif line.strip():
            held.lines.append(line)
            if len(held.lines) > _FIELD_LINES_MAX:
                raise Refused("SIZE", content.at(number), f"field {held.tag} has more than {_FIELD_LINES_MAX} lines")
    if held:
        yield held
    yield _Field(number, "", [])


def _between(content: Content, number: int, line: str, has_begun: bool) -> None:
    """Lines outside a message: names of sender and receiver before the first, nothing but blanks and envelopes later."""
    if not line.strip() or line.startswith(("{", "}")):
        return
    if has_begun or number > _PREAMBLE_LINES_MAX or line.startswith(":"):
        raise Refused("SCHEMA", content.at(number, 1), f"{line[:40]!r} is no field of MT940 or MT942")


class _Reader:
    """The state between fields: the message being read, and the statement its pages add up to."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.gathered = Gathered()
        self.statement: Statement | None = None
        self.page: _Page | None = None
        self.ordinal = self.entry_no = 0
        self.awaits: tuple[str, int | None, int, int] | None = None
        self.entry: Entry | None = None
        self.supplement: str | None = None

    def take(self, item: _Field) -> Iterator[Event]:
        """One field."""
        place = self.content.at(item.line_no, len(item.tag) + 3)
        if item.tag == "20":
            yield from self.end(item.line_no)
            self.page = _Page(item.line_no, item.text)
            return
        if self.page is None:
            raise Refused("SCHEMA", self.content.at(item.line_no, 1), f"field {item.tag} stands before field 20")
        if item.tag == "61":
            yield from self._line(item, self.page)
        elif item.tag == "86":
            self._information(item)
        elif item.tag in {"60F", "60M"}:
            self._opening(item, self.page, place)
        elif item.tag in {"62F", "62M"}:
            self._closing(item, self.page, place)
        else:
            self._other(item, self.page, place)

    def _other(self, item: _Field, page: _Page, place: Place) -> None:
        if item.tag in {"25", "25P"}:
            page.account = item.text
        elif item.tag in {"28C", "28"}:
            found = _NUMBER.fullmatch(item.text)
            if found is None:
                raise Refused("SCHEMA", place, f"{item.text[:20]!r} is not a statement number with a page")
            page.number, page.page = int(found[1]), int(found[2]) if found[2] else None
        elif item.tag == "13D":
            page.told_at = days.offset(item.text, place)
        elif item.tag == "34F":
            self._floor(item, page, place)
        elif item.tag == "64" and self.statement:
            self.statement.available_minor = self._balance(item, place)[2]
        elif item.tag in {"90D", "90C"}:
            found = _TOTAL.fullmatch(item.text)
            if found is None:
                raise Refused("SCHEMA", place, f"{item.text[:30]!r} is not a number and a sum of entries")
            page.totals[item.tag] = (int(found[1]), found[2], found[3], place)

    def _balance(self, item: _Field, place: Place) -> tuple[date, str, int]:
        found = _BALANCE.fullmatch(item.text)
        if found is None:
            raise Refused("SCHEMA", place, f"{item.text[:40]!r} is not a balance (C or D, date, currency, amount)")
        day = days.short(found[2], place)
        credible(day, self.content.limits, place)
        code = amounts.currency(found[3], place)
        value = amounts.minor(found[4], code, place)
        return day, code, -value if found[1] == "D" else value

    def _begin(self, page: _Page, code: str, place: Place, form: str) -> Statement:
        if not page.account:
            raise Refused("SCHEMA", place, "the message has no field 25 (account) before its balance or floor")
        self.ordinal += 1
        self.entry_no = 0
        self.statement = Statement(stmt_id(self.content, self.ordinal), page.ref or None, page.account, code, form, page.number)
        return self.statement

    def _opening(self, item: _Field, page: _Page, place: Place) -> None:
        if page.opened:
            raise Refused("SCHEMA", place, "the message has two opening balances")
        page.opened = item.tag
        day, code, value = self._balance(item, place)
        if self.awaits is None:
            if item.tag == "60M":
                raise Refused("SEQUENCE", place, "the statement begins with an intermediate balance: its first page is missing")
            statement = self._begin(page, code, place, "MT940")
            statement.period_from, statement.opening_minor = day, value
            return
        account, number, after, closed = self.awaits
        self.awaits = None
        if item.tag == "60F" or (page.account, page.number) != (account, number) or (page.page or after + 1) != after + 1:
            raise Refused("SEQUENCE", place, f"page {after + 1} of statement {number} of {account} was due here")
        assert self.statement is not None
        if (value, code) != (closed, self.statement.currency):
            raise Refused("BALANCE", place, f"the page opens with {value} {code}, the page before it closed with {closed}")
        self.statement.page_cnt += 1

    def _closing(self, item: _Field, page: _Page, place: Place) -> None:
        day, code, value = self._balance(item, place)
        if self.statement is None or page.opened is None:
            raise Refused("SCHEMA", place, "the message has a closing and no opening balance")
        if page.closed:
            raise Refused("SCHEMA", place, "the message has two closing balances")
        if code != self.statement.currency:
            raise Refused(
                "CURRENCY", place, f"the closing balance is in {code}, the opening balance in {self.statement.currency}"
            )
        page.closed = item.tag
        self._settle()
        self.statement.period_to, self.statement.closing_minor = day, value

    def _floor(self, item: _Field, page: _Page, place: Place) -> None:
        found = _FLOOR.fullmatch(item.text)
        if found is None:
            raise Refused("SCHEMA", place, f"{item.text[:30]!r} is not a floor limit (currency and amount)")
        code = amounts.currency(found[1], place)
        amounts.minor(found[3], code, place)
        if not page.is_intraday:
            page.is_intraday = True
            self._begin(page, code, place, "MT942")

    def _line(self, item: _Field, page: _Page) -> Iterator[Event]:
        place = self.content.at(item.line_no, 5)
        self._settle()
        if self.statement is None or page.closed:
            raise Refused("SCHEMA", place, "a statement line stands outside of opening and closing balance")
        yield from self.gathered.full()
        found = _LINE.fullmatch(item.lines[0].rstrip())
        if found is None:
            raise Refused(
                "SCHEMA", place, f"{item.lines[0][:60]!r} is not a statement line (date, mark, amount, type, reference)"
            )
        self.entry = self._entry(found, item.line_no, self.statement, page)
        self.supplement = " ".join(line.strip() for line in item.lines[1:]) or None

    def _entry(self, found: re.Match[str], line_no: int, statement: Statement, page: _Page) -> Entry:
        at = lambda name: self.content.at(line_no, found.start(name) + 5)  # noqa: E731
        value_date = credible(days.short(found["value"], at("value")), self.content.limits, at("value"))
        assert value_date is not None
        is_reversal = found["mark"].startswith("R")
        self.entry_no += 1
        return Entry(
            statement.stmt_id,
            self.entry_no,
            line_no,
            # a reversed credit lowers the account
            CREDIT if (found["mark"][-1] == "C") != is_reversal else DEBIT,
            amounts.minor(found["amount"], statement.currency, at("amount")),
            statement.currency,
            days.beside(found["entry"], value_date, at("entry")) if found["entry"] else value_date,
            value_date,
            page.told_at,
            is_reversal,
            bank_ref=_reference(found["bank"]),
            cust_ref=_reference(found["cust"]),
            type_code=found["type"],
            type_family="SWIFT",
        )

    def _information(self, item: _Field) -> None:
        """Field 86 behind a line is the entry's; elsewhere it speaks of the statement and is not kept."""
        if self.entry is None:
            return
        said = told(item.lines)
        self.entry.type_family = f"GVC {said.type_code}" if said.type_code else self.entry.type_family
        self.entry.counterparty_name = said.counterparty_name
        self.entry.counterparty_acct = said.counterparty_acct
        self.entry.e2e_id = said.e2e_id
        self.entry.remittance = said.remittance
        self._settle()

    def _settle(self) -> None:
        """The entry being read is complete."""
        if self.entry:
            self.entry.remittance = self.entry.remittance or self.supplement
            self.gathered.entries.append(self.entry)
        self.entry = self.supplement = None

    def end(self, line_no: int) -> Iterator[Event]:
        """The message ends here: with it an intraday statement or a last page."""
        page, self.page = self.page, None
        if page is None:
            return
        self._settle()
        if page.is_intraday:
            yield from self._end_intraday(page, line_no)
            return
        if self.statement is None or page.closed is None:
            raise Refused("TRUNCATED", self.content.at(page.line_no), f"the message {page.ref!r} ends without a closing balance")
        if page.closed == "62M":
            assert self.statement.closing_minor is not None
            self.awaits = (
                self.statement.account,
                page.number,
                page.page or self.statement.page_cnt,
                self.statement.closing_minor,
            )
            return
        yield from self.gathered.rest()
        yield Ended(self.statement, line_no)
        self.statement = None

    def _end_intraday(self, page: _Page, line_no: int) -> Iterator[Event]:
        statement = self.statement
        assert statement is not None
        yield from self.gathered.rest()
        counted: dict[str, tuple[int | None, int | None]] = {"90D": (None, None), "90C": (None, None)}
        for tag, (count, code, text, place) in page.totals.items():
            if code != statement.currency:
                raise Refused("CURRENCY", place, f"the sum is in {code}, the floor limit in {statement.currency}")
            counted[tag] = (count, amounts.minor(text, code, place))
        (debits, debit), (credits, credit) = counted["90D"], counted["90C"]
        statement.period_from = statement.period_to = page.told_at.date() if page.told_at else None
        yield Ended(statement, line_no, Declared(None, credits, debits, credit, debit), is_whole=False)
        self.statement = None

    def finish(self) -> Iterator[Event]:
        """The file ends: nothing may be awaited."""
        if self.awaits:
            account, number, after, _ = self.awaits
            raise Refused(
                "TRUNCATED", self.content.place, f"page {after + 1} of statement {number} of {account} is not in the file"
            )
        yield from self.gathered.rest()


def _reference(text: str | None) -> str | None:
    return None if text is None or text.strip() in {"", "NONREF"} else text.strip()
