"""OFX: 1.x (SGML, leaves without end) and 2.x (XML), bank and credit card statements (spec 07 section 7.6).

One tokenizer reads both, since banks send either under the other's name. It knows no entities but the five of XML, `&nbsp;` and
numbers, and refuses any DOCTYPE, so nothing outside is opened and nothing unfolds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from ingest.statements import amounts, days
from ingest.statements.gather import Gathered, credible, stmt_id
from ingest.statements.lines import CONTROL_BYTES
from ingest.statements.model import BOOKED, CREDIT, DEBIT, PENDING, Ended, Entry, Event, Statement
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import CHUNK_BYTES, Content
from ingest.stream import Readable

_TAG = re.compile(r"<(/?)([A-Za-z0-9_.]{1,64})\s*(/?)>|<\?[^>]{0,2000}\?>|<(!)")
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6}|[A-Za-z]{1,8});")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " "}
_STATEMENTS = frozenset({"STMTRS", "CCSTMTRS"})
_LISTS = {"BANKTRANLIST": BOOKED, "BANKTRANLISTP": PENDING, "CCSTMTTRANLISTP": PENDING}
_ENTRIES = frozenset({"STMTTRN", "STMTTRNP"})
_AGGREGATES = frozenset({*_STATEMENTS, *_LISTS, *_ENTRIES, "BANKACCTFROM", "CCACCTFROM", "LEDGERBAL", "AVAILBAL"})
# where the same leaf names mean the other side, or another balance
_SET_APART = frozenset({"BANKACCTTO", "CCACCTTO", "PAYEE", "CURRENCY", "ORIGCURRENCY", "BALLIST", "IMAGEDATA", "STATUS"})
_DEPTH_MAX, _LEAVES_MAX = 64, 512


@dataclass(frozen=True)
class _Token:
    line_no: int
    column_no: int
    name: str
    is_end: bool
    text: str


@dataclass
class _Node:
    """An open aggregate with the leaves that were read of it."""

    name: str
    line_no: int
    leaves: dict[str, tuple[str, Place]] = field(default_factory=dict)


def read(content: Content, encoding: str | None = None) -> Iterator[Event]:
    """Entries and statements of an OFX file, in order; `encoding` overrides what the header says."""
    name = encoding or _encoding(content)
    with content.opened() as stream:
        reader = _Reader(content)
        for token in _tokens(content, stream, name):
            yield from reader.take(token)
        yield from reader.finish()


def _encoding(content: Content) -> str:
    """What the header names: ENCODING and CHARSET of 1.x, the XML declaration of 2.x; UTF-8 when it is silent."""
    head = content.head(2048).decode("latin-1")
    named = re.search(r"<\?xml[^>]{0,200}encoding=[\"']([A-Za-z0-9_.-]{1,40})[\"']", head)
    if named:
        return _known(content, named[1])
    said = dict(re.findall(r"(?m)^\s*(ENCODING|CHARSET):\s*([A-Za-z0-9-]{1,20})", head))
    if said.get("ENCODING", "").upper() in {"UNICODE", "UTF-8", "UTF8"}:
        return "utf-8"
    charset = said.get("CHARSET", "NONE").upper()
    if charset in {"NONE", "UTF-8"}:
        return "utf-8"
    return _known(content, f"cp{charset}" if charset.isdigit() else charset)


def _known(content: Content, name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise Refused("ENCODING", content.at(1), f"the header names the encoding {name!r}, which is not known") from None


def _tokens(content: Content, stream: Readable, encoding: str) -> Iterator[_Token]:
    """Begin tags with the text behind them, and end tags; the header before the first tag is passed over.

    Lines do not matter: many files of version 2 are one line.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    name: tuple[int, int, str, bool] | None = None
    held, line_no, column_no, is_last = "", 1, 1, False
    while not is_last:
        data = stream.read(CHUNK_BYTES)
        is_last = not data
        held += _text(content, line_no, data, decoder)
        at = 0
        for found in _TAG.finditer(held):
            between = held[at : found.start()]
            if name:
                yield _Token(*name, _unescaped(content, name, between))
            line_no, column_no = _moved(between, line_no, column_no)
            if found[4]:
                raise Refused("HOSTILE", content.at(line_no, column_no), "the file declares a DTD, an entity or raw text")
            name = (line_no, column_no, found[2].upper(), bool(found[1])) if found[2] else None
            line_no, column_no = _moved(found[0], line_no, column_no)
            at = found.end()
        held = held[at:]
        if len(held) > content.limits.line_bytes_max:
            raise Refused(
                "SIZE", content.at(line_no, column_no), f"a value is longer than {content.limits.line_bytes_max} characters"
            )
    if name:
        yield _Token(*name, _unescaped(content, name, held))


