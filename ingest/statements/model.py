"""The canonical statement (spec 07 section 7.6): one row a statement, one an entry, one a part of a batch entry.

Directions say how the account moved: ``C`` raised it, ``D`` lowered it, reversals included (MT ``RC`` is ``D`` with
`reversal_flag`). Amounts are minor units of the row's currency and never negative; balances are signed, credit positive.
Only entries with status ``BOOK`` count in opening + sum = closing. Book and value dates are as the bank wrote them, in its zone;
`booked_at` is UTC where the bank gave a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date, datetime

import pyarrow as pa

BOOKED, PENDING = "BOOK", "PDNG"
STATUSES = (BOOKED, PENDING, "INFO", "FUTR")
CREDIT, DEBIT = "C", "D"


@dataclass(slots=True)
class Entry:
    """One booking of a statement, or one part of a batch booking (`part_no` from 1)."""

    stmt_id: str
    entry_no: int
    line_no: int
    dr_cr: str
    amount_minor: int
    currency: str
    book_date: date | None = None
    value_date: date | None = None
    booked_at: datetime | None = None
    reversal_flag: bool = False
    status: str = BOOKED
    bank_ref: str | None = None
    cust_ref: str | None = None
    e2e_id: str | None = None
    type_code: str | None = None
    type_family: str | None = None
    counterparty_name: str | None = None
    counterparty_acct: str | None = None
    remittance: str | None = None
    batch_id: str | None = None
    batch_cnt: int | None = None
    balance_minor: int | None = None
    part_no: int | None = None


@dataclass
class Statement:
    """One statement of one account in one currency; balances that the bank did not give are None."""

    stmt_id: str
    stmt_ref: str | None
    account: str
    currency: str
    format: str
    seq_no: int | None = None
    period_from: date | None = None
    period_to: date | None = None
    opening_minor: int | None = None
    closing_minor: int | None = None
    available_minor: int | None = None
    page_cnt: int = 1
    file_name: str = ""
    file_sha256: str = ""
    entry_cnt: int = 0
    credit_minor: int = 0
    debit_minor: int = 0
    proof: str = "NONE"


@dataclass(frozen=True)
class Declared:
    """What a statement says of itself; None where it says nothing. Sums are minor units and positive."""

    entry_cnt: int | None = None
    credit_cnt: int | None = None
    debit_cnt: int | None = None
    credit_minor: int | None = None
    debit_minor: int | None = None


@dataclass(frozen=True)
class Entries:
    """A batch of entries, of one statement or of several (schema ENTRIES)."""

    batch: pa.RecordBatch


@dataclass(frozen=True)
class Parts:
    """A batch of parts of batch entries (schema ENTRIES)."""

    batch: pa.RecordBatch


@dataclass(frozen=True)
class Records:
    """A batch of records that are no statement entries, such as a check file's (schema of their layout)."""

    batch: pa.RecordBatch


@dataclass(frozen=True)
class BadRows:
    """A batch of rows kept out by a rule of the layout (schema BAD_ROWS)."""

    batch: pa.RecordBatch


@dataclass(frozen=True)
class Ended:
    """A statement whose entries have all been given before.

    `line_no` is where it ends; `is_whole` whether its entries must lead from the opening to the closing balance.
    """

    statement: Statement
    line_no: int
    declared: Declared = field(default_factory=Declared)
    is_whole: bool = True


Event = Entries | Parts | Records | BadRows | Ended

_TIME = pa.timestamp("us", tz="UTC")
ENTRIES = pa.schema(
    [
        pa.field("stmt_id", pa.string(), nullable=False),
        pa.field("entry_no", pa.int64(), nullable=False),
        pa.field("line_no", pa.int64(), nullable=False),
        pa.field("dr_cr", pa.string(), nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("book_date", pa.date32()),
        pa.field("value_date", pa.date32()),
        pa.field("booked_at", _TIME),
        pa.field("reversal_flag", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        *(
            pa.field(name, pa.string())
            for name in (
                "bank_ref",
                "cust_ref",
                "e2e_id",
                "type_code",
                "type_family",
                "counterparty_name",
                "counterparty_acct",
                "remittance",
                "batch_id",
            )
        ),
        pa.field("batch_cnt", pa.int64()),
        pa.field("balance_minor", pa.int64()),
        pa.field("part_no", pa.int64()),
    ]
)
STATEMENTS = pa.schema(
    [
        ("stmt_id", pa.string()),
        ("stmt_ref", pa.string()),
        ("account", pa.string()),
        ("currency", pa.string()),
        ("format", pa.string()),
        ("seq_no", pa.int64()),
        ("period_from", pa.date32()),
        ("period_to", pa.date32()),
        ("opening_minor", pa.int64()),
        ("closing_minor", pa.int64()),
        ("available_minor", pa.int64()),
        ("page_cnt", pa.int64()),
        ("file_name", pa.string()),
        ("file_sha256", pa.string()),
        ("entry_cnt", pa.int64()),
        ("credit_minor", pa.int64()),
        ("debit_minor", pa.int64()),
        ("proof", pa.string()),
    ]
)
BAD_ROWS = pa.schema(
    [
        ("file_name", pa.string()),
        ("line_no", pa.int64()),
        ("column_name", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.string()),
    ]
)
_ENTRY_NAMES = tuple(item.name for item in fields(Entry))


def entry_batch(entries: list[Entry]) -> pa.RecordBatch:
    """Entries of a tag format, one object each, as one Arrow batch."""
    columns = [pa.array([getattr(entry, name) for entry in entries], ENTRIES.field(name).type) for name in _ENTRY_NAMES]
    return pa.RecordBatch.from_arrays(columns, schema=ENTRIES)


def statement_table(statements: list[Statement]) -> pa.Table:
    """Statements as an Arrow table, in their order."""
    return pa.Table.from_pylist([vars(statement) for statement in statements], schema=STATEMENTS)
