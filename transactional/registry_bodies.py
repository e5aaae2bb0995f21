"""Bodies of the registry's endpoints (contracts section 5): strict; hashes only, names and telephones masked."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

import msgspec

from domain.money import MAX_AMOUNT_MINOR
from transactional.bodies import Amount, Label, Moment, TextId
from transactional.problems import Problem

ROWS_MAX = 5_000
BALANCES_MAX = 100_000
HOLDS_MAX = 10_000
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
Fraction = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,6})?\Z")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z_]{1,39}\Z")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*\Z")]
Money = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT_MINOR)]
Roles = Annotated[list[TextId], msgspec.Meta(max_length=20)]
_SEPARATORS = re.compile(r"[\s().+_/-]")


def check_masked(words: str | None, field: str) -> None:
    """Problem BODY_INVALID when a masked field carries a number in full: seven digits in a row, separators aside."""
    if words is not None and re.search(r"\d{7}", _SEPARATORS.sub("", words)):
        raise Problem("BODY_INVALID", "send it masked: no more than six digits in a row", field=field)


class Platform(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A marketplace whose money the bank keeps."""

    platform_id: TextId
    name: Label
    legal_name: Label
    currency: Currency
    pack_id: TextId
    onboarded_on: date


class FeeTerms(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What a payment company keeps of a settlement: a share of what was recharged, or minor units an order."""

    basis: Literal["VOLUME_RECHARGE", "COUNT_TXN"]
    rate: Annotated[str, msgspec.Meta(pattern=r"^0(\.[0-9]{1,9})?\Z")] = "0"
    unit_minor: Money = 0


class PaymentCompany(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A payment channel, the platforms it serves, and the fees it was registered with."""

    paycom_id: TextId
    name: Label
    platform_ids: list[TextId] = []
    fee_terms: Annotated[list[FeeTerms], msgspec.Meta(max_length=10)] = []


class Party(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A person or firm; one party may be a customer of several platforms."""

    party_ref: TextId
    party_type: TextId
    id_hash: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
    name_masked: Label
    phone_masked: Label | None = None


class Customer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A party as one platform knows it."""

    platform_id: TextId
    customer_no: TextId
    party_ref: TextId
    roles: list[TextId]
    opened_on: date


class SubAccount(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A sub-account of a customer or of the platform (spec 02 section 2.4)."""

    account_no: TextId
    platform_id: TextId
    account_role: TextId
    currency: Currency
    customer_no: TextId | None = None


class Registry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Rows to register; every list may be left out."""

    platforms: list[Platform] = []
    payment_companies: list[PaymentCompany] = []
    parties: list[Party] = []
    customers: list[Customer] = []
    sub_accounts: list[SubAccount] = []


class Dated(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A row with the day it counts from; the current day of the bank's zone when left out."""

    valid_from: date | None = None


class OfPlatform(Dated, frozen=True, kw_only=True):
    """A row of one platform."""

    platform_id: TextId


class BoundCard(OfPlatform, frozen=True, kw_only=True):
    """The card of an account for one purpose, by keyed hash, with the result of the 3- or 4-factor check (row 1.28a)."""

    account_no: TextId
    purpose: Literal["WITHDRAW", "RECHARGE", "WITHHOLDING"]
    bank_code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{2,14}\Z")]
    card_hash: Sha256
    last4: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")]
    factors: Literal[3, 4]
    result: Literal["PASSED", "FAILED"]
    is_bound: bool


class BankAccount(OfPlatform, frozen=True, kw_only=True):
    """A customer's own account at the bank, by keyed hash (row 3.6)."""

    customer_no: TextId
    bank_account_hash: Sha256
    is_mapped: bool


class RedirectEvidence(OfPlatform, frozen=True, kw_only=True):
    """A customer was sent to the bank's page (row 3.7)."""

    request_no: TextId
    customer_no: TextId | None = None
    purpose: Literal["OPEN_ACCOUNT", "SET_PASSWORD", "BIND_CARD", "RECHARGE", "WITHDRAW", "AUTHORISE"]
    page_hash: Sha256
    channel: Literal["WEB", "APP", "COUNTER"]
    is_confirmed: bool
    happened_at: Moment


class KycCheck(OfPlatform, frozen=True, kw_only=True):
    """Result of one check of a customer's identity (rows 1.2, 1.14)."""

    check_no: TextId
    customer_no: TextId
    check_type: Literal["ID", "PHONE", "BANK_CARD", "FACE", "COMPANY", "OTHER"]
    result: Literal["PASSED", "FAILED", "UNCLEAR"]
    evidence_hash: Sha256
    checked_at: Moment


class DocumentEvidence(OfPlatform, frozen=True, kw_only=True):
    """A document a customer handed in, by hash (rows 1.2, 1.14)."""

    document_no: TextId
    customer_no: TextId
    evidence_type: Word
    document_hash: Sha256
    result: Literal["VERIFIED", "REFUSED", "RECEIVED"]
    verified_at: Moment


class CustomerEvent(OfPlatform, frozen=True, kw_only=True):
    """What a customer did at the platform's door (row 1.1)."""

    event_no: TextId
    customer_no: TextId
    event_type: Literal["REGISTERED", "LOGGED_IN", "LOGIN_FAILED", "PASSWORD_CHANGED", "LOGGED_OUT"]
    channel: Literal["WEB", "APP", "COUNTER"]
    happened_at: Moment


class RelatedParty(OfPlatform, frozen=True, kw_only=True):
    """A party related to the platform, from the first to the last day; `share` is a fraction (0.05 = 5 %)."""

    party_ref: TextId
    relation: Literal["SHAREHOLDER", "CONTROLLER", "DIRECTOR", "SUPERVISOR", "SENIOR", "CLOSE_RELATIVE", "CONTROLLED_ENTITY"]
    holds_from: date
    holds_to: date | None = None
    share: Fraction | None = None
    evidence_hash: Sha256


class Project(OfPlatform, frozen=True, kw_only=True):
    """A loan request that lenders may bid for; `annual_rate` is a fraction (0.12 = 12 % a year)."""

    project_no: TextId
    customer_no: TextId
    account_no: TextId
    currency: Currency
    contract_minor: Amount
    annual_rate: Fraction
    term_months: Annotated[int, msgspec.Meta(ge=1, le=600)]
    raise_start: date
    raise_end: date
    purpose_code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_-]{1,32}\Z")]


class ProjectStatus(OfPlatform, frozen=True, kw_only=True):
    """The next status of a project."""

    project_no: TextId
    status: Literal["REGISTERED", "RAISING", "FULL", "DISBURSED", "FAILED", "CANCELLED"]
    reason: Reason | None = None


class Complaint(OfPlatform, frozen=True, kw_only=True):
    """A customer's complaint and how far it is (row 1.31)."""

    complaint_no: TextId
    customer_no: TextId | None = None
    category: Word
    received_on: date
    text_hash: Sha256
    status: Literal["RECEIVED", "IN_WORK", "ANSWERED", "CLOSED", "REOPENED"]


class CustomerRow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A customer with the party behind it, as batch upsert takes them."""

    customer_no: TextId
    party_ref: TextId
    party_type: TextId
    id_hash: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
    name_masked: Label
    roles: Roles
    opened_on: date
    phone_masked: Label | None = None
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}\Z")] | None = None
    birth_year: Annotated[int, msgspec.Meta(ge=1850, le=2200)] | None = None
    registered_on: date | None = None
    kyc_level: Annotated[int, msgspec.Meta(ge=0, le=4)] | None = None


class AccountRow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A sub-account, as batch upsert takes it."""

    account_no: TextId
    account_role: TextId
    currency: Currency
    customer_no: TextId | None = None


class Upsert(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Customers and sub-accounts of one platform; rows are judged one by one."""

    platform_id: TextId
    customers: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=ROWS_MAX)] = []
    accounts: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=ROWS_MAX)] = []
    valid_from: date | None = None


class HoldsOfProject(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The lenders' holds that are to become the borrower's money."""

    platform_id: TextId
    hold_nos: Annotated[list[TextId], msgspec.Meta(max_length=HOLDS_MAX)]


class OpeningBalance(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a sub-account brings along, in minor units."""

    account_no: TextId
    amount_minor: Money


class OpeningLoan(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is outstanding of a loan, and what its lenders' claims add up to, in minor units."""

    loan_no: TextId
    outstanding_minor: Money
    claims_minor: Money


class Onboarding(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Balances, loans and claims as agreed with the custodian before."""

    old_custodian: Label
    special_account_minor: Money
    balances: Annotated[list[OpeningBalance], msgspec.Meta(max_length=BALANCES_MAX)]
    loans: Annotated[list[OpeningLoan], msgspec.Meta(max_length=BALANCES_MAX)]
    valid_from: date
    reason: Reason


class Leaving(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The last day and why."""

    valid_from: date
    reason: Reason
