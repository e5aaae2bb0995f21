"""The bytes of a file that a sender would send (contracts section 3), and how a file can be broken."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from csv import writer
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from hashlib import sha256

from domain.vocabulary import FileKind

Cell = str | int | None
Row = dict[str, Cell]

COLUMNS: dict[FileKind, tuple[str, ...]] = {
    FileKind.ORDERS: (
        "request_no",
        "order_type",
        "account_no",
        "counter_account_no",
        "amount_minor",
        "currency",
        "order_status",
        "created_at",
        "loan_no",
    ),
    FileKind.POSTINGS: (
        "request_no",
        "seq",
        "movement_type",
        "debit_account_no",
        "credit_account_no",
        "amount_minor",
        "currency",
        "txn_at",
        "loan_no",
        "issue_no",
        "component",
    ),
    FileKind.BALANCES: ("account_no", "currency", "closing_minor", "held_minor"),
    FileKind.LOANS: (
        "loan_no",
        "borrower_customer_no",
        "borrower_account_no",
        "guarantor_account_no",
        "contract_minor",
        "disbursed_minor",
        "currency",
        "annual_rate",
        "plan_type",
        "term_months",
        "raised_from",
        "disbursed_on",
        "purpose_code",
        "grade",
    ),
    FileKind.PLANS: (
        "loan_no",
        "plan_version",
        "issue_no",
        "due_on",
        "due_principal_minor",
        "due_interest_minor",
        "due_fee_minor",
        "currency",
    ),
    FileKind.CLAIMS: (
        "claim_no",
        "loan_no",
        "lender_customer_no",
        "lender_account_no",
        "principal_minor",
        "currency",
        "origin",
        "parent_claim_no",
        "opened_on",
        "closed_on",
    ),
    FileKind.STATUS: ("loan_no", "seq", "loan_status", "changed_at"),
    FileKind.CUSTOMERS: ("customer_no", "id_hash", "party_type", "name_masked", "phone_masked", "roles", "opened_on"),
    FileKind.PAYMENTS: (
        "payment_no",
        "loan_no",
        "issue_no",
        "component",
        "payer_role",
        "amount_minor",
        "currency",
        "paid_on",
    ),
    FileKind.CHANNEL: (
        "channel_order_no",
        "request_no",
        "order_type",
        "account_no",
        "amount_minor",
        "currency",
        "txn_at",
        "channel_status",
        "settlement_batch_no",
    ),
    FileKind.SETTLEMENT: (
        "settlement_batch_no",
        "settled_on",
        "order_count",
        "gross_minor",
        "fee_minor",
        "net_minor",
        "currency",
    ),
    FileKind.STATEMENT: (
        "line_type",
        "entry_no",
        "book_date",
        "amount_minor",
        "currency",
        "bank_ref",
        "type_code",
        "remittance",
    ),
    FileKind.GENERAL_LEDGER: (
        "gl_account_no",
        "account_kind",
        "currency",
        "opening_minor",
        "debit_minor",
        "credit_minor",
        "closing_minor",
        "core_balance_minor",
    ),
    FileKind.INDUSTRY: (
        "record_no",
        "subject_hash",
        "member_no",
        "record_type",
        "contract_no",
        "occurred_on",
        "amount_minor",
        "currency",
        "decision",
        "status_code",
        "dpd",
        "kind",
        "knowable_at",
    ),
    FileKind.REPUTATION: (
        "hit_no",
        "subject_hash",
        "source_tier",
        "category",
        "polarity_pct",
        "match_pct",
        "review",
        "published_on",
        "knowable_at",
    ),
}
SUM_COLUMN: dict[FileKind, str | None] = {
    FileKind.ORDERS: "amount_minor",
    FileKind.POSTINGS: "amount_minor",
    FileKind.BALANCES: "closing_minor",
    FileKind.LOANS: "disbursed_minor",
    FileKind.PLANS: "due_principal_minor",
    FileKind.CLAIMS: "principal_minor",
    FileKind.STATUS: None,
    FileKind.CUSTOMERS: None,
    FileKind.PAYMENTS: "amount_minor",
    FileKind.CHANNEL: "amount_minor",
    FileKind.SETTLEMENT: "net_minor",
    FileKind.STATEMENT: "amount_minor",
    FileKind.GENERAL_LEDGER: "closing_minor",
    FileKind.INDUSTRY: "amount_minor",
    FileKind.REPUTATION: None,
}


class Damage(StrEnum):
    """How a file arrives broken (B24); its rows are what they should be."""

    MISSING = "MISSING"
    WRONG_HASH = "WRONG_HASH"
    NO_TRAILER = "NO_TRAILER"
    WRONG_CONTROL_TOTAL = "WRONG_CONTROL_TOTAL"
    TRUNCATED = "TRUNCATED"
    SEQUENCE_GAP = "SEQUENCE_GAP"


@dataclass
class Feed:
    """One file of a sender for a platform and business date, before it becomes bytes."""

    business_date: date
    sender: str
    platform_id: str
    kind: FileKind
    sequence_no: int
    rows: list[Row] = field(default_factory=list)
    damage: Damage | None = None

    @property
    def file_name(self) -> str:
        """``P01.orders.csv.gz``."""
        return f"{self.platform_id}.{self.kind}.csv.gz"

    @property
    def match_key(self) -> str:
        """How R9 names the file: ``SENDER/PLATFORM.KIND``."""
        return f"{self.sender}/{self.platform_id}.{self.kind}"

    @property
    def control_sum(self) -> int:
        """Σ of the kind's control column, minor units; 0 where none is marked."""
        column = SUM_COLUMN[self.kind]
        return sum(int(row[column] or 0) for row in self.rows) if column else 0


@dataclass(frozen=True)
class Rendered:
    """A file as it is sent: bytes (None when it does not come) and its line of the sender's manifest."""

    content: bytes | None
    manifest_line: tuple[Cell, ...]


MANIFEST_COLUMNS = ("platform_id", "file_kind", "file_name", "sha256", "row_count", "control_sum", "sequence_no")


def render(feed: Feed) -> Rendered:
    """Bytes and manifest line of a file, both as consistent as its damage leaves them."""
    sequence_no = feed.sequence_no + (2 if feed.damage is Damage.SEQUENCE_GAP else 0)
    control_sum = feed.control_sum + (1 if feed.damage is Damage.WRONG_CONTROL_TOTAL else 0)
    columns = COLUMNS[feed.kind]
    day = feed.business_date.isoformat()
    lines: list[Sequence[Cell]] = [
        ("#FUNDWATCH", 1, feed.sender, feed.platform_id, feed.kind.value, day, sequence_no),
        columns,
        *([row[column] for column in columns] for row in feed.rows),
    ]
    if feed.damage is not Damage.NO_TRAILER:
        lines.append(("#TRAILER", len(feed.rows), control_sum))
    content = gzip.compress(csv_bytes(lines), compresslevel=6, mtime=0)
    if feed.damage is Damage.TRUNCATED:
        content = content[: len(content) * 2 // 3]
    digest = sha256(content).hexdigest()
    if feed.damage is Damage.WRONG_HASH:
        digest = sha256(digest.encode()).hexdigest()
    line = (feed.platform_id, feed.kind.value, feed.file_name, digest, len(feed.rows), control_sum, sequence_no)
    return Rendered(None if feed.damage is Damage.MISSING else content, line)


def csv_bytes(lines: Sequence[Sequence[Cell]]) -> bytes:
    """Lines as UTF-8 CSV with LF; None is empty."""
    text = io.StringIO()
    writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
