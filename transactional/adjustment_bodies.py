"""Bodies of `/v1/adjustments` and `/v1/break-assignments` (spec 07 section 7.8): strict, amounts in minor units."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from transactional.bodies import Amount, TextId

ItemId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Note = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*\Z")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*\S[^\x00]*\Z")]
LoginName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9._-]{2,32}\Z")]
ReasonCode = Literal[
    "MISSING_CREDIT",
    "MISSING_DEBIT",
    "DUPLICATE_CREDIT",
    "DUPLICATE_DEBIT",
    "WRONG_AMOUNT",
    "WRONG_ACCOUNT",
    "CHANNEL_CREDIT_LOST",
    "FAILED_WITHDRAWAL",
    "FEE_ERROR",
    "SPLIT_ERROR",
    "OTHER",
]


class Adjustment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A compensating movement that reduces a break on one account; `direction` is seen from the customer's account."""

    item_id: ItemId
    platform_id: TextId
    account_no: TextId
    direction: Literal["CREDIT", "DEBIT"]
    amount_minor: Amount
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    reason_code: ReasonCode
    evidence_uri: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[a-z][a-z0-9+.-]*:[^\s\x00]+\Z")]
    evidence_sha256: Sha256


class Nothing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A step that needs no words: ``{}``."""


class Decision(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A checker's word; a rejection says why."""

    approve: bool
    note: Note = ""


class Withdrawal(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Why the desk takes an adjustment back."""

    note: Reason


class Assignment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who looks into a break."""

    item_id: ItemId
    person: LoginName


class ConsentRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The version of the text that the customer is shown."""

    text_version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}\Z")]


class ConsentAnswer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The customer's word; `token` is the one-time token, of which nothing but the hash is kept or stored."""

    token: Annotated[str, msgspec.Meta(min_length=16, max_length=128, pattern=r"^[A-Za-z0-9_-]+\Z")]
    amount_minor: Amount
    text_version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}\Z")]
    is_given: bool
    channel: Literal["OTP", "BANK_PASSWORD"]
    signed_at: Annotated[datetime, msgspec.Meta(tz=True)]
