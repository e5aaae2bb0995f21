"""`POST /v1/postings`: a platform tells of its own ledger's lines and orders as it writes them (books V and O), never of book B.

A line heard again in the same words is known; the same `request_no` and `seq` in other words is a second line of the platform's,
which the reconciliation shows as a duplicate (B08).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import BULK_MAX, Amount, Moment, TextId, decode
from transactional.idempotent import once
from transactional.keys import EVERY_PLATFORM
from transactional.listings import FIRST_YEAR, LAST_YEAR
from transactional.loans_bodies import Currency, NonNegative, OfPlatform
from transactional.loans_records import check_mine
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.service import read_body, scope_of

router = APIRouter(prefix="/v1/postings", tags=["live reconciliation"])
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_-]{1,32}\Z")]


class Posting(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One line of the platform's ledger, named as in its file `postings` (contracts section 3)."""

    request_no: TextId
    seq: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    movement_type: Word
    debit_account_no: TextId
    credit_account_no: TextId
    amount_minor: Amount
    currency: Currency
    txn_at: Moment
    loan_no: TextId | None = None
    issue_no: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    component: Literal["P", "I"] | None = None


class PlatformOrder(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One order as the platform has it now, named as in its file `orders`; told again when its status changes."""

    request_no: TextId
    order_type: Word
    account_no: TextId
    amount_minor: NonNegative
    currency: Currency
    order_status: Word
    created_at: Moment
    counter_account_no: TextId | None = None
    loan_no: TextId | None = None


class Postings(OfPlatform, frozen=True, kw_only=True):
    """Lines and orders of one platform, at most 1,000 of each, all of them or none."""

    postings: Annotated[tuple[Posting, ...], msgspec.Meta(max_length=BULK_MAX)] = ()
    orders: Annotated[tuple[PlatformOrder, ...], msgspec.Meta(max_length=BULK_MAX)] = ()


@router.post("", status_code=201, openapi_extra=writing(Postings))
async def tell(request: Request) -> Response:
    """Keep what is told; the platform's own key only. With its first line or order it takes part with that book.

    201 `{postings, new, unchanged, repeats, orders, orders_new, orders_unchanged}`: of the lines those that repeat a key in other
    words are counted as `repeats`.
    """
    body = decode(Postings, await read_body(request))
    scope = await scope_of(request)
    if scope == EVERY_PLATFORM:
        raise Problem("NOT_PERMITTED", "only the platform itself says what its ledger has")
    check_mine(scope, body.platform_id)
    if not body.postings and not body.orders:
        raise Problem("BODY_INVALID", "there is neither a posting nor an order", field="postings")
    times = [(f"postings[{place}].txn_at", line.txn_at) for place, line in enumerate(body.postings)]
    for where, moment in times + [(f"orders[{place}].created_at", order.created_at) for place, order in enumerate(body.orders)]:
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Problem("BODY_INVALID", f"years go from {FIRST_YEAR} to {LAST_YEAR} - at `$.{where}`", field=where)
    lines, orders = (msgspec.json.encode(told).decode() for told in (body.postings, body.orders))

    async def act(connection: Any) -> Any:
        told = await connection.fetchval(
            "SELECT live.tell($1, $2::jsonb, $3::jsonb, $4)", body.platform_id, lines, orders, f"key:{scope}"
        )
        return msgspec.Raw(told.encode())

    return await once(request, scope, body, act)
