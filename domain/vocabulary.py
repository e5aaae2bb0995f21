"""The closed lists of words that tables, files and pages share (spec 02 section 2.4, spec 07 section 7.4)."""

from __future__ import annotations

from enum import StrEnum


class AccountRole(StrEnum):
    """Role of an account; the first two groups are sub-accounts, the last is the bank's control accounts."""

    INVESTOR = "INVESTOR"
    BORROWERS = "BORROWERS"
    GUARANTEECORP = "GUARANTEECORP"
    INTERMEDIATOR = "INTERMEDIATOR"
    COLLABORATOR = "COLLABORATOR"
    SUPPLIER = "SUPPLIER"
    PLATFORM_COMPENSATORY = "PLATFORM_COMPENSATORY"
    PLATFORM_MARKETING = "PLATFORM_MARKETING"
    PLATFORM_PROFIT = "PLATFORM_PROFIT"
    PLATFORM_INCOME = "PLATFORM_INCOME"
    PLATFORM_INTEREST = "PLATFORM_INTEREST"
    PLATFORM_ALTERNATIVE_RECHARGE = "PLATFORM_ALTERNATIVE_RECHARGE"
    PLATFORM_FUNDS_TRANSFER = "PLATFORM_FUNDS_TRANSFER"
    PLATFORM_URGENT = "PLATFORM_URGENT"
    SPECIAL_ACCOUNT = "SPECIAL_ACCOUNT"
    CHANNEL_RECEIVABLE = "CHANNEL_RECEIVABLE"
    WITHDRAWAL_PAYABLE = "WITHDRAWAL_PAYABLE"
    OWN_FUNDS = "OWN_FUNDS"
    SUSPENSE = "SUSPENSE"


CONTROL_ROLES = frozenset(
    {
        AccountRole.SPECIAL_ACCOUNT,
        AccountRole.CHANNEL_RECEIVABLE,
        AccountRole.WITHDRAWAL_PAYABLE,
        AccountRole.OWN_FUNDS,
        AccountRole.SUSPENSE,
    }
)
CUSTOMER_ROLES = frozenset({AccountRole.INVESTOR, AccountRole.BORROWERS, AccountRole.GUARANTEECORP})


class OrderType(StrEnum):
    """What an order asks for (contracts section 4)."""

    OPENING = "OPENING"
    RECHARGE = "RECHARGE"
    SETTLEMENT = "SETTLEMENT"
    WITHDRAW = "WITHDRAW"
    WITHDRAW_PAYOUT = "WITHDRAW_PAYOUT"
    TENDER = "TENDER"
    DISBURSE = "DISBURSE"
    REPAYMENT = "REPAYMENT"
    COMPENSATORY = "COMPENSATORY"
    COMPENSATORY_REPAYMENT = "COMPENSATORY_REPAYMENT"
    CREDIT_ASSIGNMENT = "CREDIT_ASSIGNMENT"
    MARKETING = "MARKETING"
    TOP_UP = "TOP_UP"
    PROFIT = "PROFIT"


class MovementType(StrEnum):
    """Why money moved (contracts section 4)."""

    OPENING_BALANCE = "OPENING_BALANCE"
    RECHARGE = "RECHARGE"
    SETTLEMENT = "SETTLEMENT"
    WITHDRAW = "WITHDRAW"
    WITHDRAW_PAYOUT = "WITHDRAW_PAYOUT"
    TENDER = "TENDER"
    COMMISSION = "COMMISSION"
    PRINCIPAL = "PRINCIPAL"
    INTEREST = "INTEREST"
    COMPENSATORY = "COMPENSATORY"
    COMPENSATORY_REPAYMENT = "COMPENSATORY_REPAYMENT"
    CREDIT_ASSIGNMENT = "CREDIT_ASSIGNMENT"
    MARKETING = "MARKETING"
    OWN_FUNDS_IN = "OWN_FUNDS_IN"
    TOP_UP = "TOP_UP"
    PROFIT = "PROFIT"
    OWN_FUNDS_OUT = "OWN_FUNDS_OUT"


_CUSTOMER = (AccountRole.INVESTOR, AccountRole.BORROWERS, AccountRole.GUARANTEECORP)
_SUB_ACCOUNTS = tuple(role for role in AccountRole if role not in CONTROL_ROLES)


def _pairs(debits: tuple[AccountRole, ...], credits: tuple[AccountRole, ...]) -> frozenset[tuple[AccountRole, AccountRole]]:
    return frozenset((debit, credit) for debit in debits for credit in credits)