def _moved(text: str, line_no: int, column_no: int) -> tuple[int, int]:
    """Line and column behind a text."""
    count = text.count("\n")
    return line_no + count, len(text) - text.rfind("\n") if count else column_no + len(text)


def _text(content: Content, line_no: int, data: bytes, decoder: codecs.IncrementalDecoder) -> str:
    found = CONTROL_BYTES.search(data)
    if found:
        at = content.at(line_no + data.count(b"\n", 0, found.start()))
        raise Refused("BINARY", at, f"the file holds the control byte {found[0][0]:#04x}: this is no text")
    try:
        return decoder.decode(data, not data)
    except UnicodeDecodeError as error:
        at = content.at(line_no + data.count(b"\n", 0, error.start))
        raise Refused("ENCODING", at, f"the bytes are not {error.encoding}, which the header names or leaves open") from None


def _unescaped(content: Content, at: tuple[int, int, str, bool], text: str) -> str:
    def one(found: re.Match[str]) -> str:
        word = found[1]
        if word.startswith("#"):
            code = int(word[2:], 16) if word[1] == "x" else int(word[1:])
            if code in {9, 10, 13} or 32 <= code < 0xD800 or 0xE000 <= code < 0x110000:
                return chr(code)
            raise Refused("BINARY", content.at(at[0], at[1]), f"{found[0]} is no character of a text")
        return _ENTITIES.get(word, found[0])

    return _ENTITY.sub(one, text.strip())


