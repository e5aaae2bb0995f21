"""BAI2, the cash management format of United States banks: records 01, 02, 03, 16, 88, 49, 98, 99 (spec 07 section 7.6).

Read here because the package `bai2` refuses custom type codes, wrapped values and continuation lines. Control totals and counts
of records must hold. Type codes say the direction: 1xx–3xx, 720–759 and 920–959 raise the account, 4xx–6xx, 760–799 and 960–999
lower it. Amounts have the currency's implied decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from ingest.statements import amounts, days
from ingest.statements.gather import Gathered, credible, stmt_id
from ingest.statements.lines import lines
from ingest.statements.model import CREDIT, DEBIT, Declared, Ended, Entry, Event, Statement
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import Content

RECORDS = frozenset({"01", "02", "03", "16", "49", "98", "99"})
CONTINUED = "88"
_LINES_MAX = 500
_CREDITS = (range(100, 400), range(720, 760), range(920, 960))
_DEBITS = (range(400, 700), range(760, 800), range(960, 1000))
_OPENING, _CLOSING, _AVAILABLE, _CREDIT_TOTAL, _DEBIT_TOTAL = "010", "015", "045", "100", "400"
_TEST_ONLY, _DELETION = "4", "2"


@dataclass(frozen=True)
class _Record:
    """A logical record: its continuation lines joined."""

    line_no: int
    code: str
    body: str
    line_cnt: int


@dataclass
class _Account:
    """An account being read: record 03 to 49."""

    statement: Statement
    records: int = 0
    total: int = 0
    entry_no: int = 0
    entries: int = 0
    balances: dict[str, tuple[int, int | None]] = field(default_factory=dict)


@dataclass
class _Level:
    """A file or a group being read."""

    total: int = 0
    records: int = 0
    inner: int = 0


@dataclass(frozen=True)
class _Group:
    day: date
    currency: str


def read(content: Content, encoding: str = "utf-8") -> Iterator[Event]:
    """Entries and statements of a BAI2 file, in order."""
    with content.opened() as stream:
        reader = _Reader(content)
        for record in _records(content, lines(content, stream, encoding)):
            yield from reader.take(record)
        reader.finish()


def _records(content: Content, numbered: Iterator[tuple[int, str]]) -> Iterator[_Record]:
    """Logical records: a line that ends in a slash is continued by a field, another one by more of its text."""
    held: _Record | None = None
    for number, raw in numbered:
        line = raw.rstrip()
        if not line:
            continue
        code, _, body = line.partition(",")
        code = code.rstrip("/")
        if code == CONTINUED:
            if held is None:
                raise Refused("SCHEMA", content.at(number, 1), "the file begins with a continuation")
            if held.line_cnt >= _LINES_MAX:
                raise Refused("SIZE", content.at(number, 1), f"the record is longer than {_LINES_MAX} lines")
            joined = f"{held.body[:-1]},{body}" if held.body.endswith("/") else f"{held.body} {body}"
            held = _Record(held.line_no, held.code, joined, held.line_cnt + 1)
        elif code in RECORDS:
            if held:
                yield held
            held = _Record(number, code, body, 1)
        else:
            raise Refused("SCHEMA", content.at(number, 1), f"{code[:10]!r} is no record of BAI2")
    if held:
        yield held


class _Reader:
    """The state between records: file, group, account."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.gathered = Gathered()
        self.file: _Level | None = None
        self.group: _Level | None = None
        self.of: _Group | None = None
        self.account: _Account | None = None
        self.ordinal = 0
        self.is_done = False

    def take(self, record: _Record) -> Iterator[Event]:
        """One logical record."""
        place = self.content.at(record.line_no, 1)
        if self.is_done and record.code != "01":
            raise Refused("SCHEMA", place, f"record {record.code} stands behind the file's trailer")
        for level in (self.file, self.group, self.account):
            if level:
                level.records += record.line_cnt
        if record.code == "01":
            self._expect(self.file is None, record, "inside a file that did not end")
            self.file, self.is_done = _Level(records=record.line_cnt), False
        elif record.code == "02":
            self._expect(self.file is not None and self.group is None, record, "outside of a file or inside a group")
            self._open_group(record)
        elif record.code == "03":
            self._expect(self.group is not None and self.account is None, record, "outside of a group or inside an account")
            yield from self.gathered.rest()
            self._open_account(record)
        elif record.code == "16":
            self._expect(self.account is not None, record, "outside of an account")
            self._entry(record)
            yield from self.gathered.full()
        else:
            yield from self._trailer(record)

    def _expect(self, is_there: bool, record: _Record, where: str) -> None:
        if not is_there:
            raise Refused("SCHEMA", self.content.at(record.line_no, 1), f"record {record.code} stands {where}")

    def _fields(self, record: _Record, count: int) -> list[str]:
        values = [value.strip() for value in record.body.rstrip().removesuffix("/").split(",")]
        return values + [""] * (count - len(values))

    def _open_group(self, record: _Record) -> None:
        place = self.content.at(record.line_no, 4)
        _, _, status, day_text, time_text, code, *_ = self._fields(record, 7)
        if status in {_TEST_ONLY, _DELETION}:
            meaning = "for test only" if status == _TEST_ONLY else "a deletion of what was sent before"
            raise Refused("SCHEMA", place, f"the group's status {status} says that it is {meaning}")
        day = days.short(day_text, place)
        credible(day, self.content.limits, place)
        self._check_time(time_text, place)
        self.of = _Group(day, amounts.currency(code or "USD", place))
        self.group = _Level(records=record.line_cnt)

    def _check_time(self, text: str, place: Place) -> None:
        """As-of time, not kept: the format names no zone. 2400 and 9999 are the end of the day."""
        if text not in {"", "2400", "9999"} and not re.fullmatch(r"([01][0-9]|2[0-3])[0-5][0-9]", text):
            raise Refused("DATE", place, f"{text[:10]!r} is not a time HHMM")

    def _open_account(self, record: _Record) -> None:
        assert self.of is not None
        place = self.content.at(record.line_no, 4)
        number, code, *rest = self._fields(record, 2)
        if not number:
            raise Refused("SCHEMA", place, "the account has no number")
        self.ordinal += 1
        statement = Statement(
            stmt_id(self.content, self.ordinal),
            None,
            number,
            amounts.currency(code or self.of.currency, place),
            "BAI2",
            period_from=self.of.day,
            period_to=self.of.day,
        )
        self.account = _Account(statement, record.line_cnt)
        self._summaries(self.account, rest, place)
        balances = self.account.balances
        statement.opening_minor = balances.get(_OPENING, (None, None))[0]
        statement.closing_minor = balances.get(_CLOSING, (None, None))[0]
        statement.available_minor = balances.get(_AVAILABLE, (None, None))[0]

    def _summaries(self, account: _Account, values: list[str], place: Place) -> None:
        """Status and summary amounts of record 03: type, amount, count, funds type with what follows it."""
        while values:
            code, amount, count, funds, *values = [*values, "", "", "", ""][: max(len(values), 4)]
            values = self._funds(funds, values, place)
            if not code:
                if amount or count:
                    raise Refused("SCHEMA", place, "an amount of the account has no type code")
                continue
            self._type(code, place)
            if count and not re.fullmatch(r"[0-9]{1,10}", count):
                raise Refused("SCHEMA", place, f"{count[:20]!r} is not a count of items")
            if amount:
                value = amounts.whole(amount, place)
                account.total += value
                account.balances.setdefault(code, (value, int(count) if count else None))

    def _type(self, code: str, place: Place) -> int:
        if not re.fullmatch(r"[0-9]{3}", code):
            raise Refused("SCHEMA", place, f"{code[:10]!r} is not a type code of three digits")
        return int(code)

    def _funds(self, funds: str, values: list[str], place: Place) -> list[str]:
        """What remains behind a funds type: S has three amounts, V a date and a time, D a number of pairs of days and amount."""
        if funds in {"", "0", "1", "2", "Z"}:
            return values
        if funds == "S":
            for value in values[:3]:
                if value:
                    amounts.whole(value, place)
            skipped = 3
        elif funds == "V":
            credible(days.short(values[0], place), self.content.limits, place) if values and values[0] else None
            skipped = 2
        elif funds == "D":
            if not values or not re.fullmatch(r"[0-9]{1,3}", values[0]):
                raise Refused("SCHEMA", place, "the funds type D has no number of distributions")
            skipped = 1 + 2 * int(values[0])
        else:
            raise Refused("SCHEMA", place, f"{funds[:10]!r} is no funds type (0, 1, 2, S, V, D, Z)")
        if len(values) < skipped:
            raise Refused("SCHEMA", place, f"the funds type {funds} has fewer than {skipped} fields behind it")
        return values[skipped:]

    def _entry(self, record: _Record) -> None:
        assert self.account is not None and self.of is not None
        place = self.content.at(record.line_no, 4)
        code, amount, funds, *rest = [*record.body.removesuffix("/").split(","), "", "", ""]
        number = self._type(code.strip(), place)
        value = amounts.whole(amount.strip(), place) if amount.strip() else 0
        self.account.total += value
        value_date = self._value_date(funds.strip(), rest, place)
        behind = self._funds(funds.strip(), [item.strip() for item in rest], place)
        bank_ref, cust_ref, *text = [*rest[len(rest) - len(behind) :], "", ""]
        remittance = ",".join(text).rstrip(",").strip()
        if 890 <= number <= 899:
            # a message without money
            return
        self.account.entry_no += 1
        self.account.entries += 1
        direction = self._direction(number, place)
        is_negative = value < 0
        self.gathered.entries.append(
            Entry(
                self.account.statement.stmt_id,
                self.account.entry_no,
                record.line_no,
                direction if not is_negative else (DEBIT if direction == CREDIT else CREDIT),
                abs(value),
                self.account.statement.currency,
                self.of.day,
                value_date,
                reversal_flag=is_negative,
                bank_ref=bank_ref.strip() or None,
                cust_ref=cust_ref.strip() or None,
                type_code=code.strip(),
                type_family="BAI2",
                remittance=remittance or None,
            )
        )

    def _value_date(self, funds: str, rest: list[str], place: Place) -> date | None:
        if funds == "V" and rest and rest[0].strip():
            return credible(days.short(rest[0].strip(), place), self.content.limits, place)
        assert self.of is not None
        return self.of.day if funds == "0" else None

    def _direction(self, number: int, place: Place) -> str:
        if any(number in codes for codes in _CREDITS):
            return CREDIT
        if any(number in codes for codes in _DEBITS):
            return DEBIT
        raise Refused("SCHEMA", place, f"the type code {number:03} is neither a credit nor a debit")

    def _trailer(self, record: _Record) -> Iterator[Event]:
        place = self.content.at(record.line_no, 4)
        values = self._fields(record, 3)
        if record.code == "49":
            self._expect(self.account is not None, record, "outside of an account")
            assert self.account is not None and self.group is not None
            account, self.account = self.account, None
            self._check(place, values[0], values[1], account.total, account.records, "account")
            self.group.total += account.total
            self.group.inner += 1
            yield from self.gathered.rest()
            yield Ended(account.statement, record.line_no, self._declared(account))
            return
        is_group = record.code == "98"
        level = self.group if is_group else self.file
        self._expect(level is not None and self.account is None and (is_group or self.group is None), record, "out of place")
        assert level is not None and self.file is not None
        what, inner = ("group", "accounts") if is_group else ("file", "groups")
        self._check(place, values[0], values[2], level.total, level.records, what)
        if values[1] != str(level.inner) and self._count(values[1], place) != level.inner:
            raise Refused("ROW_COUNT", place, f"the {what}'s trailer says {values[1]} {inner}, {level.inner} came")
        if is_group:
            self.file.total += level.total
            self.file.inner += 1
            self.group = None
        else:
            self.file, self.is_done = None, True

    def _check(self, place: Place, total: str, records: str, own_total: int, own_records: int, what: str) -> None:
        said = int(total) if re.fullmatch(r"[+-]?[0-9]{1,18}", total) else None
        if said is None:
            raise Refused("SCHEMA", place, f"the {what}'s control total {total[:20]!r} is no number")
        if said != own_total:
            raise Refused("CONTROL_TOTAL", place, f"the {what}'s trailer says {said}, its amounts add up to {own_total}")
        if self._count(records, place) != own_records:
            raise Refused("ROW_COUNT", place, f"the {what}'s trailer says {records} records, {own_records} came")

    def _count(self, text: str, place: Place) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text):
            raise Refused("SCHEMA", place, f"{text[:20]!r} is no number of records")
        return int(text)

    def _declared(self, account: _Account) -> Declared:
        """Total credits and debits count only when the entries came too: many banks send balances alone."""
        if not account.entries:
            return Declared()
        credit, debit = (account.balances.get(code, (None, None)) for code in (_CREDIT_TOTAL, _DEBIT_TOTAL))
        return Declared(None, credit[1], debit[1], credit[0], debit[0])

    def finish(self) -> None:
        """The file ends: its trailer must have come."""
        if not self.is_done:
            raise Refused("TRUNCATED", self.content.place, "the file ends without its trailer (record 99)")
