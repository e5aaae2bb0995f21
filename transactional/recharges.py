"""`/v1/recharges`: announced, paid or failed as the payment company tells, taken back at most once (spec 10 1.3, 1.22).

The order that credits the customer carries the instruction's own `request_no`, by which the channel's file is matched (R4); money
that the payment company takes back is the reversal of that order, numbered `NO#B`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.ids import is_text_id
from transactional.answers import RechargeDone, RechargeState, RechargeSubmitted
from transactional.bodies import Amount, Label, TextId, decode
from transactional.idempotent import once
from transactional.keys import EVERY_PLATFORM
from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Moment, Text, answer, paged
from transactional.loans_bodies import NonNegative, OfPlatform, Sha256
from transactional.loans_records import Platform, check_mine, platform_read
from transactional.openapi import answering, writing
from transactional.posting_within import post_within
from transactional.problems import Problem
from transactional.recharge_orders import rehearse, taking, taking_back
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1/recharges", tags=["recharges"])
EXPIRES_IN_MAX_S = 7 * 24 * 3600
_STATE = "SELECT * FROM payments.recharge_state WHERE platform_id = $1 AND request_no = $2"
_RECHARGES = Listing(
    "recharges",
    (
        *(
            "platform_id",
            "request_no",
            "account_no",
            "customer_no",
            "currency",
            "paycom_id",
            "channel",
            "amount_minor",
            "fee_minor",
        ),
        *(
            "fee_account_no",
            "authorisation_no",
            "state",
            "paycom_order_no",
            "order_id",
            "reason",
            "backroll_order_id",
            "expires_at",
        ),
        *("recorded_at", "decided_at", "backrolled_at", "is_late"),
    ),
    "SELECT * FROM payments.recharge_state",
    (("platform_id", str), ("request_no", str)),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "account_no": "account_no = {}",
        "customer_no": "customer_no = {}",
        "paycom_id": "paycom_id = {}",
        "channel": "channel = {}",
        "state": "state = {}",
        "recorded_from": "recorded_at >= {}",
        "recorded_until": "recorded_at < {}",
    },
    is_newest_first=False,
)


class Recharge(OfPlatform, frozen=True, kw_only=True):
    """Money that a customer is about to pay in; a fee is the platform's and leaves the account in the same order.

    WITHHOLDING takes a card bound for it and `authorisation_no`, the `request_no` of the customer's confirmed redirect AUTHORISE.
    """

    request_no: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:#-]{1,60}\Z")]
    account: TextId
    paycom_id: TextId
    channel: Literal["WEB", "TERMINAL", "WITHHOLDING"]
    amount_minor: Amount
    fee_minor: NonNegative = 0
    fee_account: TextId | None = None
    card_hash: Sha256 | None = None
    authorisation_no: TextId | None = None
    expires_in_s: Annotated[int, msgspec.Meta(ge=60, le=EXPIRES_IN_MAX_S)] = 24 * 3600


class Outcome(OfPlatform, frozen=True, kw_only=True):
    """What the payment company tells: PAID with its number and the amount that arrived, or FAILED with its reason."""

    outcome: Literal["PAID", "FAILED"]
    paycom_order_no: TextId | None = None
    amount_minor: Amount | None = None
    reason: Label | None = None


class Backroll(OfPlatform, frozen=True, kw_only=True):
    """Why the payment company took the money back."""

    reason: Label


@router.post("", status_code=201, openapi_extra=writing(Recharge, RechargeSubmitted))
async def submit(request: Request) -> Response:
    """Announce a recharge (SUBMITTED); nothing moves. What the ledger would refuse when it is paid is refused now."""
    body = decode(Recharge, await read_body(request))
    if (body.fee_minor == 0) != (body.fee_account is None):
        raise Problem("BODY_INVALID", "a fee and the account that receives it go together", field="fee_account")
    if body.channel == "WITHHOLDING" and body.card_hash is None:
        raise Problem("CARD_NOT_BOUND", "withholding names the card that is charged", field="card_hash")
    if body.channel == "WITHHOLDING" and body.authorisation_no is None:
        raise Problem("NOT_AUTHORISED", "withholding names the customer's authorisation", field="authorisation_no")
    scope = await scope_of(request)
    check_mine(scope, body.platform_id)
    settings = service_of(request).settings

    async def act(connection: Any) -> Any:
        given = msgspec.to_builtins(body)
        account, expires_in_s = given.pop("account"), given.pop("expires_in_s")
        given["fee_account_no"] = given.pop("fee_account")
        kept = await connection.fetchval(
            "SELECT payments.put_recharge($1::jsonb, $2, $3, $4)",
            *(msgspec.json.encode(given).decode(), account, expires_in_s, f"key:{scope}"),
        )
        submitted = msgspec.json.decode(kept)
        await rehearse(connection, settings, taking(submitted), f"key:{scope}")
        return {"recharge": submitted}

    return await once(request, scope, body, act)


@router.post("/{request_no}/outcome", status_code=201, openapi_extra=writing(Outcome, RechargeDone))
async def tell(request: Request, request_no: str) -> Response:
    """Paid: the money is on the account, once. Told again in the same words, the first answer; for the bank's own systems.

    Money that comes after the recharge EXPIRED is the customer's all the same (a B12 otherwise): PAID, with `is_late`.
    """
    scope = await _bank(request)
    body = decode(Outcome, await read_body(request))
    if body.outcome == "PAID" and (body.paycom_order_no is None or body.amount_minor is None or body.reason is not None):
        raise Problem("BODY_INVALID", "PAID comes with paycom_order_no and amount_minor, without a reason", field="outcome")
    if body.outcome == "FAILED" and (body.reason is None or body.amount_minor is not None):
        raise Problem("BODY_INVALID", "FAILED comes with a reason and no amount", field="outcome")
    number = _number(request_no)
    settings = service_of(request).settings
    told = (body.outcome, body.paycom_order_no, body.reason)

    async def act(connection: Any) -> Any:
        asked = await connection.fetchrow("SELECT * FROM payments.take_recharge($1, $2)", body.platform_id, number)
        if body.outcome == "PAID" and body.amount_minor != asked["amount_minor"]:
            raise Problem("AMOUNT_DIFFERS", f"{asked['amount_minor']} was announced", field="amount_minor")
        before = await connection.fetchval("SELECT payments.told_before($1, $2, $3, $4, $5)", body.platform_id, number, *told)
        if before is not None:
            return msgspec.json.decode(before)
        posted = await post_within(connection, settings, taking(asked), f"key:{scope}") if body.outcome == "PAID" else None
        kept = await connection.fetchval(
            "SELECT payments.put_recharge_outcome($1, $2, $3, $4, $5, $6::jsonb, $7)",
            *(body.platform_id, number, *told, posted and msgspec.json.encode(posted).decode(), f"key:{scope}"),
        )
        return msgspec.json.decode(kept)

    return await once(request, scope, body, act)


@router.post("/{request_no}/backroll", status_code=201, openapi_extra=writing(Backroll, RechargeDone))
async def roll_back(request: Request, request_no: str) -> Response:
    """The payment company took a PAID recharge back: its order is reversed once, fee included; for the bank's own systems."""
    scope = await _bank(request)
    body = decode(Backroll, await read_body(request))
    number = _number(request_no)
    settings = service_of(request).settings

    async def act(connection: Any) -> Any:
        asked = await connection.fetchrow("SELECT * FROM payments.take_recharge($1, $2)", body.platform_id, number)
        if asked["state"] != "PAID":
            raise Problem("STATE_CONFLICT", f"the recharge is {asked['state']}", field="request_no")
        posted = await post_within(connection, settings, taking_back(asked), f"key:{scope}")
        kept = await connection.fetchval(
            "SELECT payments.put_recharge_backroll($1, $2, $3, $4, $5)",
            *(body.platform_id, number, body.reason, posted["order_id"], f"key:{scope}"),
        )
        return {"order": posted, "recharge": msgspec.json.decode(kept)}

    return await once(request, scope, body, act)


