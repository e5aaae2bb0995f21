"""camt.052, camt.053 and camt.054 of ISO 20022, versions 2 to 13 (spec 07 section 7.6).

One element at a time: neither entries nor the transactions of a batch entry are held together. The versions differ little: `Sts`
is a word or a code in an element, parties lie in `Pty` since version 8, the amount of a transaction moved out of `AmtDtls`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from domain.money import MAX_AMOUNT_MINOR
from ingest.statements import amounts, days
from ingest.statements.currencies import DIGITS
from ingest.statements.gather import Gathered, credible, stmt_id
from ingest.statements.model import BOOKED, CREDIT, DEBIT, PENDING, STATUSES, Declared, Ended, Entry, Event, Statement
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import Content
from ingest.statements.xml_stream import Node, events

NAMESPACE = re.compile(r"urn:iso:std:iso:20022:tech:(?:xsd:)?camt\.(05[234])\.001\.([0-9]{2})")
VERSIONS = range(2, 14)
_MESSAGES = {"BkToCstmrStmt": "053", "BkToCstmrAcctRpt": "052", "BkToCstmrDbtCdtNtfctn": "054"}
_STATEMENTS = frozenset({"Stmt", "Rpt", "Ntfctn"})
_DROPPED = frozenset({"Ntry", "TxDtls", *_STATEMENTS, *_MESSAGES, "GrpHdr"})
_PLACES = frozenset(
    {
        *(("GrpHdr", message) for message in _MESSAGES),
        *((statement, message) for statement in _STATEMENTS for message in _MESSAGES),
        *(("Ntry", statement) for statement in _STATEMENTS),
        ("TxDtls", "NtryDtls"),
    }
)
# the first of each that a statement has is its balance: closing booked, else interim booked
_OPENING, _CLOSING, _AVAILABLE = ("OPBD", "PRCD"), ("CLBD", "ITBD"), ("CLAV", "ITAV")


@dataclass
class _Open:
    """A statement whose end was not read yet."""

    node: Node
    statement: Statement | None = None
    entry_no: int = 0
    parts: int = 0
    part_sum: int | None = 0
    balances: dict[str, tuple[int, date | None]] = field(default_factory=dict)
    declared: list[Declared] = field(default_factory=list)
    # pages that ended before this one
    pages: int = 0


def read(content: Content) -> Iterator[Event]:
    """Entries, parts of batch entries and statements of a camt file, in order."""
    reader = _Reader(content)
    with content.opened() as stream:
        for event in events(content, stream, _DROPPED):
            name, parent = event.node.name, event.path[-2] if len(event.path) > 1 else ""
            if name in _MESSAGES and not event.is_end:
                reader.message(event.node, event.namespace)
            elif reader.form and name in _STATEMENTS and parent in _MESSAGES:
                yield from reader.end(event.node) if event.is_end else reader.begin(event.node)
            elif reader.open and name == "Ntry" and parent in _STATEMENTS:
                yield from reader.entry(event.node) if event.is_end else reader.entry_begins(event.node)
            elif reader.open and name == "TxDtls" and event.is_end and reader.within:
                yield from reader.part(event.node, reader.within)
            elif name in _DROPPED and not event.is_end and (name, parent) not in _PLACES:
                raise Refused(
                    "SCHEMA", content.at(event.node.line_no, event.node.column_no), f"{name} stands inside {parent or 'nothing'}"
                )
    if not reader.form:
        raise Refused("SCHEMA", content.place, "the XML holds no statement, report or notification of an account")
    if not reader.ordinal:
        raise Refused("EMPTY", content.place, "the message holds no statement")
    if reader.paged:
        raise reader.page_missing(content.place)


class _Reader:
    def __init__(self, content: Content) -> None:
        self.content = content
        self.gathered = Gathered()
        self.form = ""
        self.ordinal = 0
        self.open: _Open | None = None
        # a statement whose next page is due
        self.paged: _Open | None = None
        # the entry whose transactions come now: its direction, amount and status stand before them
        self.within: Node | None = None

    def message(self, node: Node, namespace: str) -> None:
        """The kind and version of the message."""
        place, kind = self._at(node), _MESSAGES[node.name]
        found = NAMESPACE.fullmatch(namespace)
        if found is None or found[1] != kind:
            raise Refused("SCHEMA", place, f"{node.name} has the namespace {namespace[:80]!r}, which is not camt.{kind}'s")
        if int(found[2]) not in VERSIONS:
            raise Refused("SCHEMA", place, f"version {found[2]} of camt.{kind} is not read ({VERSIONS[0]} to {VERSIONS[-1]} are)")
        self.form = f"camt.{kind}.001.{found[2]}"

    def begin(self, node: Node) -> Iterator[Event]:
        """A statement, or its next page, begins."""
        if self.paged:
            before = self.paged
            self.open = _Open(
                node, entry_no=before.entry_no, balances=before.balances, declared=before.declared, pages=before.pages
            )
        else:
            self.ordinal += 1
            self.open = _Open(node)
        yield from self.gathered.rest()

    def entry_begins(self, node: Node) -> Iterator[Event]:
        """An entry begins: the statement's own account stands before it, its amount inside it."""
        self.within = node
        opened = self._opened()
        opened.entry_no += 1
        opened.parts, opened.part_sum = 0, 0
        yield from self.gathered.full()

    def _known(self, entry: Node) -> Statement:
        """The statement of an entry; its currency may be known from the entry alone."""
        opened = self._opened()
        if opened.statement is None:
            opened.statement = self._begun(opened.node, entry)
        return opened.statement

    def _begun(self, node: Node, entry: Node | None) -> Statement:
        """The statement that an element begins or, as its next page, goes on with."""
        made = self._statement(node, entry)
        if self.paged is None:
            return made
        first = self.paged.statement
        assert first is not None
        # banks that number their statements may name every page apart
        same_number = made.stmt_ref == first.stmt_ref if made.seq_no is None else True
        if (made.account, made.currency, made.seq_no) != (first.account, first.currency, first.seq_no) or not same_number:
            raise self.page_missing(self._at(node))
        return first

    def page_missing(self, place: Place) -> Refused:
        """The refusal of a statement of which a page lacks."""
        assert self.paged is not None and self.paged.statement is not None
        of = self.paged.statement
        return Refused("TRUNCATED", place, f"page {self.paged.pages + 1} of statement {of.stmt_ref} of {of.account} was due here")

    def _opened(self) -> _Open:
        assert self.open is not None
        return self.open

    def _at(self, node: Node) -> Place:
        return self.content.at(node.line_no, node.column_no)

    def _statement(self, node: Node, entry: Node | None) -> Statement:
        account = node.said("Acct", "Id", "IBAN") or node.said("Acct", "Id", "Othr", "Id")
        if account is None:
            raise Refused("SCHEMA", self._at(node), "the statement names no account")
        code = node.said("Acct", "Ccy")
        if code is None:
            # the account's currency is optional: every balance and entry carries one
            first = node.one("Bal", "Amt") or (entry.one("Amt") if entry else None)
            code = first.attributes.get("Ccy", "") if first else ""
        place = self._at(node.one("Acct") or node)
        number = node.said("ElctrncSeqNb")
        if number is not None and not re.fullmatch(r"[0-9]{1,18}", number):
            raise Refused("SCHEMA", self._at(node), f"the sequence number {number[:20]!r} is no number")
        return Statement(
            stmt_id(self.content, self.ordinal),
            node.said("Id"),
            account,
            amounts.currency(code, place),
            self.form,
            int(number) if number else None,
            self._period(node, "FrDtTm"),
            self._period(node, "ToDtTm"),
        )

    def _period(self, node: Node, name: str) -> date | None:
        found = node.one("FrToDt", name) or node.one("FrToDt", name.replace("Tm", ""))
        return self._day(found)[0] if found else None

    def _day(self, node: Node | None) -> tuple[date | None, datetime | None]:
        """The date of an element that is a date, a time, or holds one of the two."""
        if node is None:
            return None, None
        inner = node.one("Dt") or node.one("DtTm") or node
        place = self._at(inner)
        day, moment = days.iso(inner.text.strip(), place)
        return credible(day, self.content.limits, place), moment

    def _amount(self, node: Node, owner: Node) -> tuple[int, str]:
        """Minor units and currency of an `Amt`."""
        place = self._at(node)
        code = amounts.currency(node.attributes.get("Ccy", ""), place)
        value = amounts.minor(node.text.strip(), code, place)
        if value < 0:
            raise Refused("SCHEMA", place, f"the amount of {owner.name} is negative; its direction says the sign")
        return value, code

    def _direction(self, node: Node) -> str:
        word = node.said("CdtDbtInd")
        if word not in {"CRDT", "DBIT"}:
            raise Refused("SCHEMA", self._at(node), f"{node.name} has the direction {word!r}, not CRDT or DBIT")
        return CREDIT if word == "CRDT" else DEBIT

    def _status(self, node: Node) -> str:
        word = node.said("Sts", "Cd") or node.said("Sts", "Prtry") or node.said("Sts")
        if word is None and self.form.startswith("camt.054"):
            return BOOKED
        if word not in STATUSES:
            if node.said("Sts", "Prtry"):
                # a bank's own word promises no booking
                return PENDING
            raise Refused("SCHEMA", self._at(node), f"the entry has the status {word!r}, not one of {', '.join(STATUSES)}")
        return word

    def entry(self, node: Node) -> Iterator[Event]:
        """An entry ends: its parts were given before."""
        opened, statement = self._opened(), self._known(node)
        self.within = None
        money = node.one("Amt")
        if money is None:
            raise Refused("SCHEMA", self._at(node), "the entry has no amount")
        value, code = self._amount(money, node)
        if code != statement.currency:
            raise Refused("CURRENCY", self._at(money), f"the entry is in {code}, the account in {statement.currency}")
        booked, booked_at = self._day(node.one("BookgDt"))
        batch = node.one("NtryDtls", "Btch")
        made = Entry(
            statement.stmt_id,
            opened.entry_no,
            node.line_no,
            self._direction(node),
            value,
            code,
            booked,
            self._day(node.one("ValDt"))[0],
            booked_at,
            node.said("RvslInd") in {"true", "1"},
            self._status(node),
            node.said("AcctSvcrRef"),
            node.said("NtryRef"),
            remittance=node.said("AddtlNtryInf"),
        )
        made.type_family, made.type_code = _type(node)
        self._batch(made, opened, batch)
        self.gathered.entries.append(made)
        yield from self.gathered.full()

    def _batch(self, made: Entry, opened: _Open, batch: Node | None) -> None:
        """An entry of one transaction takes its references; one of several must be their sum."""
        if batch:
            made.batch_id = batch.said("PmtInfId") or batch.said("MsgId")
            count = batch.said("NbOfTxs")
            made.batch_cnt = self._count(count, batch) if count else None
        if opened.parts == 1 and (made.batch_cnt or 1) == 1:
            _lift(made, self.gathered.parts.pop())
            return
        if not opened.parts:
            return
        if made.batch_cnt is not None and made.batch_cnt != opened.parts:
            raise Refused(
                "ROW_COUNT",
                self.content.at(made.line_no),
                f"the batch says {made.batch_cnt} transactions, {opened.parts} came with it",
            )
        made.batch_cnt = opened.parts
        signed = made.amount_minor if made.dr_cr == CREDIT else -made.amount_minor
        if opened.part_sum is not None and opened.part_sum != signed:
            raise Refused(
                "CONTROL_TOTAL",
                self.content.at(made.line_no),
                f"the entry moves {signed} minor units, its {opened.parts} transactions {opened.part_sum}",
            )

    def _count(self, text: str, node: Node) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text):
            raise Refused("SCHEMA", self._at(node), f"{text[:20]!r} is not a number of transactions")
        return int(text)

    def part(self, node: Node, entry: Node) -> Iterator[Event]:
        """A transaction of an entry."""
        opened, statement = self._opened(), self._known(entry)
        money = node.one("Amt") or node.one("AmtDtls", "TxAmt", "Amt")
        whole = entry.one("Amt")
        if whole is None:
            raise Refused("SCHEMA", self._at(entry), "the entry has no amount before its transactions")
        owner = node if node.one("CdtDbtInd") else entry
        value, code = self._amount(money or whole, node)
        direction = self._direction(owner)
        opened.parts += 1
        if money is None or code != statement.currency or opened.part_sum is None:
            opened.part_sum = None
        else:
            opened.part_sum += value if direction == CREDIT else -value
        made = Entry(
            statement.stmt_id,
            opened.entry_no,
            node.line_no,
            direction,
            value,
            code,
            reversal_flag=entry.said("RvslInd") in {"true", "1"},
            status=self._status(entry),
            bank_ref=node.said("Refs", "AcctSvcrRef"),
            cust_ref=node.said("Refs", "InstrId") or node.said("Refs", "TxId") or node.said("Refs", "UETR"),
            e2e_id=_end_to_end(node),
            batch_id=node.said("Refs", "PmtInfId"),
            remittance=_remittance(node),
            part_no=opened.parts,
        )
        made.type_family, made.type_code = _type(node)
        made.counterparty_name, made.counterparty_acct = _counterparty(node, direction, made.reversal_flag)
        # the first of an entry waits: it may turn out to be the only one
        if opened.parts > 1:
            yield from self.gathered.full()
        self.gathered.parts.append(made)

    def end(self, node: Node) -> Iterator[Event]:
        """A statement or a page of it ends: its balances and totals are all there."""
        opened = self._opened()
        statement = opened.statement = opened.statement or self._begun(node, None)
        is_last = self._is_last(node, opened)
        self._balances(node, statement)
        statement.period_from = statement.period_from or self._period(node, "FrDtTm")
        statement.period_to = statement.period_to or self._period(node, "ToDtTm")
        opened.declared.append(self._declared(node, statement.currency))
        opened.pages += 1
        yield from self.gathered.rest()
        self.open, self.paged = None, None if is_last else opened
        if is_last:
            statement.page_cnt = opened.pages
            yield Ended(statement, node.line_no, _of_pages(opened), "CLBD" in opened.balances)

    def _is_last(self, node: Node, opened: _Open) -> bool:
        """Whether no page follows; pages come in the order of their numbers."""
        pages = node.one("StmtPgntn") or node.one("RptPgntn") or node.one("NtfctnPgntn")
        number = pages.said("PgNb") if pages else None
        if number is not None and self._count(number, node) != opened.pages + 1:
            raise Refused(
                "TRUNCATED", self._at(node), f"this is page {number} of its statement, page {opened.pages + 1} was due here"
            )
        return pages is None or pages.said("LastPgInd") in {None, "true", "1"}

    def _balances(self, node: Node, statement: Statement) -> None:
        found = self._opened().balances
        for balance in node.all("Bal"):
            code, money = balance.said("Tp", "CdOrPrtry", "Cd"), balance.one("Amt")
            if money is None:
                raise Refused("SCHEMA", self._at(balance), "the balance has no amount")
            value, currency = self._amount(money, balance)
            if code is None:
                continue
            if currency != statement.currency:
                raise Refused("CURRENCY", self._at(money), f"the balance is in {currency}, the account in {statement.currency}")
            signed = value if self._direction(balance) == CREDIT else -value
            found.setdefault(code, (signed, self._day(balance.one("Dt"))[0]))
        opening, closing, available = (_first(found, codes) for codes in (_OPENING, _CLOSING, _AVAILABLE))
        if opening:
            statement.opening_minor, statement.period_from = opening[0], statement.period_from or opening[1]
        if closing:
            statement.closing_minor, statement.period_to = closing[0], closing[1] or statement.period_to
        statement.available_minor = available[0] if available else None

    def _declared(self, node: Node, code: str) -> Declared:
        totals = node.one("TxsSummry")
        if totals is None:
            return Declared()

        def count(name: str) -> int | None:
            text = totals.said(name, "NbOfNtries")
            return self._count(text, totals) if text else None

        def total(name: str) -> int | None:
            text = totals.said(name, "Sum")
            return _sum(text, code, self._at(totals)) if text else None

        return Declared(
            count("TtlNtries"), count("TtlCdtNtries"), count("TtlDbtNtries"), total("TtlCdtNtries"), total("TtlDbtNtries")
        )


