"""Bodies of the loans side: strict, amounts in minor units, rates as decimal strings of at most six places."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

from domain.vocabulary import LoanStatus, PlanType
from transactional.bodies import Amount, Label, TextId

PLAN_ROWS_MAX = 600
PARTIES_MAX = 2_000
NonNegative = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
Rate = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,2}(\.[0-9]{1,6})?\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Months = Annotated[int, msgspec.Meta(ge=1, le=600)]
IssueNo = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Day = date


class OfPlatform(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every body of the loans side names: the platform that keeps the number in the path."""

    platform_id: TextId


class Terms(OfPlatform, frozen=True, kw_only=True):
    """What borrower and lenders agree on; `annual_rate` is a fraction (0.12 = 12 % a year)."""

    contract_minor: Amount
    annual_rate: Rate
    term_months: Months
    plan_type: PlanType
    purpose_code: TextId
    security_type: Literal["NONE", "GUARANTEE", "MORTGAGE", "PLEDGE", "THIRD_PARTY"]
    raise_start: Day
    raise_end: Day
    valid_from: Day | None = None


class Loan(Terms, frozen=True, kw_only=True):
    """A loan as a platform announces it (spec 01 section 1.7, scatterInvest)."""

    loan_no: TextId
    customer_no: TextId
    currency: Currency
    project_no: TextId | None = None
    status: Literal["0", "6"] = "0"
    announced_on: Day | None = None


class StatusChange(OfPlatform, frozen=True, kw_only=True):
    """A loan's next status; `disbursed_minor` goes with 9 (disbursed) and is compared with the ledger."""

    status: LoanStatus
    valid_from: Day
    reason: Label
    disbursed_minor: Amount | None = None


class PlanRow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One instalment due."""

    issue_no: IssueNo
    due_on: Day
    principal_minor: NonNegative
    interest_minor: NonNegative
    fee_minor: NonNegative = 0


class Plan(OfPlatform, frozen=True, kw_only=True):
    """The next version of a plan: `rows` as the platform keeps them, or none with `?generate=true`.

    `prepaid_minor` is the principal paid on `valid_from` ahead of the plan, for a generated PREPAYMENT.
    """

    reason: Literal["ORIGINAL", "PREPAYMENT", "RESTRUCTURING", "CORRECTION"]
    valid_from: Day
    rows: Annotated[list[PlanRow], msgspec.Meta(max_length=PLAN_ROWS_MAX)] = []
    prepaid_minor: Amount | None = None


class Listing(OfPlatform, frozen=True, kw_only=True):
    """A claim, or a part of its principal, that its owner offers."""

    listing_no: TextId
    claim_no: TextId
    principal_minor: Amount
    price_minor: Amount
    listed_on: Day
    expires_on: Day


class Reason(OfPlatform, frozen=True, kw_only=True):
    """Why something ends."""

    reason: Label


class Deal(OfPlatform, frozen=True, kw_only=True):
    """A sale that is agreed: `price_minor` without accrued interest, which is computed when it is left out."""

    deal_no: TextId
    buyer_customer_no: TextId
    principal_minor: Amount
    price_minor: Amount
    fee_minor: NonNegative
    agreed_on: Day
    accrued_minor: NonNegative | None = None


class Carried(OfPlatform, frozen=True, kw_only=True):
    """The posted order that carried what is recorded; `claim_no` numbers the claim that comes of it."""

    request_no: TextId
    claim_no: TextId | None = None


class Mandate(OfPlatform, frozen=True, kw_only=True):
    """What a lender lets the platform bid in his name; `version` counts from 1 and must be the next one."""

    mandate_no: TextId
    version: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    customer_no: TextId
    currency: Currency
    rate_from: Rate
    rate_to: Rate
    term_from_months: Months
    term_to_months: Months
    loan_max_minor: Amount
    total_max_minor: Amount
    valid_from: Day
    expires_on: Day
    products: Annotated[list[PlanType], msgspec.Meta(max_length=5)] = []


class Bid(OfPlatform, frozen=True, kw_only=True):
    """A bid that a mandate would have to cover."""

    loan_no: TextId
    amount_minor: Amount


class MandateUse(Bid, frozen=True, kw_only=True):
    """A tender hold that was placed under a mandate."""

    hold_no: TextId


class Guarantee(OfPlatform, frozen=True, kw_only=True):
    """A policy: how much of which loan a guarantor covers (spec 05 section 5.10)."""

    policy_no: TextId
    loan_no: TextId
    customer_no: TextId
    coverage: Literal["PRINCIPAL", "PRINCIPAL_AND_INTEREST"]
    cover_minor: Amount
    waiting_days: Annotated[int, msgspec.Meta(ge=0, le=365)]
    premium_minor: NonNegative
    valid_from: Day
    valid_to: Day


class Release(OfPlatform, frozen=True, kw_only=True):
    """A policy that is given back."""

    released_on: Day
    reason: Label


class Call(OfPlatform, frozen=True, kw_only=True):
    """What a guarantor is asked to pay of one instalment, and until when."""

    call_no: TextId
    issue_no: IssueNo
    called_minor: Amount
    called_on: Day
    due_on: Day


class Collateral(OfPlatform, frozen=True, kw_only=True):
    """What secures a loan; LTV = outstanding principal / (value · (1 − haircut))."""

    collateral_no: TextId
    loan_no: TextId
    customer_no: TextId
    kind: Literal["REAL_ESTATE", "VEHICLE", "EQUIPMENT", "RECEIVABLES", "SECURITIES", "OTHER"]
    haircut: Annotated[str, msgspec.Meta(pattern=r"^0(\.[0-9]{1,6})?\Z")]
    ltv_max: Annotated[str, msgspec.Meta(pattern=r"^(0\.[0-9]{0,5}[1-9]|[1-9](\.[0-9]{1,6})?)\Z")]


class Valuation(OfPlatform, frozen=True, kw_only=True):
    """What collateral is worth on a date, by whose word, and how long that counts."""

    valued_on: Day
    method: Literal["APPRAISAL", "MARKET_PRICE", "MODEL", "PURCHASE_PRICE"]
    value_minor: Amount
    valuer: Label
    valid_until: Day


class Lien(OfPlatform, frozen=True, kw_only=True):
    """A registration of rights, their transfer to another holder, or their release."""

    event: Literal["REGISTERED", "TRANSFERRED", "RELEASED"]
    registration_no: TextId
    happened_on: Day
    lien_rank: Annotated[int, msgspec.Meta(ge=1, le=99)] = 1
    holder_customer_no: TextId | None = None


class Contract(OfPlatform, frozen=True, kw_only=True):
    """What was signed: its hash, its template, who signed, and what it is about."""

    contract_no: TextId
    kind: Literal["LOAN", "GUARANTEE", "TRANSFER", "COLLATERAL"]
    subject_no: TextId
    content_sha256: Sha256
    template_code: TextId
    template_version: TextId
    parties: Annotated[list[TextId], msgspec.Meta(min_length=1, max_length=PARTIES_MAX)]
    signed_on: Day
    ends_on: Day


class ContractEvent(OfPlatform, frozen=True, kw_only=True):
    """A delivery to the customer, or a dispute that stops and starts the retention clock."""

    event: Literal["DELIVERED", "DISPUTE_OPENED", "DISPUTE_ENDED"]
    happened_on: Day
    evidence_sha256: Sha256 | None = None


class Content(OfPlatform, frozen=True, kw_only=True):
    """The hash of content that is said to be what was signed."""

    content_sha256: Sha256
