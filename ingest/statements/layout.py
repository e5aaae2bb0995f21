"""A layout: what the lines of one bank's CSV or text file mean, as data (YAML).

For example::

    layout: cn_bank_daily
    version: 1
    target: statement            # or records: typed columns of their own
    encoding: gbk                # any of Python's; decoded strictly
    delimiter: "|"
    header: {mark: H, fields: [mark, account, currency, date, opening, closing]}
    names: false                 # true: a line of the columns' names comes before the rows and must be as declared
    trailer: {mark: T, fields: [mark, row_cnt, debit_sum, credit_sum]}
    unit: minor                  # minor: fen without a point; major: yuan with at most the currency's decimals
    columns:
      - {name: 交易日期, as: book_date, form: YYYYMMDD, required: true}
      - {name: 借贷, as: dr_cr, words: {借: D, 贷: C}, required: true}
      - {name: 金额, as: amount, required: true}
"""

from __future__ import annotations

import codecs
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from domain.errors import BadInput
from ingest.statements.currencies import DIGITS

_BYTES_MAX = 256 * 1024
MEANINGS: dict[str, str] = {
    "account": "text",
    "currency": "currency",
    "book_date": "date",
    "value_date": "date",
    "booked_at": "time",
    "amount": "amount",
    "debit": "amount",
    "credit": "amount",
    "balance": "amount",
    "dr_cr": "word",
    "reversal_flag": "word",
    "bank_ref": "text",
    "cust_ref": "text",
    "e2e_id": "text",
    "type_code": "text",
    "type_family": "text",
    "counterparty_name": "text",
    "counterparty_acct": "text",
    "remittance": "text",
    "batch_id": "text",
}
DATE_FORMS = ("YYYY-MM-DD", "YYYY/MM/DD", "YYYYMMDD", "DD.MM.YYYY", "DD/MM/YYYY", "MM/DD/YYYY")
TIME_FORMS = ("YYYY-MM-DD HH:MM:SS", "YYYY/MM/DD HH:MM:SS", "YYYYMMDDHHMMSS", "YYYY-MM-DDTHH:MM:SS")
_EDGE = {
    *("mark", "account", "currency", "date", "period_from", "period_to", "opening", "closing", "available"),
    *("row_cnt", "credit_cnt", "debit_cnt", "sum", "credit_sum", "debit_sum", "seq_no", "ref", "ignore"),
}
_WORDS = {"dr_cr": {"C", "D"}, "reversal_flag": {"yes", "no"}}


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"means": "as"}):
    """One column of the rows. `means` (``as``) is a meaning of MEANINGS, a name of one's own for records, or null: not kept."""

    name: str
    means: str | None = None
    type: Literal["text", "amount", "date", "time", "word", "int", "currency", "rate"] | None = None
    form: str | None = None
    required: bool = False
    words: dict[str, str] | None = None
    one_of: list[str] | None = None


class Edge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The header or the trailer line: its fields by place; the first one is `mark` when a mark is given."""

    fields: list[str]
    mark: str | None = None


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the lines of a file mean; amounts in `unit`, times in `zone`, dates of header and trailer in `date_form`.

    `order` is that of the rows, by which running balances are followed. `extra_columns_max` columns may follow the declared ones
    and are read past. `unique` names meanings that together come once in a file; by the pattern `file_name` the layout is found.
    """

    layout: str
    version: int
    target: Literal["statement", "records"]
    columns: list[Column]
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str | None = None
    trailing_delimiter: bool = False
    extra_columns_max: int = 0
    skip_lines: int = 0
    header: Edge | None = None
    names: bool = False
    trailer: Edge | None = None
    unit: Literal["minor", "major"] = "major"
    thousands: str | None = None
    currency: str | None = None
    account: str | None = None
    zone: str = "Asia/Shanghai"
    date_form: str = "YYYYMMDD"
    order: Literal["oldest_first", "newest_first"] = "oldest_first"
    bad_rows: Literal["refuse", "quarantine"] = "refuse"
    unique: list[str] = []
    file_name: str | None = None

    @property
    def kept(self) -> list[Column]:
        """The columns that mean something."""
        return [column for column in self.columns if column.means]

    def type_of(self, column: Column) -> str:
        """How a column is read."""
        return column.type or (MEANINGS.get(column.means or "", "text") if self.target == "statement" else "text")