def _of_pages(opened: _Open) -> Declared:
    """What all pages of a statement say together: their sum, or what they repeat of the whole."""
    said = opened.declared
    if len(said) == 1:
        return said[0]
    told = [one for one in said if one != Declared()]
    if not told or (len(set(told)) == 1 and (len(told) < len(said) or told[0].entry_cnt == opened.entry_no)):
        return told[0] if told else Declared()
    if len(told) < len(said):
        # some pages say nothing and the others differ: no total of the whole can be made of it
        return Declared()

    def total(name: str) -> int | None:
        values = [getattr(one, name) for one in told]
        return None if None in values else sum(values)

    return Declared(*(total(one.name) for one in fields(Declared)))


def _sum(text: str, code: str, place: Place) -> int:
    """A sum may exceed the largest amount of one entry."""
    try:
        value = Decimal(text).scaleb(DIGITS[code])
    except InvalidOperation:
        raise Refused("SCHEMA", place, f"{text[:40]!r} is not a sum") from None
    if not value.is_finite() or value != value.to_integral_value() or abs(value) > MAX_AMOUNT_MINOR * 10**3:
        raise Refused("SCHEMA", place, f"{text[:40]!r} is not a sum in {code}")
    return int(value)


def _first(found: dict[str, tuple[int, date | None]], codes: tuple[str, ...]) -> tuple[int, date | None] | None:
    return next((found[code] for code in codes if code in found), None)


