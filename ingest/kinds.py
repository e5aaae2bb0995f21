"""Every kind of incoming file, declared once as data: checks and casts are both derived from it (contracts section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.money import MINOR_DIGITS
from domain.vocabulary import (
    ADVISORY_KINDS,
    Component,
    Decision,
    FileKind,
    LoanStatus,
    MovementType,
    OrderType,
    PlanType,
    RecordType,
    RepayStatus,
    ReputationCategory,
    Review,
    SpecialKind,
)

FORMAT_VERSION = 1
PLATFORM, PAYMENT_COMPANY, BANK, BUREAU = "platform", "payment company", "bank", "bureau"
KNOWABLE_AT = "knowable_at"
"""Name of the column that says from when a row was knowable: a file may hold no row knowable after its date's close."""

_WORDS: Mapping[str, type[StrEnum]] = {
    "order_type": OrderType,
    "movement_type": MovementType,
    "plan_type": PlanType,
    "loan_status": LoanStatus,
    "component": Component,
    "record_type": RecordType,
    "decision": Decision,
    "status_code": RepayStatus,
    "kind": SpecialKind,
    "category": ReputationCategory,
    "review": Review,
}
_LISTS: Mapping[str, tuple[str, ...]] = {
    "currency": tuple(MINOR_DIGITS),
    "line_type": ("OPENING", "ENTRY", "CLOSING"),
    "account_kind": ("SUB_ACCOUNTS", "SPECIAL_ACCOUNT", "OWN_FUNDS", "SUSPENSE"),
}


@dataclass(frozen=True)
class Column:
    """One column of a file: its type of value, whether it must be filled, and the words it may hold (empty: any).

    Types: `id` text identifier · `code` capitals, digits, ``_`` and ``-`` · `text` free text · `word` one of `words` ·
    `minor` minor units ≥ 0 · `signed` minor units of either sign · `int` 0…2³¹−1 · `count` 0…10¹⁵ · `date` ·
    `time` with offset · `rate` decimal(9,6) · `percent` 0…100 · `polarity` −100…100 · `tier` 1…4.
    """

    name: str
    type: str
    required: bool
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """One kind of file: who sends it, the lake table it lands in, its columns and the one its control sum adds up."""

    kind: FileKind
    sender: str
    table: str
    columns: tuple[Column, ...]
    sum_column: str | None
    is_daily: bool = True

    @property
    def is_advisory(self) -> bool:
        """Whether a date is complete without it, whatever became of it (`lake.completeness`)."""
        return self.kind in ADVISORY_KINDS

    @property
    def is_knowable(self) -> bool:
        """Whether its rows say from when they were knowable, so that a file can come from the future."""
        return KNOWABLE_AT in self.names

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in file order."""
        return tuple(column.name for column in self.columns)


def _column(text: str) -> Column:
    """A column from ``name:type`` with ``?`` behind a type that may be empty."""
    name, _, type_text = text.partition(":")
    value_type = type_text.rstrip("?*")
    words: tuple[str, ...] = ()
    if value_type == "word":
        words = tuple(str(word) for word in _WORDS[name]) if name in _WORDS else _LISTS[name]
    return Column(name, value_type, not type_text.endswith("?"), words)


def _kind(kind: FileKind, sender: str, table: str, columns: str, *, daily: bool = True) -> Kind:
    """A kind from its columns as text; ``*`` marks the column of the control sum."""
    texts = columns.split()
    summed = [text.partition(":")[0] for text in texts if text.endswith("*")]
    return Kind(kind, sender, table, tuple(_column(text) for text in texts), summed[0] if summed else None, daily)


_ALL = (
    _kind(
        FileKind.ORDERS,
        PLATFORM,
        "platform_order",
        """request_no:id order_type:word account_no:id? counter_account_no:id? amount_minor:minor* currency:word
        order_status:code created_at:time loan_no:id?""",
    ),
    _kind(
        FileKind.POSTINGS,
        PLATFORM,
        "virtual_posting",
        """request_no:id seq:int movement_type:word debit_account_no:id credit_account_no:id amount_minor:minor*
        currency:word txn_at:time loan_no:id? issue_no:int? component:word?""",
    ),
    _kind(
        FileKind.BALANCES,
        PLATFORM,
        "virtual_balance",
        "account_no:id currency:word closing_minor:signed* held_minor:signed",
    ),
    _kind(
        FileKind.LOANS,
        PLATFORM,
        "loan",
        """loan_no:id borrower_customer_no:id borrower_account_no:id guarantor_account_no:id? contract_minor:minor
        disbursed_minor:minor* currency:word annual_rate:rate plan_type:word term_months:int raised_from:date?
        disbursed_on:date? purpose_code:code? grade:code?""",
    ),
    _kind(
        FileKind.PLANS,
        PLATFORM,
        "plan_row",
        """loan_no:id plan_version:int issue_no:int due_on:date due_principal_minor:minor* due_interest_minor:minor
        due_fee_minor:minor currency:word""",
    ),
    _kind(
        FileKind.CLAIMS,
        PLATFORM,
        "claim",
        """claim_no:id loan_no:id lender_customer_no:id lender_account_no:id principal_minor:minor* currency:word
        origin:code parent_claim_no:id? opened_on:date closed_on:date?""",
    ),
    _kind(FileKind.STATUS, PLATFORM, "loan_status", "loan_no:id seq:int loan_status:word changed_at:time"),
    _kind(
        FileKind.CUSTOMERS,
        PLATFORM,
        "customer",
        """customer_no:id id_hash:text party_type:code name_masked:text phone_masked:text? roles:text opened_on:date""",
    ),
    _kind(
        FileKind.PAYMENTS,
        PLATFORM,
        "opening_payment",
        """payment_no:id loan_no:id issue_no:int component:word payer_role:code amount_minor:minor* currency:word
        paid_on:date""",
        daily=False,
    ),
    _kind(
        FileKind.CHANNEL,
        PAYMENT_COMPANY,
        "channel_order",
        """channel_order_no:id request_no:id order_type:word account_no:id amount_minor:minor* currency:word txn_at:time
        channel_status:code settlement_batch_no:id?""",
    ),
    _kind(
        FileKind.SETTLEMENT,
        PAYMENT_COMPANY,
        "channel_settlement",
        """settlement_batch_no:id settled_on:date order_count:count gross_minor:signed fee_minor:signed
        net_minor:signed* currency:word""",
    ),
    _kind(
        FileKind.STATEMENT,
        BANK,
        "bank_statement_line",
        """line_type:word entry_no:int? book_date:date amount_minor:signed* currency:word bank_ref:text?
        type_code:code? remittance:text?""",
    ),
    _kind(
        FileKind.GENERAL_LEDGER,
        BANK,
        "general_ledger_line",
        """gl_account_no:id account_kind:word currency:word opening_minor:signed debit_minor:minor credit_minor:minor
        closing_minor:signed* core_balance_minor:signed?""",
    ),
    _kind(
        FileKind.INDUSTRY,
        BUREAU,
        "industry_record",
        """record_no:id subject_hash:id member_no:id record_type:word contract_no:id? occurred_on:date amount_minor:minor*
        currency:word decision:word? status_code:word? dpd:int? kind:word? knowable_at:time""",
    ),
    _kind(
        FileKind.REPUTATION,
        BUREAU,
        "reputation_hit",
        """hit_no:id subject_hash:id source_tier:tier category:word polarity_pct:polarity match_pct:percent review:word
        published_on:date? knowable_at:time""",
    ),
)

KINDS: Mapping[str, Kind] = {str(kind.kind): kind for kind in _ALL}
