"""`/v1/withdrawals`: asked, confirmed a second time, paid out or rolled back (spec 02 section 2.4; spec 10 1.4, 1.24, 1.28b)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.ids import is_text_id
from transactional.answers import WithdrawalDone, WithdrawalState
from transactional.bodies import Amount, Hold, Order, TextId, decode
from transactional.idempotent import once
from transactional.listings import CSV_ANSWER, Cursor, Format, Limit, Listing, Moment, Text, answer, paged
from transactional.loans_bodies import OfPlatform, Sha256
from transactional.loans_records import Platform, check_mine, platform_read
from transactional.openapi import answering, writing
from transactional.posting_within import post_within
from transactional.problems import Problem
from transactional.service import read_body, scope_of, service_of
from transactional.withdrawal_orders import ORDER_TYPES, letting_go, taking

router = APIRouter(prefix="/v1/withdrawals", tags=["withdrawals"])
CONFIRM_WITHIN_MAX_S = 7 * 24 * 3600
_WITHDRAWALS = Listing(
    "withdrawals",
    (
        *("platform_id", "withdrawal_no", "account_no", "customer_no", "currency", "speed", "amount_minor", "fee_minor"),
        *("fee_account_no", "state", "expires_at", "recorded_at", "method", "decided_at", "instruction_no", "bank_reference"),
        *("reason", "settled_at"),
    ),
    "SELECT * FROM payments.withdrawal_state",
    (("platform_id", str), ("withdrawal_no", str)),
    {
        "platform_id": "platform_id = {}",
        "reach": "platform_id = {}",
        "account_no": "account_no = {}",
        "customer_no": "customer_no = {}",
        "state": "state = {}",
        "recorded_from": "recorded_at >= {}",
        "recorded_until": "recorded_at < {}",
    },
    is_newest_first=False,
)
_STATE = "SELECT * FROM payments.withdrawal_state WHERE platform_id = $1 AND withdrawal_no = $2"


class Withdrawal(OfPlatform, frozen=True, kw_only=True):
    """Money that a customer wants on the bound card: `amount_minor` arrives, the fee is paid beside it."""

    withdrawal_no: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:#-]{1,60}\Z")]
    account: TextId
    amount_minor: Amount
    speed: Literal["T1", "T0", "REAL_TIME"]
    fee_minor: Annotated[int, msgspec.Meta(ge=0, le=10**15)] = 0
    fee_account: TextId | None = None
    card_hash: Sha256 | None = None
    confirm_within_s: Annotated[int, msgspec.Meta(ge=60, le=CONFIRM_WITHIN_MAX_S)] = 1_800


class Confirmation(OfPlatform, frozen=True, kw_only=True):
    """The customer's second word on a withdrawal, with the hash of what proves it."""

    confirmed: bool
    method: Literal["OTP", "BANK_PASSWORD", "FACE"]
    evidence_hash: Sha256


@router.post("", status_code=201, openapi_extra=writing(Withdrawal, WithdrawalDone))
async def ask(request: Request) -> Response:
    """Hold amount and fee until the customer confirms (CONFIRMING); after `confirm_within_s` the money is free again."""
    body = decode(Withdrawal, await read_body(request))
    if (body.fee_minor == 0) != (body.fee_account is None):
        raise Problem("BODY_INVALID", "a fee and the account that receives it go together", field="fee_account")
    scope = await scope_of(request)
    check_mine(scope, body.platform_id)
    settings = service_of(request).settings

    async def act(connection: Any) -> Any:
        until = await connection.fetchval("SELECT ledger.clock_now()") + timedelta(seconds=body.confirm_within_s)
        currency = await connection.fetchval("SELECT currency FROM registry.account WHERE account_no = $1", body.account)
        hold = Hold(body.withdrawal_no, body.account, body.amount_minor + body.fee_minor, until)
        order = Order(body.platform_id, body.withdrawal_no, ORDER_TYPES[body.speed], currency or "CNY", place_holds=[hold])
        posted = await post_within(connection, settings, order, f"key:{scope}")
        kept = await connection.fetchval(
            "SELECT payments.put_withdrawal($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            *(body.platform_id, body.withdrawal_no, body.account, body.speed, body.amount_minor, body.fee_minor),
            *(body.fee_account, body.card_hash, posted["order_id"], until, f"key:{scope}"),
        )
        return {"order": posted, "withdrawal": msgspec.json.decode(kept)}

    return await once(request, scope, body, act)


@router.post("/{withdrawal_no}/confirmation", status_code=201, openapi_extra=writing(Confirmation, WithdrawalDone))
async def confirm(request: Request, withdrawal_no: str) -> Response:
    """Confirmed: the money leaves the account and the bank is asked to pay (ACCEPT). Refused: it is free again (ACCEPT_FAIL)."""
    body = decode(Confirmation, await read_body(request))
    scope = await scope_of(request)
    check_mine(scope, body.platform_id)
    settings = service_of(request).settings

    async def act(connection: Any) -> Any:
        asked = await connection.fetchrow("SELECT * FROM payments.take_turn($1, $2)", body.platform_id, withdrawal_no)
        if asked["state"] != "CONFIRMING":
            raise Problem("STATE_CONFLICT", f"the withdrawal is {asked['state']}", field="withdrawal_no")
        if body.confirmed:
            await connection.execute("SELECT payments.open_advance($1, $2)", body.platform_id, withdrawal_no)
        order = taking(asked) if body.confirmed else letting_go(asked)
        posted = await post_within(connection, settings, order, f"key:{scope}")
        kept = await connection.fetchval(
            "SELECT payments.put_confirmation($1, $2, $3, $4, $5, $6, $7)",
            *(
                body.platform_id,
                withdrawal_no,
                body.confirmed,
                body.method,
                body.evidence_hash,
                posted["order_id"],
                f"key:{scope}",
            ),
        )
        return {"order": posted, "withdrawal": msgspec.json.decode(kept)}

    return await once(request, scope, body, act)


@router.get("/{withdrawal_no}", openapi_extra=answering(WithdrawalState))
async def get_withdrawal(request: Request, withdrawal_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """A withdrawal as it stands: CONFIRMING, ACCEPT, ACCEPT_FAIL, REMITING, SUCCESS or FAIL."""
    platform = await platform_read(request, platform_id)
    row = await service_of(request).pool.fetchrow(_STATE, platform, withdrawal_no) if is_text_id(withdrawal_no) else None
    if row is None:
        raise Problem("WITHDRAWAL_NOT_FOUND", f"there is no withdrawal {withdrawal_no!r}", field="withdrawal_no")
    await request.state.reader.looked(request, "ACCOUNT_SEEN", f"withdrawal {platform} {withdrawal_no}")
    return dict(row)


@router.get("", responses=CSV_ANSWER, openapi_extra=paged(_WITHDRAWALS))
async def list_withdrawals(
    request: Request,
    platform_id: Text = None,
    account_no: Text = None,
    customer_no: Text = None,
    state: Literal["CONFIRMING", "ACCEPT", "ACCEPT_FAIL", "REMITING", "SUCCESS", "FAIL"] | None = None,
    recorded_from: Moment | None = None,
    recorded_until: Moment | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    format: Format = None,
) -> Any:
    """Withdrawals by platform and number, `recorded_from` included, `recorded_until` not; as pages or whole as CSV."""
    filters = {
        **{"platform_id": platform_id, "account_no": account_no, "customer_no": customer_no, "state": state},
        **{"recorded_from": recorded_from, "recorded_until": recorded_until},
    }
    return await answer(request, _WITHDRAWALS, "see_accounts", filters, (cursor, limit, format))
