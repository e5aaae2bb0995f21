"""One instruction about a loan at work: its transaction, whose turn it is, and what all instructions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from domain.allocation import Allocation
from domain.splitting import OpenClaim, split
from domain.vocabulary import Component, MovementType, OrderType
from transactional.bodies import MOVEMENTS_MAX, Movement, Order
from transactional.idempotent import once
from transactional.loan_money_bodies import Fee
from transactional.loan_owed import OPEN_CLAIMS
from transactional.loans_bodies import OfPlatform
from transactional.loans_records import check_mine
from transactional.posting_within import post_within
from transactional.problems import Problem
from transactional.service import scope_of, service_of


class Turn:
    """One instruction at work: its transaction, the loan that it has the turn of, and who asks."""

    def __init__(self, request: Request, connection: Any, body: OfPlatform, loan: dict[str, Any], actor: str) -> None:
        self.connection = connection
        self.platform_id = body.platform_id
        self.loan = loan
        self.actor = actor
        self._settings = service_of(request).settings

    async def post(self, request_no: str, order_type: OrderType, movements: Sequence[Movement], **holds: Any) -> dict[str, Any]:
        """Post an order of the platform in the loan's currency."""
        if len(movements) > MOVEMENTS_MAX:
            raise Problem("BODY_TOO_LARGE", f"{len(movements)} movements are needed, an order carries {MOVEMENTS_MAX}")
        order = Order(self.platform_id, request_no, order_type, self.loan["currency"], list(movements), **holds)
        return await post_within(self.connection, self._settings, order, self.actor)

    async def status(self, status: str, since: str, reason: str, **more: Any) -> None:
        """The loan's next status, judged by `loans.change_status`."""
        change = {"platform_id": self.platform_id, "loan_no": self.loan["loan_no"], "status": status, "valid_from": since}
        given = msgspec.json.encode({**change, "reason": reason, **more}).decode()
        await self.connection.execute("SELECT loans.change_status($1::jsonb, $2)", given, self.actor)

    async def state(self) -> Any:
        """The loan as it stands now."""
        query = "SELECT to_jsonb(s) FROM loans.loan_state s WHERE platform_id = $1 AND loan_no = $2"
        return msgspec.json.decode(await self.connection.fetchval(query, self.platform_id, self.loan["loan_no"]))

    async def rows(self, query: str, *more: Any) -> list[Any]:
        """Rows of a query about the platform's loan."""
        found: list[Any] = await self.connection.fetch(query, self.platform_id, self.loan["loan_no"], *more)
        return found

    async def movements(
        self, allocations: Sequence[Allocation], payer: str, types: tuple[MovementType, MovementType]
    ) -> list[Movement]:
        """A payer's movements to the lenders for what `allocations` settle; `types` are those of principal and interest."""
        claims = await self.rows(OPEN_CLAIMS)
        accounts = {claim["claim_no"]: claim["account_no"] for claim in claims}
        principal, interest = types
        return [
            Movement(
                principal if part.component is Component.PRINCIPAL else interest,
                payer,
                accounts[part.claim_no],
                part.amount_minor,
                self.loan["loan_no"],
                part.issue_no,
                part.component.value,
                part.claim_no,
            )
            for part in split(allocations, [OpenClaim(claim["claim_no"], claim["outstanding_minor"]) for claim in claims])
        ]

    async def alone(self) -> None:
        """From here on until the end nobody else posts: what is owed and outstanding is what the order meets."""
        await self.connection.execute("SELECT pg_advisory_xact_lock(7401)")


async def instructed(request: Request, loan_no: str, body: OfPlatform, act: Any) -> Response:
    """Answer `act(turn)` in one transaction that has the loan's turn."""
    scope = await scope_of(request)
    check_mine(scope, body.platform_id)

    async def in_turn(connection: Any) -> Any:
        loan = await connection.fetchrow("SELECT * FROM loans.take_turn($1, $2)", body.platform_id, loan_no)
        return await act(Turn(request, connection, body, dict(loan), f"key:{scope}"))

    return await once(request, scope, body, in_turn)


def fees_of(payer: str, fees: Sequence[Fee], loan_no: str) -> list[Movement]:
    """The fees that a payer pays beside."""
    return [Movement(MovementType.COMMISSION, payer, fee.credit_account, fee.amount_minor, loan_no) for fee in fees]


def shown(movement: Movement) -> dict[str, Any]:
    """What an answer says of a movement to a lender."""
    names = ("movement_type", "credit_account", "claim_no", "issue_no", "component", "amount_minor")
    return {name: getattr(movement, name) for name in names}
