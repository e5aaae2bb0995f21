"""What the service answers about money, field by field: closed schemas of the OpenAPI document (contracts section 5).

A client may rely on every field, and on there being no other; the schema test compares answers with them.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

import msgspec


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """An object with these fields and no other."""


class PostedOrder(Answer):
    """An order that was posted."""

    order_id: int
    request_no: str
    business_date: date
    recorded_at: datetime
    movement_ids: list[int]


class PostedItem(PostedOrder, tag_field="status", tag="posted"):
    """An order of a bulk call that was posted."""


class RefusedItem(Answer, tag_field="status", tag="refused"):
    """An order of a bulk call that was refused, as a problem of its own would say it."""

    code: str
    field: str | None
    value: Any


class PostedBulk(Answer):
    """How many orders and movements were posted; `results`, in the order of the call, when each was judged by itself."""

    orders: int
    movements: int
    results: list[PostedItem | RefusedItem] | msgspec.UnsetType = msgspec.UNSET


class AccountRow(Answer):
    """An account of the registry, with its state."""

    account_id: int
    account_no: str
    platform_id: str
    account_role: str
    is_control: bool
    currency: str
    customer_no: str | None
    paycom_id: str | None
    state: Literal["OPEN", "LOCKED", "CLOSED"]
    recorded_at: datetime


class OpenHolds(Answer):
    """Open holds of an account by the type of the order that placed them; courts' apart."""

    is_legal: bool
    order_type: str
    holds: int
    held_minor: int


class Balance(Answer):
    """A balance in minor units; `available_minor` = balance − held."""

    account_no: str
    currency: str
    balance_minor: int
    held_minor: int
    legal_held_minor: int
    available_minor: int
    state: Literal["OPEN", "LOCKED", "CLOSED"]
    holds: list[OpenHolds] | msgspec.UnsetType = msgspec.UNSET


class AccountMovement(Answer):
    """A movement as its account sees it: signed amount and the balance after it."""

    account_version: int
    amount_minor: int
    balance_after_minor: int
    movement_id: int
    ledger_no: int | None
    order_id: int
    request_no: str
    seq: int
    order_type: str
    movement_type: str
    debit_account_no: str
    credit_account_no: str
    currency: str
    loan_no: str | None
    issue_no: int | None
    component: str | None
    claim_no: str | None
    reversal_of: int | None
    effective_at: datetime
    recorded_at: datetime
    business_date: date


class AccountMovements(Answer):
    """A page of an account's movements, newest first."""

    movements: list[AccountMovement]
    next_cursor: str | None


class StatementLine(Answer):
    """A movement on a statement, in the order of effect."""

    movement_id: int
    request_no: str
    order_type: str
    movement_type: str
    amount_minor: int
    loan_no: str | None
    claim_no: str | None
    reversal_of: int | None
    effective_at: datetime
    recorded_at: datetime
    business_date: date
    effective_date: date
    balance_after_minor: int
    late: bool


class Statement(Answer, rename={"from_date": "from", "to_date": "to"}):
    """A page of an account's statement: opening + moved = closing."""

    account_no: str
    currency: str
    from_date: date
    to_date: date
    known_as_of: datetime
    opening_minor: int
    moved_minor: int
    movements: int
    closing_minor: int
    rows: list[StatementLine]
    next_cursor: str | None


class RoleBalance(Answer):
    """The accounts of a role and currency together, a control account by itself."""

    account_role: str
    currency: str
    control_account_no: str | None
    accounts: int
    balance_minor: int


class PlatformBalances(Answer):
    """A platform's balances; `sum_minor` by currency."""

    platform_id: str
    effective_as_of: datetime
    known_as_of: datetime
    rows: list[RoleBalance]
    sum_minor: dict[str, int]


class MovementType(Answer):
    """What movements of a type brought and took."""

    movement_type: str
    count: int
    in_minor: int
    out_minor: int


class AccountOfMonth(Answer):
    """An account over a month: opening + in − out = closing."""

    account_no: str
    account_role: str
    currency: str
    opening_minor: int
    in_minor: int
    out_minor: int
    closing_minor: int
    movements: list[MovementType]


class ClaimOfMonth(Answer):
    """A claim's outstanding principal over a month; `principal_days_minor` is its sum over the days."""

    claim_no: str
    loan_no: str
    origin: str
    currency: str
    opened_on: date
    principal_minor: int
    opening_minor: int
    closing_minor: int
    principal_days_minor: int


