"""Instructions about platforms' own money: urgent payments and their return, marketing, service fees (spec 02 section 2.4).

The platform names accounts and amounts; the bank posts one order, and of urgent money gives back no more than was paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.vocabulary import MovementType, OrderType
from transactional.bodies import MOVEMENTS_MAX, Amount, Movement, Order, TextId, decode
from transactional.idempotent import once
from transactional.loans_bodies import OfPlatform
from transactional.loans_records import Platform, check_mine, platform_read
from transactional.openapi import writing
from transactional.posting_within import post_within
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1", tags=["platform money"])
_CURRENCY = "SELECT currency FROM registry.account WHERE account_no = $1 AND platform_id = $2"
_OPEN = "SELECT open_minor FROM loans.urgent_open WHERE platform_id = $1 AND account_no = $2"
_ALL_OPEN = """SELECT account_no, currency, open_minor, last_moved_on FROM loans.urgent_open
  WHERE platform_id = $1 AND open_minor > 0 ORDER BY account_no LIMIT 10000"""


class Part(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One customer's part of an instruction."""

    account: TextId
    amount_minor: Amount
    loan_no: TextId | None = None


Parts = Annotated[list[Part], msgspec.Meta(min_length=1, max_length=MOVEMENTS_MAX)]


class Urgent(OfPlatform, frozen=True, kw_only=True):
    """Money between the platform's urgent account and a customer's."""

    request_no: TextId
    urgent_account: TextId
    account: TextId
    amount_minor: Amount


class Marketing(OfPlatform, frozen=True, kw_only=True):
    """Gifts from the platform's marketing account, which has to have the money."""

    request_no: TextId
    marketing_account: TextId
    payments: Parts


class ServiceFees(OfPlatform, frozen=True, kw_only=True):
    """Agreed service fees of customers to the platform's income."""

    request_no: TextId
    income_account: TextId
    fees: Parts


@router.post("/urgent-payments", status_code=201, openapi_extra=writing(Urgent))
async def pay_urgently(request: Request) -> Response:
    """The platform's own money to a customer who cannot wait; it is to come back (rule P15)."""
    body = decode(Urgent, await read_body(request))
    movement = Movement(MovementType.PLATFORM_URGENT_PAY, body.urgent_account, body.account, body.amount_minor)
    return await _posted(request, body, OrderType.PLATFORM_URGENT_PAY, [movement])


@router.post("/urgent-returns", status_code=201, openapi_extra=writing(Urgent))
async def return_urgent(request: Request) -> Response:
    """What was urgently paid to a customer comes back, never more than that: AMOUNT_EXCEEDS says what is open."""
    body = decode(Urgent, await read_body(request))
    movement = Movement(MovementType.PLATFORM_URGENT_RETURN, body.account, body.urgent_account, body.amount_minor)

    async def check(connection: Any) -> None:
        left = await connection.fetchval(_OPEN, body.platform_id, body.account) or 0
        if body.amount_minor > left:
            raise Problem("AMOUNT_EXCEEDS", f"{left} is open", field="amount_minor", value=left)

    return await _posted(request, body, OrderType.PLATFORM_URGENT_RETURN, [movement], check)


@router.get("/urgent-payments")
async def list_urgent(request: Request, platform_id: Platform = None) -> dict[str, Any]:
    """Accounts that have urgent money which has not come back, with the date of the last movement."""
    platform = await platform_read(request, platform_id)
    return {"items": [dict(row) for row in await service_of(request).pool.fetch(_ALL_OPEN, platform)]}


@router.post("/marketing-payments", status_code=201, openapi_extra=writing(Marketing))
async def pay_marketing(request: Request) -> Response:
    """Gifts to customers in one order: all of them or none."""
    body = decode(Marketing, await read_body(request))
    movements = [
        Movement(MovementType.MARKETING, body.marketing_account, part.account, part.amount_minor, part.loan_no)
        for part in body.payments
    ]
    return await _posted(request, body, OrderType.MARKETING, movements)


@router.post("/service-fees", status_code=201, openapi_extra=writing(ServiceFees))
async def take_service_fees(request: Request) -> Response:
    """Agreed service fees in one order: all of them or none."""
    body = decode(ServiceFees, await read_body(request))
    movements = [
        Movement(MovementType.COMMISSION, part.account, body.income_account, part.amount_minor, part.loan_no)
        for part in body.fees
    ]
    return await _posted(request, body, OrderType.PLATFORM_SERVICE_DEDUCT, movements)


async def _posted(
    request: Request,
    body: Any,
    order_type: OrderType,
    movements: Sequence[Movement],
    check: Callable[[Any], Any] | None = None,
) -> Response:
    """Post one order of the platform in the currency of its first payer; `check` runs when nobody else posts any more."""
    scope = await scope_of(request)
    check_mine(scope, body.platform_id)

    async def act(connection: Any) -> Any:
        payer = movements[0].debit_account
        currency = await connection.fetchval(_CURRENCY, payer, body.platform_id)
        if currency is None:
            raise Problem("UNKNOWN_ACCOUNT", f"there is no account {payer} of {body.platform_id}", field="account", value=payer)
        if check is not None:
            await connection.execute("SELECT pg_advisory_xact_lock(7401)")
            await check(connection)
        order = Order(body.platform_id, body.request_no, order_type, currency, list(movements))
        return {"order": await post_within(connection, service_of(request).settings, order, f"key:{scope}")}

    return await once(request, scope, body, act)
