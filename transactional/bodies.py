"""Bodies of the writing endpoints (contracts section 5): strict, so that a wrong amount is named with its position."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from datetime import datetime
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
    # left out rather than null, here and below: bodies of before keep their canonical form, so their keys replay
    expires_at: Moment | msgspec.UnsetType = msgspec.UNSET


class Capture(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Take a part of a hold, or all that remains, for what the order spends; `final` lets go of the rest."""

    hold_no: TextId
    amount_minor: Amount | None = None
    final: bool = False


Captures = Annotated[list[Capture], msgspec.Meta(min_length=1, max_length=MOVEMENTS_MAX)]


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
    capture_holds: Captures | msgspec.UnsetType = msgspec.UNSET


class Bulk(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Up to 1,000 orders, all of them or none; with `atomic` false each has a verdict of its own."""

    orders: Annotated[list[Order], msgspec.Meta(min_length=1, max_length=BULK_MAX)]
    atomic: bool | msgspec.UnsetType = msgspec.UNSET


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


_NAME = re.compile(rb'"[^"\\]*"\s*:')


def check_names(raw: bytes) -> None:
    """Problem DUPLICATE_FIELD when an object of a decoded body names a field twice; readers differ in which value counts."""
    if b"\\" not in raw:  # else escapes can spell a name, or a quote, in many ways
        names = _NAME.findall(raw)
        if len(names) == len(set(names)) or len(names) == _names_in(msgspec.json.decode(raw)):
            return
    json.loads(raw, object_pairs_hook=_without_duplicates)


def _names_in(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_names_in(part) for part in value.values() if isinstance(part, (dict, list)))
    return sum(_names_in(part) for part in value if isinstance(part, (dict, list)))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise _duplicate(next(name for name in names if names.count(name) > 1))


def _duplicate(name: str) -> Problem:
    return Problem("DUPLICATE_FIELD", f"an object names {name} twice", field=name)


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