class _Reader:
    """The state between tokens: the open aggregates and the statement they belong to."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.gathered = Gathered()
        self.open: list[_Node] = []
        self.statement: Statement | None = None
        self.ordinal = self.entry_no = 0
        self.apart: str | None = None
        self.has_begun = self.has_ended = False

    def take(self, token: _Token) -> Iterator[Event]:
        """One tag."""
        place = self.content.at(token.line_no, token.column_no)
        if token.name == "OFX":
            self.has_begun, self.has_ended = True, token.is_end
        elif not self.has_begun or self.has_ended:
            raise Refused("SCHEMA", place, f"{token.name} stands outside of OFX")
        elif self.apart:
            self.apart = None if token.is_end and token.name == self.apart else self.apart
        elif token.is_end:
            if token.name in _AGGREGATES:
                yield from self._end(token, place)
        elif token.name in _SET_APART and not token.text:
            self.apart = token.name
        elif token.name in _AGGREGATES:
            yield from self._begin(token)
        elif self.open and token.text:
            leaves = self.open[-1].leaves
            if len(leaves) >= _LEAVES_MAX:
                raise Refused("SIZE", place, f"{self.open[-1].name} has more than {_LEAVES_MAX} values")
            leaves.setdefault(token.name, (token.text, place))

    def _begin(self, token: _Token) -> Iterator[Event]:
        place = self.content.at(token.line_no, token.column_no)
        if len(self.open) >= _DEPTH_MAX:
            raise Refused("HOSTILE", place, f"elements lie more than {_DEPTH_MAX} deep in each other")
        if token.name in _STATEMENTS and self.open:
            raise Refused("SCHEMA", place, "a statement begins inside another one")
        if token.name in _ENTRIES and (not self.open or self.open[-1].name not in _LISTS):
            raise Refused("SCHEMA", place, "a transaction stands outside of a list")
        self.open.append(_Node(token.name, token.line_no))
        yield from self.gathered.full()

    def _end(self, token: _Token, place: Place) -> Iterator[Event]:
        if not self.open or self.open[-1].name != token.name:
            due = self.open[-1].name if self.open else "nothing"
            raise Refused("SCHEMA", place, f"{token.name} ends where {due} is open")
        node = self.open.pop()
        if node.name in {"BANKACCTFROM", "CCACCTFROM"}:
            self._account(node, place)
        elif node.name in _ENTRIES:
            self._entry(node)
        elif node.name in _LISTS and self.statement and _LISTS[node.name] == BOOKED:
            self.statement.period_from = self._day(node, "DTSTART")
            self.statement.period_to = self._day(node, "DTEND")
        elif node.name in {"LEDGERBAL", "AVAILBAL"} and self.statement:
            self._balance(node, self.statement, place)
        elif node.name in _STATEMENTS:
            if self.statement is None:
                raise Refused("SCHEMA", place, "the statement names no account")
            yield from self.gathered.rest()
            yield Ended(self.statement, token.line_no)
            self.statement = None

    def _leaf(self, node: _Node, name: str) -> tuple[str, Place]:
        if name not in node.leaves:
            raise Refused("SCHEMA", self.content.at(node.line_no), f"{node.name} has no {name}")
        return node.leaves[name]

    def _account(self, node: _Node, place: Place) -> None:
        if not self.open or self.open[-1].name not in _STATEMENTS:
            return
        if self.statement:
            raise Refused("SCHEMA", place, "the statement names two accounts")
        number, _ = self._leaf(node, "ACCTID")
        code, at = self._leaf(self.open[-1], "CURDEF")
        bank = node.leaves.get("BANKID")
        self.ordinal, self.entry_no = self.ordinal + 1, 0
        account = f"{bank[0]}/{number}" if bank else number
        self.statement = Statement(stmt_id(self.content, self.ordinal), None, account, amounts.currency(code, at), "OFX")

    def _day(self, node: _Node, name: str) -> date | None:
        if name not in node.leaves:
            return None
        text, place = node.leaves[name]
        return credible(days.ofx(text, place)[0], self.content.limits, place)

    def _amount(self, node: _Node, name: str, code: str) -> int:
        text, place = self._leaf(node, name)
        return amounts.minor(text, code, place)

    def _balance(self, node: _Node, statement: Statement, place: Place) -> None:
        value = self._amount(node, "BALAMT", statement.currency)
        if node.name == "LEDGERBAL":
            statement.closing_minor = value
            statement.period_to = statement.period_to or self._day(node, "DTASOF")
        else:
            statement.available_minor = value

    def _entry(self, node: _Node) -> None:
        if self.statement is None:
            raise Refused("SCHEMA", self.content.at(node.line_no), "a transaction stands before the account")
        value = self._amount(node, "TRNAMT", self.statement.currency)
        is_pending = _LISTS[self.open[-1].name] == PENDING
        text, place = self._leaf(node, "DTTRAN" if node.name == "STMTTRNP" else "DTPOSTED")
        day, moment = days.ofx(text, place)
        reference = node.leaves.get("FITID") if is_pending else self._leaf(node, "FITID")
        self.entry_no += 1

        def said(*names: str) -> str | None:
            return next((node.leaves[name][0] for name in names if name in node.leaves), None)

        self.gathered.entries.append(
            Entry(
                self.statement.stmt_id,
                self.entry_no,
                node.line_no,
                DEBIT if value < 0 else CREDIT,
                abs(value),
                self.statement.currency,
                credible(day, self.content.limits, place),
                self._day(node, "DTAVAIL"),
                moment,
                said("CORRECTACTION") == "DELETE",
                PENDING if is_pending else BOOKED,
                reference[0] if reference else None,
                said("CHECKNUM", "REFNUM"),
                type_code=said("TRNTYPE"),
                type_family="OFX",
                counterparty_name=said("NAME"),
                remittance=said("MEMO"),
            )
        )

    def finish(self) -> Iterator[Event]:
        """The file ends: all must be closed."""
        if not self.has_ended or self.open:
            raise Refused("TRUNCATED", self.content.place, "the file ends before OFX does")
        if not self.ordinal:
            raise Refused("EMPTY", self.content.place, "the file holds no bank or credit card statement")
        yield from self.gathered.rest()