def _type(node: Node) -> tuple[str | None, str | None]:
    """Family and code: ISO's domain, family and sub-family, or the bank's own code with its issuer."""
    code = node.one("BkTxCd")
    if code is None:
        return None, None
    names = (code.said("Domn", "Cd"), code.said("Domn", "Fmly", "Cd"), code.said("Domn", "Fmly", "SubFmlyCd"))
    if names[0]:
        return "/".join(name for name in names[:2] if name), "/".join(name for name in names if name)
    return code.said("Prtry", "Issr") or "PRTRY", code.said("Prtry", "Cd")


def _end_to_end(node: Node) -> str | None:
    reference = node.said("Refs", "EndToEndId")
    return None if reference == "NOTPROVIDED" else reference


def _counterparty(node: Node, direction: str, is_reversal: bool) -> tuple[str | None, str | None]:
    """Name and account of the other side; a reversal keeps the roles of the payment that it takes back."""
    parties = node.one("RltdPties")
    if parties is None:
        return None, None
    role = "Dbtr" if (direction == CREDIT) != is_reversal else "Cdtr"
    account = parties.said(f"{role}Acct", "Id", "IBAN") or parties.said(f"{role}Acct", "Id", "Othr", "Id")
    return parties.said(role, "Pty", "Nm") or parties.said(role, "Nm"), account


def _remittance(node: Node) -> str | None:
    information = node.one("RmtInf")
    if information is None:
        return node.said("AddtlTxInf")
    texts = [line.text.strip() for line in information.all("Ustrd")]
    for structured in information.all("Strd"):
        reference = structured.said("CdtrRefInf", "Ref")
        if reference:
            texts.append(reference)
    return " ".join(text for text in texts if text) or None


def _lift(made: Entry, part: Entry) -> None:
    """The only transaction of an entry tells what the entry itself leaves open."""
    made.bank_ref = made.bank_ref or part.bank_ref
    made.cust_ref = part.cust_ref or made.cust_ref
    made.e2e_id = part.e2e_id
    made.counterparty_name, made.counterparty_acct = part.counterparty_name, part.counterparty_acct
    made.remittance = part.remittance or made.remittance
    made.batch_id = made.batch_id or part.batch_id
    made.type_code, made.type_family = made.type_code or part.type_code, made.type_family or part.type_family