ALLOWED_MOVEMENTS: dict[MovementType, frozenset[tuple[AccountRole, AccountRole]]] = {
    MovementType.OPENING_BALANCE: _pairs((AccountRole.SPECIAL_ACCOUNT,), _SUB_ACCOUNTS),
    MovementType.RECHARGE: _pairs((AccountRole.CHANNEL_RECEIVABLE,), _CUSTOMER),
    MovementType.SETTLEMENT: _pairs((AccountRole.SPECIAL_ACCOUNT,), (AccountRole.CHANNEL_RECEIVABLE,)),
    MovementType.WITHDRAW: _pairs(_CUSTOMER, (AccountRole.WITHDRAWAL_PAYABLE,)),
    MovementType.WITHDRAW_PAYOUT: _pairs((AccountRole.WITHDRAWAL_PAYABLE,), (AccountRole.SPECIAL_ACCOUNT,)),
    MovementType.TENDER: _pairs((AccountRole.INVESTOR,), (AccountRole.BORROWERS,)),
    MovementType.COMMISSION: _pairs((AccountRole.BORROWERS, AccountRole.INVESTOR), (AccountRole.PLATFORM_INCOME,)),
    MovementType.PRINCIPAL: _pairs((AccountRole.BORROWERS,), (AccountRole.INVESTOR,)),
    MovementType.INTEREST: _pairs((AccountRole.BORROWERS,), (AccountRole.INVESTOR,)),
    MovementType.COMPENSATORY: _pairs((AccountRole.GUARANTEECORP,), (AccountRole.INVESTOR,)),
    MovementType.COMPENSATORY_REPAYMENT: _pairs((AccountRole.BORROWERS,), (AccountRole.GUARANTEECORP,)),
    MovementType.CREDIT_ASSIGNMENT: _pairs((AccountRole.INVESTOR,), (AccountRole.INVESTOR,)),
    MovementType.MARKETING: _pairs((AccountRole.PLATFORM_MARKETING,), (AccountRole.INVESTOR,)),
    MovementType.OWN_FUNDS_IN: _pairs((AccountRole.SPECIAL_ACCOUNT,), (AccountRole.OWN_FUNDS,)),
    MovementType.TOP_UP: _pairs((AccountRole.OWN_FUNDS,), (AccountRole.PLATFORM_MARKETING, AccountRole.PLATFORM_COMPENSATORY)),
    MovementType.PROFIT: _pairs((AccountRole.PLATFORM_INCOME,), (AccountRole.OWN_FUNDS,)),
    MovementType.OWN_FUNDS_OUT: _pairs((AccountRole.OWN_FUNDS,), (AccountRole.SPECIAL_ACCOUNT,)),
}


class PlanType(StrEnum):
    """Repayment plans of spec 05 section 5.1."""

    ANNUITY = "ANNUITY"
    EQUAL_PRINCIPAL = "EQUAL_PRINCIPAL"
    INTEREST_FIRST = "INTEREST_FIRST"
    BULLET = "BULLET"
    FLAT = "FLAT"


class LoanStatus(StrEnum):
    """Status codes of the supervisory feed (spec 01 section 1.7)."""

    ANNOUNCED = "0"
    FULL = "1"
    FAILED = "2"
    REPAID = "3"
    OVERDUE = "4"
    REPAYING = "5"
    RAISING = "6"
    BAD_DEBT = "8"
    DISBURSED = "9"
    WRITTEN_OFF = "10"


class Component(StrEnum):
    """Part of an instalment that a payment settles."""

    PRINCIPAL = "P"
    INTEREST = "I"


class FileKind(StrEnum):
    """Kinds of incoming files (contracts section 3)."""

    ORDERS = "orders"
    POSTINGS = "postings"
    BALANCES = "balances"
    LOANS = "loans"
    PLANS = "plans"
    CLAIMS = "claims"
    STATUS = "status"
    CUSTOMERS = "customers"
    PAYMENTS = "payments"
    CHANNEL = "channel"
    SETTLEMENT = "settlement"
    STATEMENT = "statement"
    INDUSTRY = "industry"
    REPUTATION = "reputation"


ADVISORY_KINDS = (FileKind.INDUSTRY, FileKind.REPUTATION)
"""Kinds that inform and never hold up: without one a date is as complete as with it, and no break B24 is raised."""


class RecordType(StrEnum):
    """What a record of the industry bureau is about (spec 06 section 6.3)."""

    APPLICATION = "APPLICATION"
    CONTRACT = "CONTRACT"
    REPAY = "REPAY"
    SPECIAL = "SPECIAL"


class Decision(StrEnum):
    """What became of an application at another lender: pending, approved, rejected, cancelled."""

    PENDING = "P"
    APPROVED = "A"
    REJECTED = "R"
    CANCELLED = "C"


class RepayStatus(StrEnum):
    """Monthly status of a contract: N normal, 1…7 late, * nothing due, / not begun, C settled, G ended, D cured by another."""

    NORMAL = "N"
    OVERDUE_1 = "1"
    OVERDUE_2 = "2"
    OVERDUE_3 = "3"
    OVERDUE_4 = "4"
    OVERDUE_5 = "5"
    OVERDUE_6 = "6"
    OVERDUE_7 = "7"
    NOTHING_DUE = "*"
    NOT_BEGUN = "/"
    SETTLED = "C"
    ENDED = "G"
    COMPENSATED = "D"


class SpecialKind(StrEnum):
    """Special events of a contract at another lender."""

    WRITE_OFF = "WRITE_OFF"
    COMPENSATED = "COMPENSATED"
    FRAUD_CONFIRMED = "FRAUD_CONFIRMED"
    EXTENSION = "EXTENSION"
    COLLATERAL_TAKEN = "COLLATERAL_TAKEN"
    DISPUTE = "DISPUTE"


class ReputationCategory(StrEnum):
    """What a finding on the web says (spec 06 section 6.2); NO_HIT: a search was made and found nothing."""

    DISHONEST_LIST = "DISHONEST_LIST"
    ENFORCEMENT = "ENFORCEMENT"
    LITIGATION = "LITIGATION"
    BANKRUPTCY = "BANKRUPTCY"
    TAX = "TAX"
    ADMIN_PENALTY = "ADMIN_PENALTY"
    FRAUD_ACCUSATION = "FRAUD_ACCUSATION"
    COMPLAINT = "COMPLAINT"
    MEDIA_NEGATIVE = "MEDIA_NEGATIVE"
    POSITIVE = "POSITIVE"
    OTHER = "OTHER"
    NO_HIT = "NO_HIT"


class Review(StrEnum):
    """Whether a person has looked at a finding."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"


class Severity(StrEnum):
    """How much an open item or alert matters."""

    INFO = "INFO"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"
