"""Every refusal and failure the service can answer, as RFC 9457 problem documents (guide, section 9.2).

`type` and `code` are stable; `retryable` says whether the same request may succeed later without a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """One entry of the catalogue: HTTP status, title for people, and whether trying again may help."""

    status: int
    title: str
    retryable: bool = False


CATALOGUE: dict[str, Kind] = {
    "MALFORMED_JSON": Kind(400, "The body is not JSON."),
    "IDEMPOTENCY_KEY_MISSING": Kind(400, "The header Idempotency-Key is missing, empty or longer than 255 characters."),
    "NOT_AUTHENTICATED": Kind(401, "The API key or session is missing, unknown or over."),
    "NOT_PERMITTED": Kind(403, "This person's role does not permit it."),
    "PASSWORD_MUST_CHANGE": Kind(403, "The password has to be changed first."),
    "OTHER_PLATFORM": Kind(403, "The API key does not cover this platform."),
    "NOT_FOUND": Kind(404, "There is nothing at this address."),
    "DAY_NOT_CLOSED": Kind(404, "This business date is not closed."),
    "APPROVAL_NOT_FOUND": Kind(404, "There is no such proposal."),
    "ACCOUNT_NOT_FOUND": Kind(404, "There is no such account."),
    "METHOD_NOT_ALLOWED": Kind(405, "This address does not offer this method."),
    "IDEMPOTENCY_KEY_REUSED": Kind(409, "The Idempotency-Key was used with another body."),
    "IN_FLIGHT": Kind(409, "A request with this Idempotency-Key is still being worked on.", retryable=True),
    "REQUEST_NO_TAKEN": Kind(409, "The platform has used this request_no before."),
    "HOLD_NO_TAKEN": Kind(409, "The platform has used this hold_no before."),
    "HOLD_RELEASED": Kind(409, "The hold was released before."),
    "ALREADY_REVERSED": Kind(409, "The order was reversed before."),
    "REGISTRY_DIFFERS": Kind(409, "A row with this key is registered with other content."),
    "DAY_NOT_OVER": Kind(409, "This business date is not over."),
    "DAY_OUT_OF_ORDER": Kind(409, "Business dates are closed one after the other."),
    "DAY_NOT_SEALED": Kind(409, "Movements of this business date wait for their ledger numbers.", retryable=True),
    "DAY_DOES_NOT_BALANCE": Kind(409, "The books of this business date do not balance."),
    "APPROVAL_PENDING": Kind(409, "A proposal of this kind on this subject waits for a decision already."),
    "APPROVAL_DECIDED": Kind(409, "The proposal was decided before."),
    "APPROVAL_EXPIRED": Kind(409, "The proposal has expired."),
    "APPROVAL_DIFFERS": Kind(409, "The proposal is not the version that was seen."),
    "OWN_APPROVAL": Kind(409, "Nobody decides on their own proposal."),
    "BODY_TOO_LARGE": Kind(413, "The body is larger than the service reads."),
    "BODY_INVALID": Kind(422, "The body is not what the contract says."),
    "PARAMETER_INVALID": Kind(422, "A parameter of the address is not what the contract says."),
    "UNKNOWN_APPROVAL_KIND": Kind(422, "There is no such kind of proposal."),
    "UNKNOWN_PLATFORM": Kind(422, "The platform is not registered."),
    "UNKNOWN_ACCOUNT": Kind(422, "The account is not registered."),
    "UNKNOWN_HOLD": Kind(422, "There is no such hold."),
    "UNKNOWN_REVERSED_ORDER": Kind(422, "The order to reverse does not exist on this platform."),
    "UNKNOWN_REFERENCE": Kind(422, "A registry row names another that is not registered."),
    "ACCOUNT_OF_OTHER_PLATFORM": Kind(422, "An order may not leave its platform."),
    "CURRENCY_MISMATCH": Kind(422, "The account keeps another currency than the order."),
    "SAME_ACCOUNT": Kind(422, "Debit and credit account are the same."),
    "MOVEMENT_NOT_ALLOWED": Kind(422, "The law of movements does not know this movement between these roles."),
    "HOLD_NOT_ALLOWED": Kind(422, "Control accounts hold nothing."),
    "REVERSAL_DIFFERS": Kind(422, "A reversal repeats the whole order with debit and credit swapped."),
    "INSUFFICIENT_FUNDS": Kind(422, "The account would fall below what it holds.", retryable=True),
    "OWN_FUNDS_NOT_CLEARED": Kind(422, "The order leaves money on the clearing account OWN_FUNDS."),
    "CLOCK_NOT_SIMULATED": Kind(422, "The clock of this database is the system's."),
    "CLOCK_BACKWARDS": Kind(422, "The clock never goes back."),
    "EFFECTIVE_IN_FUTURE": Kind(422, "An order cannot take effect after it was recorded."),
    "EFFECTIVE_IN_CLOSED_DAY": Kind(422, "Nothing takes effect in a closed business date."),
    "KNOWN_AS_OF_IN_FUTURE": Kind(422, "What is known at a time still to come is not known."),
    "INTERNAL": Kind(500, "The service failed; nothing was posted."),
    "QUEUE_FULL": Kind(503, "Too many orders are waiting.", retryable=True),
    "OUTCOME_UNKNOWN": Kind(503, "The database did not answer; ask again with the same Idempotency-Key.", retryable=True),
    "DATABASE_MISSING": Kind(503, "The database does not answer.", retryable=True),
}
STATUS_CODES = tuple(sorted({kind.status for kind in CATALOGUE.values()}))


class Problem(Exception):
    """A refusal on its way to the caller; `code` is a key of CATALOGUE, `more` extends the document.

    For example ``raise Problem("UNKNOWN_ACCOUNT", "no account P01-L-9", field="movements[0].debit_account")``.
    """

    def __init__(self, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.more = more

    def document(self) -> dict[str, Any]:
        """The RFC 9457 document."""
        kind = CATALOGUE[self.code]
        return {
            "type": f"urn:fundwatch:problem:{self.code.lower().replace('_', '-')}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": kind.retryable,
            **self.more,
        }

    def response(self) -> Response:
        """The document as an HTTP answer; retryable ones say when to come back."""
        kind = CATALOGUE[self.code]
        headers = {"Retry-After": "1"} if kind.retryable and kind.status in (409, 503) else {}
        if kind.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(msgspec.json.encode(self.document()), kind.status, headers, MEDIA_TYPE)
