"""Bodies of the writing endpoints (contracts section 5): strict, so that a wrong amount is named with its position."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from domain.money import MAX_AMOUNT_MINOR
from domain.vocabulary import MovementType, OrderType
from transactional.problems import Problem

TextId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:#-]{1,64}\Z")]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\Z")]
Amount = Annotated[int, msgspec.Meta(gt=0, le=MAX_AMOUNT_MINOR)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
ROWS_MAX = 5_000
BULK_MAX = 1_000
MOVEMENTS_MAX = 10_000


class Movement(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One debit and one credit of the same amount in minor units."""

    movement_type: MovementType
    debit_account: TextId
    credit_account: TextId
    amount_minor: Amount
    loan_no: TextId | None = None
    issue_no: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    component: Literal["P", "I"] | None = None
    claim_no: TextId | None = None


class Hold(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Money of an account set aside under a number of the platform's."""

    hold_no: TextId
    account: TextId
    amount_minor: Amount


class Order(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a platform asks the bank to do, whole or not at all."""

    platform_id: TextId
    request_no: TextId
    order_type: OrderType
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    movements: Annotated[list[Movement], msgspec.Meta(max_length=MOVEMENTS_MAX)] = []
    place_holds: Annotated[list[Hold], msgspec.Meta(max_length=MOVEMENTS_MAX)] = []
    release_holds: Annotated[list[TextId], msgspec.Meta(max_length=MOVEMENTS_MAX)] = []
    reverses_request_no: TextId | None = None
    simulated_at: Moment | None = None
    effective_at: Moment | None = None


class Bulk(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Up to 1,000 orders, all of them or none."""

    orders: Annotated[list[Order], msgspec.Meta(min_length=1, max_length=BULK_MAX)]


class Platform(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A marketplace whose money the bank keeps."""

    platform_id: TextId
    name: Label
    legal_name: Label
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    pack_id: TextId
    onboarded_on: date


class PaymentCompany(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A payment channel and the platforms it serves."""

    paycom_id: TextId
    name: Label
    platform_ids: list[TextId] = []


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
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    customer_no: TextId | None = None


class Registry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Rows to register; every list may be left out."""

    platforms: list[Platform] = []
    payment_companies: list[PaymentCompany] = []
    parties: list[Party] = []
    customers: list[Customer] = []
    sub_accounts: list[SubAccount] = []


class ClockBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The time to move the simulated clock to."""

    now: Moment


Body = TypeVar("Body")


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode(kind: type[Body], raw: bytes) -> Body:
    """A body of `kind`; Problem MALFORMED_JSON or BODY_INVALID names the field and position (``movements[0].amount_minor``)."""
    try:
        body: Body = _decoder(cast(Hashable, kind)).decode(raw)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        raise Problem(
            "BODY_INVALID", str(error), field=where.rstrip("`").removeprefix("$").removeprefix("."), what=what
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("MALFORMED_JSON", f"the body is not JSON: {error}") from None
    return body


def canonical(body: msgspec.Struct) -> bytes:
    """The one form of a body: defaults filled in, keys sorted, no white space."""
    return msgspec.json.encode(body, order="sorted")


def digest(body: bytes) -> str:
    """Hex sha256 of a canonical body."""
    return sha256(body).hexdigest()


def differing_fields(first: Any, second: Any, path: str = "") -> list[str]:
    """Paths at which two decoded JSON values differ, such as ``movements[0].amount_minor``.

    >>> differing_fields({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
    ['a[0].b']
    """
    if isinstance(first, dict) and isinstance(second, dict):
        names = sorted(first.keys() | second.keys())
        pairs = [(f"{path}.{name}" if path else name, first.get(name), second.get(name)) for name in names]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [(f"{path}[{index}]", one, two) for index, (one, two) in enumerate(zip(first, second, strict=True))]
    else:
        return [] if first == second else [path]
    return [found for name, one, two in pairs for found in differing_fields(one, two, name)]
