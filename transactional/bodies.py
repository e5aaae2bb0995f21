"""Bodies of the writing endpoints (contracts section 5): strict, so that a wrong amount is named with its position."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from domain.money import MAX_AMOUNT_MINOR
from domain.vocabulary import MovementType, OrderType
from transactional.problems import Problem

TextId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:#-]{1,64}\Z")]
# the same of an order's fields: a pattern a field is most of what decoding costs, so `check_texts` looks at all of them at once
OrderText = Annotated[str, msgspec.Meta(min_length=1, max_length=64, extra_json_schema={"pattern": r"^[A-Za-z0-9._:#-]{1,64}$"})]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\Z")]
Amount = Annotated[int, msgspec.Meta(gt=0, le=MAX_AMOUNT_MINOR)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
BULK_MAX = 1_000
MOVEMENTS_MAX = 10_000


class Movement(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One debit and one credit of the same amount in minor units."""

    movement_type: MovementType
    debit_account: OrderText
    credit_account: OrderText
    amount_minor: Amount
    loan_no: OrderText | None = None
    issue_no: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    component: Literal["P", "I"] | None = None
    claim_no: OrderText | None = None


class Hold(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """Money of an account set aside under a number of the platform's."""

    hold_no: OrderText
    account: OrderText
    amount_minor: Amount
    # left out rather than null, here and below: bodies of before keep their canonical form, so their keys replay
    expires_at: Moment | msgspec.UnsetType = msgspec.UNSET


class Capture(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """Take a part of a hold, or all that remains, for what the order spends; `final` lets go of the rest."""

    hold_no: OrderText
    amount_minor: Amount | None = None
    final: bool = False


Captures = Annotated[list[Capture], msgspec.Meta(min_length=1, max_length=MOVEMENTS_MAX)]


class Order(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What a platform asks the bank to do, whole or not at all."""

    platform_id: OrderText
    request_no: OrderText
    order_type: OrderType
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3, extra_json_schema={"pattern": "^[A-Z]{3}$"})]
    movements: Annotated[list[Movement], msgspec.Meta(max_length=MOVEMENTS_MAX)] = []
    place_holds: Annotated[list[Hold], msgspec.Meta(max_length=MOVEMENTS_MAX)] = []
    release_holds: Annotated[list[OrderText], msgspec.Meta(max_length=MOVEMENTS_MAX)] = []
    reverses_request_no: OrderText | None = None
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
    """A body of `kind` whose objects name no field twice; Problems of `parse`, and DUPLICATE_FIELD."""
    body = parse(kind, raw)
    json.loads(raw, object_pairs_hook=_without_duplicates)
    return body


def parse(kind: type[Body], raw: bytes) -> Body:
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


_TEXT = re.compile(r"[A-Za-z0-9._:#-]{1,64}")
_TEXTS = re.compile(r"(?:[A-Za-z0-9._:#-]{1,64}\n)*")


def check_texts(orders: Sequence[Order], is_bulk: bool) -> None:
    """Problem BODY_INVALID for the first identifier in decoded orders that is none (as TextId), with its position."""
    legs = [leg for order in orders for leg in order.movements]
    holds = [hold for order in orders for hold in order.place_holds]
    texts: set[str | None] = {order.platform_id for order in orders}
    texts.update([order.request_no for order in orders], [order.reverses_request_no for order in orders])
    texts.update([leg.debit_account for leg in legs], [leg.credit_account for leg in legs])
    texts.update([leg.loan_no for leg in legs], [leg.claim_no for leg in legs])
    texts.update([hold.hold_no for hold in holds], [hold.account for hold in holds])
    texts.update(hold_no for order in orders for hold_no in order.release_holds)
    texts.update(capture.hold_no for order in orders for capture in order.capture_holds or ())
    if _TEXTS.fullmatch("\n".join(filter(None, texts)) + "\n") is not None:
        return
    for index, order in enumerate(orders):
        for field, text in _texts(order):
            if _TEXT.fullmatch(text) is None:
                where = f"orders[{index}].{field}" if is_bulk else field
                what = f"Expected `str` matching regex {_TEXT.pattern!r}"
                raise Problem("BODY_INVALID", f"{what} - at `$.{where}`", field=where, what=what)


def _texts(order: Order) -> Iterator[tuple[str, str]]:
    yield "platform_id", order.platform_id
    yield "request_no", order.request_no
    if order.reverses_request_no is not None:
        yield "reverses_request_no", order.reverses_request_no
    for index, leg in enumerate(order.movements):
        yield f"movements[{index}].debit_account", leg.debit_account
        yield f"movements[{index}].credit_account", leg.credit_account
        if leg.loan_no is not None:
            yield f"movements[{index}].loan_no", leg.loan_no
        if leg.claim_no is not None:
            yield f"movements[{index}].claim_no", leg.claim_no
    for index, hold in enumerate(order.place_holds):
        yield f"place_holds[{index}].hold_no", hold.hold_no
        yield f"place_holds[{index}].account", hold.account
    for index, hold_no in enumerate(order.release_holds):
        yield f"release_holds[{index}]", hold_no
    for index, capture in enumerate(order.capture_holds or ()):
        yield f"capture_holds[{index}].hold_no", capture.hold_no


_DEFAULTS = (b'":null', b'":[]', b'"final":false')


def check_names(raw: bytes, form: bytes) -> None:
    """Problem DUPLICATE_FIELD when an object of a decoded order or bulk call names a field twice; `form` is its canonical form.

    Readers of JSON differ in which value counts. A body without escapes holds at least the strings of its canonical form, save
    the names of fields at their defaults; when it holds no more, no name stands twice. Else it is read again, object by object.
    """
    if b"\\" not in raw:
        defaults = sum(map(form.count, _DEFAULTS))
        if raw.count(b'"') == form.count(b'"') - 2 * defaults:
            return
    json.loads(raw, object_pairs_hook=_without_duplicates)


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