@router.get("/{request_no}", openapi_extra=answering(RechargeState))
async def get_recharge(request: Request, request_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """A recharge as it stands: SUBMITTED, PAID, FAILED, EXPIRED or BACKROLLED. A person's look is written down."""
    platform = await platform_read(request, platform_id)
    number = _number(request_no)
    row = await service_of(request).pool.fetchrow(_STATE, platform, number)
    if row is None:
        raise _missing(number)
    await request.state.reader.looked(request, "ACCOUNT_SEEN", f"recharge {platform} {number}")
    return dict(row)


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(_RECHARGES))
async def list_recharges(
    request: Request,
    platform_id: Text = None,
    account_no: Text = None,
    customer_no: Text = None,
    paycom_id: Text = None,
    channel: Literal["WEB", "TERMINAL", "WITHHOLDING"] | None = None,
    state: Literal["SUBMITTED", "PAID", "FAILED", "EXPIRED", "BACKROLLED"] | None = None,
    recorded_from: Moment | None = None,
    recorded_until: Moment | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Recharges by platform and number, `recorded_from` included, `recorded_until` not; as pages or whole as CSV."""
    filters = {
        **{"platform_id": platform_id, "account_no": account_no, "customer_no": customer_no, "paycom_id": paycom_id},
        **{"channel": channel, "state": state, "recorded_from": recorded_from, "recorded_until": recorded_until},
    }
    return await answer(request, _RECHARGES, "see_accounts", filters, (cursor, limit, format))


async def _bank(request: Request) -> str:
    scope = await scope_of(request)
    if scope != EVERY_PLATFORM:
        raise Problem("OTHER_PLATFORM", "only the bank's systems hear the payment company")
    return scope


def _number(given: str) -> str:
    if not is_text_id(given):
        raise _missing(given)
    return given


def _missing(number: str) -> Problem:
    return Problem("RECHARGE_NOT_FOUND", f"there is no recharge {number!r}", field="request_no")