def load(path: Path) -> Layout:
    """A layout from a file; raises BadInput with all that is wrong with it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read: {error.strerror}") from None
    return parsed(text, path.name)


@cache
def packaged() -> tuple[Layout, ...]:
    """The layouts that come with the project, in the order of their names."""
    folder = files("ingest.statements") / "layouts"
    found = sorted((item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda item: item.name)
    return tuple(parsed(item.read_bytes(), item.name) for item in found)


def parsed(text: bytes, name: str) -> Layout:
    """A layout from YAML; raises BadInput with all that is wrong with it."""
    if len(text) > _BYTES_MAX:
        raise BadInput(f"{name} is longer than {_BYTES_MAX} bytes: a layout is not")
    try:
        # every scalar stays text until its field says what it is: a column named `no` or `on` is no truth value
        layout = msgspec.convert(yaml.load(text, Loader=yaml.BaseLoader), Layout, strict=False)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{name} is no layout: {error}") from None
    faults = list(_faults(layout))
    if faults:
        raise BadInput(f"{name}: {'; '.join(faults)}")
    return layout


def _faults(layout: Layout) -> list[str]:
    faults = [*_edges(layout), *_columns(layout)]
    try:
        codecs.lookup(layout.encoding)
    except LookupError:
        faults.append(f"the encoding {layout.encoding!r} is not known")
    if len(layout.delimiter) != 1 or not layout.delimiter.isascii():
        faults.append("the delimiter is one character of ASCII")
    if layout.currency is not None and layout.currency not in DIGITS:
        faults.append(f"{layout.currency!r} is no currency of ISO 4217")
    if layout.file_name is not None:
        try:
            re.compile(layout.file_name)
        except re.error as error:
            faults.append(f"file_name is no pattern ({error})")
    known = {column.means for column in layout.kept}
    faults.extend(f"unique names {name!r}, which no column is" for name in layout.unique if name not in known)
    if layout.target == "statement":
        faults.extend(_statement(layout, known))
    return faults


def _statement(layout: Layout, known: set[str | None]) -> list[str]:
    faults = []
    edge = {*(layout.header.fields if layout.header else ()), *(layout.trailer.fields if layout.trailer else ())}
    in_header = set(layout.header.fields if layout.header else ())
    for name, given in (("account", layout.account), ("currency", layout.currency)):
        if given is None and name not in known and name not in in_header:
            faults.append(f"the {name} is in no column, not in the header and not given")
    if not ("amount" in known) ^ ({"debit", "credit"} <= known):
        faults.append("a statement has one column amount (with dr_cr or signed), or the two columns debit and credit")
    if not known & {"book_date", "booked_at"}:
        faults.append("no column is book_date or booked_at")
    if "account" in known and edge & {"opening", "closing"}:
        faults.append("balances in header or trailer belong to one account; here the rows name theirs")
    return faults


def _edges(layout: Layout) -> list[str]:
    faults = []
    for name, edge in (("header", layout.header), ("trailer", layout.trailer)):
        unknown = sorted(set(edge.fields) - _EDGE) if edge else []
        if unknown:
            faults.append(f"the {name} has the unknown fields {', '.join(unknown)}")
        if edge and edge.mark is not None and edge.fields[:1] != ["mark"]:
            faults.append(f"the first field of the {name} is its mark")
    if layout.trailer and layout.trailer.mark is None:
        faults.append("a trailer has a mark that no row begins with")
    return faults


def _columns(layout: Layout) -> list[str]:
    faults = []
    seen: set[str] = set()
    for column in layout.kept:
        means = column.means or ""
        kind = layout.type_of(column)
        if layout.target == "statement" and means not in MEANINGS:
            faults.append(f"column {column.name}: a statement has no {means!r}")
        if means in seen:
            faults.append(f"{means} is the meaning of two columns")
        seen.add(means)
        if kind == "date" and column.form not in DATE_FORMS:
            faults.append(f"column {column.name}: the form of a date is one of {', '.join(DATE_FORMS)}")
        if kind == "time" and column.form not in TIME_FORMS:
            faults.append(f"column {column.name}: the form of a time is one of {', '.join(TIME_FORMS)}")
        if means in _WORDS and layout.target == "statement" and set((column.words or {}).values()) - _WORDS[means]:
            faults.append(f"column {column.name}: its words mean one of {', '.join(sorted(_WORDS[means]))}")
        if kind == "word" and not column.words:
            faults.append(f"column {column.name}: a word needs its words")
    return faults