class Earned(Answer):
    """What a lender earned in a currency; `yield_received` is a yearly rate as a decimal, null without principal."""

    currency: str
    claims: int
    principal_opening_minor: int
    principal_closing_minor: int
    interest_minor: int
    fees_minor: int
    yield_received: str | None


class CustomerStatement(Answer, rename={"from_date": "from", "to_date": "to"}):
    """A customer's month."""

    platform_id: str
    customer_no: str
    name_masked: str | None
    opened_on: date
    from_date: date
    to_date: date
    is_final: bool
    accounts: list[AccountOfMonth]
    claims: list[ClaimOfMonth]
    earned: list[Earned]
    next_cursor: str | None


class CapRule(Answer):
    """A cap that was asked, what counts towards it and what is left."""

    pack_id: str
    rule_id: str
    version: int
    scope: Literal["PLATFORM", "ALL"]
    cap_minor: int
    source: str
    exposure_minor: int
    headroom_minor: int
    allow: bool


class CapVerdict(Answer):
    """Whether a borrower may take so much more; `headroom_minor` and `decided_by` are null where no cap applies."""

    allow: bool
    headroom_minor: int | None
    decided_by: CapRule | None
    rules: list[CapRule]


class WithdrawalState(Answer):
    """A withdrawal as it stands."""

    platform_id: str
    withdrawal_no: str
    account_no: str
    customer_no: str | None
    currency: str
    speed: Literal["T1", "T0", "REAL_TIME"]
    amount_minor: int
    fee_minor: int
    fee_account_no: str | None
    card_hash: str | None
    expires_at: datetime
    recorded_at: datetime
    method: str | None
    decided_at: datetime | None
    instruction_no: str | None
    bank_reference: str | None
    reason: str | None
    settled_at: datetime | None
    state: Literal["CONFIRMING", "ACCEPT", "ACCEPT_FAIL", "REMITING", "SUCCESS", "FAIL"]


class WithdrawalDone(Answer):
    """The order that was posted for a withdrawal, and how it stands after it."""

    order: PostedOrder
    withdrawal: WithdrawalState


class RechargeState(Answer):
    """A recharge as it stands; `is_late`: paid after it had expired."""

    platform_id: str
    request_no: str
    account_no: str
    customer_no: str | None
    currency: str
    paycom_id: str
    channel_account_no: str
    channel: Literal["WEB", "TERMINAL", "WITHHOLDING"]
    amount_minor: int
    fee_minor: int
    fee_account_no: str | None
    card_hash: str | None
    authorisation_no: str | None
    expires_at: datetime
    recorded_at: datetime
    paycom_order_no: str | None
    order_id: int | None
    decided_at: datetime | None
    reason: str | None
    backroll_order_id: int | None
    backrolled_at: datetime | None
    state: Literal["SUBMITTED", "PAID", "FAILED", "EXPIRED", "BACKROLLED"]
    is_late: bool


class RechargeSubmitted(Answer):
    """A recharge that was announced."""

    recharge: RechargeState


class RechargeDone(Answer):
    """What was told of a recharge: the order that was posted for it (null when it failed), and how it stands."""

    order: PostedOrder | None
    recharge: RechargeState


class BreakEffect(Answer):
    """What an item does to a balance of a book."""

    book: str
    account_no: str | None
    currency: str
    effect_minor: int


class BreakAppearance(Answer):
    """A published run that showed the item."""

    business_date: date
    run_id: int
    version: int
    published: Literal["COMPLETE", "INCOMPLETE"]
    code: str
    severity: str
    amount_minor: int
    age_working_days: int
    rule_version: str | None
    explanation: str | None


class BreakEvent(Answer):
    """What somebody, or the night, said of the item."""

    break_event_id: int
    state: str
    actor: str
    at: datetime
    note: str
    code: str | None
    amount_minor: int | None
    currency: str | None
    run_id: int | None
    approval_id: int | None


class CuringMovement(Answer):
    """A movement of the item's request on the date on which it was gone."""

    movement_id: int
    order_id: int
    business_date: date
    recorded_at: datetime


class CuringFile(Answer):
    """A file that was accepted for that date."""

    sender_id: str
    file_kind: str
    file_name: str
    sha256: str | None
    received_at: datetime | None


class BreakCure(Answer):
    """The first complete date without the item, and what came on it."""

    gone_on: date
    run_id: int
    movements: list[CuringMovement]
    files: list[CuringFile]


class BreakMoved(Answer):
    """What was said of an open item, and the number of the event."""

    item_id: str
    state: Literal["INVESTIGATING", "RESOLVED", "REOPENED"]
    break_event_id: int
