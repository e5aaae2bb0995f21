"""Bodies of the instructions that move a loan's money: the platform names facts, the bank works out the movements."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from domain.money import MAX_AMOUNT_MINOR
from transactional.bodies import Amount, Moment, TextId
from transactional.loans_bodies import OfPlatform

FEES_MAX = 20


class Fee(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A fee that the payer of the instruction pays to the platform's income account beside it."""

    credit_account: TextId
    amount_minor: Amount


Fees = Annotated[list[Fee], msgspec.Meta(max_length=FEES_MAX)]


class Bid(OfPlatform, frozen=True, kw_only=True):
    """A lender's bid: its money is held under `bid_no` until the loan is disbursed or its raise fails."""

    bid_no: TextId
    account: TextId
    amount_minor: Amount
    mandate_no: TextId | None = None
    expires_at: Moment | None = None


class Disbursement(OfPlatform, frozen=True, kw_only=True):
    """All bids of a full loan to its borrower; `amount_minor` is what the platform believes they add up to."""

    request_no: TextId
    borrower_account: TextId
    amount_minor: Amount
    fees: Fees = msgspec.field(default_factory=list)


class FailedRaise(OfPlatform, frozen=True, kw_only=True):
    """The raise of a loan has failed: every bid is let go."""

    request_no: TextId
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\Z")]


class Payment(OfPlatform, frozen=True, kw_only=True):
    """A payment for a loan from one account, split among its lenders; `amount_minor` is without the fees."""

    request_no: TextId
    account: TextId
    amount_minor: Amount
    fees: Fees = msgspec.field(default_factory=list)


class Prepayment(OfPlatform, frozen=True, kw_only=True):
    """Principal that is not due yet, paid today; `interest_minor` is what the platform believes has accrued on it."""

    request_no: TextId
    account: TextId
    principal_minor: Amount
    interest_minor: Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT_MINOR)]
    fees: Fees = msgspec.field(default_factory=list)


class DealPayment(OfPlatform, frozen=True, kw_only=True):
    """The buyer of a claim pays its seller; `fee_account` gets the fee of `fee_payer`; `claim_no` numbers what is bought."""

    request_no: TextId
    buyer_account: TextId
    fee_payer: Literal["BUYER", "SELLER"] = "BUYER"
    fee_account: TextId | None = None
    claim_no: TextId | None = None


class GuaranteePayment(OfPlatform, frozen=True, kw_only=True):
    """The guarantor pays what a call asks for, or a part; `claim_no` numbers the claim he gets for it."""

    request_no: TextId
    account: TextId
    amount_minor: Amount
    claim_no: TextId | None = None


class SubrogationRepayment(OfPlatform, frozen=True, kw_only=True):
    """The borrower pays back to the guarantor."""

    request_no: TextId
    account: TextId
    amount_minor: Amount


class EntrustedPayment(OfPlatform, frozen=True, kw_only=True):
    """Lent money that the borrower has the bank pay to a payee on the white list (entrusted payment)."""

    request_no: TextId
    account: TextId
    payee_account: TextId
    amount_minor: Amount
