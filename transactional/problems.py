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
    "DUPLICATE_FIELD": Kind(400, "An object of the body names a field twice."),
    "IDEMPOTENCY_KEY_MISSING": Kind(400, "The header Idempotency-Key is missing, empty or longer than 255 characters."),
    "NOT_AUTHENTICATED": Kind(401, "The API key or session is missing, unknown or over."),
    "WRONG_LOGIN": Kind(401, "Name, password and code do not belong together, or the account is disabled."),
    "CODE_NEEDED": Kind(401, "The password is right; a one-time code is needed besides."),
    "NOT_PERMITTED": Kind(403, "This person's role does not permit it."),
    "PASSWORD_MUST_CHANGE": Kind(403, "The password has to be changed first."),
    "SECOND_FACTOR_NEEDED": Kind(403, "This role signs in with a second factor, which has to be set up first."),
    "OTHER_PLATFORM": Kind(403, "This takes a key for every platform."),
    "ORDER_OF_THE_BANK": Kind(403, "Only the bank enters orders of this type."),
    "CONFIRMATION_NEEDED": Kind(403, "The customer confirms this a second time, by an instruction."),
    "NEEDS_APPROVAL": Kind(403, "This changes by the decision of a second person only."),
    "ADDRESS_NOT_LISTED": Kind(403, "The platform's white list does not have this network address."),
    "NOT_FOUND": Kind(404, "There is nothing at this address."),
    "CUSTOMER_NOT_FOUND": Kind(404, "There is no such customer."),
    "WITHDRAWAL_NOT_FOUND": Kind(404, "There is no such withdrawal."),
    "RECHARGE_NOT_FOUND": Kind(404, "There is no such recharge."),
    "DAY_NOT_CLOSED": Kind(404, "This business date is not closed."),
    "APPROVAL_NOT_FOUND": Kind(404, "There is no such proposal."),
    "ACCOUNT_NOT_FOUND": Kind(404, "There is no such account."),
    "USER_NOT_FOUND": Kind(404, "There is no person with this login name."),
    "CALENDAR_NOT_FOUND": Kind(404, "There is no such calendar or version."),
    "LOAN_NOT_FOUND": Kind(404, "There is no such loan."),
    "CLAIM_NOT_FOUND": Kind(404, "There is no such claim."),
    "DATE_NOT_PUBLISHED": Kind(404, "Nothing of this platform and date is published."),
    "BREAK_NOT_FOUND": Kind(404, "There is no such open item."),
    "RECORD_NOT_FOUND": Kind(404, "There is no such record."),
    "INSTRUCTION_NOT_FOUND": Kind(404, "There is no such payment instruction."),
    "DELIVERY_NOT_FOUND": Kind(404, "There is no such delivery."),
    "ADJUSTMENT_NOT_FOUND": Kind(404, "There is no such adjustment."),
    "LEGAL_HOLD_NOT_FOUND": Kind(404, "There is no such legal hold."),
    "METHOD_NOT_ALLOWED": Kind(405, "This address does not offer this method."),
    "IDEMPOTENCY_KEY_REUSED": Kind(409, "The Idempotency-Key was used with another body."),
    "IN_FLIGHT": Kind(409, "A request with this Idempotency-Key is still being worked on.", retryable=True),
    "REQUEST_NO_TAKEN": Kind(409, "The platform has used this request_no before."),
    "HOLD_NO_TAKEN": Kind(409, "The platform has used this hold_no before."),
    "HOLD_RELEASED": Kind(409, "The hold was released before."),
    "HOLD_EXPIRED": Kind(409, "The time of the hold is over."),
    "ACCOUNT_NOT_EMPTY": Kind(409, "An account with a balance or a hold cannot be closed."),
    "ACCOUNT_CLOSED": Kind(409, "The account is closed."),
    "ACCOUNT_LOCKED": Kind(409, "The account is locked: nothing is taken from it and nothing new is held."),
    "ALREADY_REVERSED": Kind(409, "The order was reversed before."),
    "REGISTRY_DIFFERS": Kind(409, "A row with this key is registered with other content."),
    "IDENTITY_TAKEN": Kind(409, "This identity is registered under another party_ref."),
    "BANK_ACCOUNT_TAKEN": Kind(409, "The bank account is mapped to another customer."),
    "CARD_BOUND": Kind(409, "Another card is bound for this purpose: unbind it first."),
    "SETTLEMENT_ACCOUNT": Kind(409, "The account on which a payment company settles is no customer's card or bank account."),
    "PERIOD_OVERLAPS": Kind(409, "The period overlaps another of the same relation."),
    "STATUS_NOT_ALLOWED": Kind(409, "This does not follow in the present status."),
    "ACCOUNT_HAS_CLAIMS": Kind(409, "Open claims hang on the account."),
    "ACCOUNT_OPEN": Kind(409, "The customer has an account that is not closed."),
    "OPENING_DIFFERS": Kind(409, "The opening figures do not agree to the cent."),
    "PLATFORM_NOT_EMPTY": Kind(409, "An account of the platform still holds money."),
    "DAY_NOT_OVER": Kind(409, "This business date is not over."),
    "DAY_OUT_OF_ORDER": Kind(409, "Business dates are closed one after the other."),
    "DAY_NOT_SEALED": Kind(409, "Movements of this business date wait for their ledger numbers.", retryable=True),
    "DAY_DOES_NOT_BALANCE": Kind(409, "The books of this business date do not balance."),
    "APPROVAL_PENDING": Kind(409, "A proposal of this kind on this subject waits for a decision already."),
    "APPROVAL_DECIDED": Kind(409, "The proposal was decided before."),
    "APPROVAL_EXPIRED": Kind(409, "The proposal has expired."),
    "APPROVAL_DIFFERS": Kind(409, "The proposal is not the version that was seen."),
    "OWN_APPROVAL": Kind(409, "Nobody decides on their own proposal."),
    "NAME_TAKEN": Kind(409, "There is a person with this login name already."),
    "OWN_PERSON": Kind(409, "Nobody changes their own role or state; two others do."),
    "LAST_ADMIN": Kind(409, "This is the last enabled administrator."),
    "PASSWORD_IS_OWN": Kind(409, "The person is disabled or has chosen their own password."),
    "SECOND_FACTOR_IN_FORCE": Kind(409, "A second factor is in force; two administrators reset it."),
    "SECOND_FACTOR_NOT_BEGUN": Kind(409, "No second factor waits for its first code."),
    "NO_SECOND_FACTOR": Kind(409, "The person has no second factor."),
    "CALENDAR_CHANGED": Kind(409, "The calendar has a newer version than the one that was seen."),
    "ACCESS_REVIEW_STALE": Kind(409, "Persons changed since the review was read: read it again."),
    "NUMBER_TAKEN": Kind(409, "The number stands for another record already."),
    "BREAK_NOT_OPEN": Kind(409, "The item is not open any more."),
    "STATE_CONFLICT": Kind(409, "The record is in no state for this."),
    "PRECONDITION_FAILED": Kind(412, "If-Match names a version that is not the newest."),
    "VERSION_STALE": Kind(409, "The version given is not the next one."),
    "ORDER_USED": Kind(409, "The order has carried another change already."),
    "ORDER_REVERSED": Kind(409, "The order was reversed, or is a reversal."),
    "ADJUSTMENT_STATE": Kind(409, "The adjustment is not in a state that allows this step."),
    "CHECKER_INVESTIGATED": Kind(409, "Who investigates a break does not decide on its adjustments."),
    "CHECKED_BEFORE": Kind(409, "The second checker is another person than the first."),
    "SECOND_CHECKER_NEEDED": Kind(409, "The amount needs a second checker."),
    "CONSENT_USED": Kind(409, "The customer has answered before."),
    "CONSENT_EXPIRED": Kind(409, "The time for the customer's answer is over."),
    "LEGAL_HOLD_ENDED": Kind(409, "The legal hold is no longer in force."),
    "LEGAL_ORDER_KNOWN": Kind(409, "The order is in force on this account already."),
    "LEGALLY_LOCKED": Kind(409, "A legal hold locks the account."),
    "ACCOUNT_NOT_DORMANT": Kind(409, "The account is not dormant."),
    "CUSTOMER_DIED": Kind(409, "The customer died: holds are released by decision only."),
    "BODY_TOO_LARGE": Kind(413, "The body is larger than the service reads."),
    "BODY_INVALID": Kind(422, "The body is not what the contract says."),
    "PARAMETER_INVALID": Kind(422, "A parameter of the address is not what the contract says."),
    "CURSOR_INVALID": Kind(422, "This is no cursor of the service."),
    "CURSOR_OF_OTHER_LIST": Kind(422, "The cursor belongs to another list or to other filters."),
    "PERIOD_INVALID": Kind(422, "The period ends before it begins, or is too long."),
    "HISTORY_NOT_KEPT": Kind(422, "The service keeps no history of that time."),
    "UNKNOWN_APPROVAL_KIND": Kind(422, "There is no such kind of proposal."),
    "UNKNOWN_PERSON": Kind(422, "There is no person with this login name."),
    "UNKNOWN_CALENDAR": Kind(422, "There is no such calendar."),
    "CALENDAR_DAY_PAST": Kind(422, "A day that has begun or is closed stays as it was."),
    "CALENDAR_UNCOVERED": Kind(422, "The calendar does not know these days."),
    "NOTHING_CHANGES": Kind(422, "The change would change nothing."),
    "WEAK_PASSWORD": Kind(422, "This password may not be chosen."),
    "CODE_WRONG": Kind(422, "The code is not that of the authenticator at this time."),
    "UNKNOWN_PLATFORM": Kind(422, "The platform is not registered."),
    "UNKNOWN_ACCOUNT": Kind(422, "The account is not registered."),
    "UNKNOWN_HOLD": Kind(422, "There is no such hold."),
    "UNKNOWN_REVERSED_ORDER": Kind(422, "The order to reverse does not exist on this platform."),
    "UNKNOWN_REFERENCE": Kind(422, "A registry row names another that is not registered."),
    "PLATFORM_NOT_ACTIVE": Kind(422, "The platform is in no state to trade."),
    "ACCOUNT_OF_OTHER_PLATFORM": Kind(422, "An order may not leave its platform."),
    "CURRENCY_MISMATCH": Kind(422, "The account keeps another currency than the order."),
    "SAME_ACCOUNT": Kind(422, "Debit and credit account are the same."),
    "MOVEMENT_NOT_ALLOWED": Kind(422, "The law of movements does not know this movement between these roles."),
    "MOVEMENT_NOT_OF_ORDER": Kind(422, "An order of this type does not carry this movement."),
    "HOLD_NOT_ALLOWED": Kind(422, "Control accounts hold nothing."),
    "HOLD_EXCEEDED": Kind(422, "The hold has less left than the order takes."),
    "CAPTURE_NOT_SPENT": Kind(422, "An order captures more of a hold than it takes from the account."),
    "REVERSAL_DIFFERS": Kind(422, "A reversal repeats the whole order with debit and credit swapped."),
    "INSUFFICIENT_FUNDS": Kind(422, "The account would fall below what it holds.", retryable=True),
    "ADVANCE_EXCEEDED": Kind(422, "The bank advances no more than its limit for the platform."),
    "CLAIM_EXCEEDED": Kind(422, "A movement pays more principal than the claim has outstanding."),
    "PAYEE_NOT_LISTED": Kind(422, "The payee is not on the platform's white list of accounts."),
    "OWN_FUNDS_NOT_CLEARED": Kind(422, "The order leaves money on the clearing account OWN_FUNDS."),
    "CLOCK_NOT_SIMULATED": Kind(422, "The clock of this database is the system's."),
    "CLOCK_BACKWARDS": Kind(422, "The clock never goes back."),
    "EFFECTIVE_IN_FUTURE": Kind(422, "An order cannot take effect after it was recorded."),
    "CARD_NOT_BOUND": Kind(422, "The card is not bound to the account."),
    "NOT_AUTHORISED": Kind(422, "The customer has given no confirmed authorisation for this."),
    "CHANNEL_NOT_OPEN": Kind(422, "The payment company has no contract in force for this channel."),
    "CAP_EXCEEDED": Kind(422, "The borrower would owe more than a cap of the pack allows."),
    "EFFECTIVE_IN_CLOSED_DAY": Kind(422, "Nothing takes effect in a closed business date."),
    "KNOWN_AS_OF_IN_FUTURE": Kind(422, "What is known at a time still to come is not known."),
    "TOO_MANY_ATTEMPTS": Kind(429, "Too many failed logins; nothing was checked this time.", retryable=True),
    "DATE_IN_FUTURE": Kind(422, "The date is still to come."),
    "UNKNOWN_CUSTOMER": Kind(422, "The platform has no such customer, or the customer no account for this."),
    "UNKNOWN_ORDER": Kind(422, "The platform has posted no such order."),
    "ORDER_DIFFERS": Kind(422, "The order did not move what this says."),
    "AMOUNT_DIFFERS": Kind(422, "The amount is not what the ledger says."),
    "AMOUNT_EXCEEDS": Kind(422, "The amount is more than there is."),
    "PLAN_DIFFERS": Kind(422, "The rows cannot be the next version of the plan."),
    "LOAN_NOT_OVERDUE": Kind(422, "Nothing of the loan is past due."),
    "BUYER_NOT_ALLOWED": Kind(422, "Neither the seller nor the borrower can buy this claim."),
    "MANDATE_DOES_NOT_COVER": Kind(422, "The mandate does not cover this bid."),
    "CALL_TOO_EARLY": Kind(422, "The instalment is not due so long that the guarantor can be called."),
    "PARTY_MISSING": Kind(422, "A party of what the contract is about has not signed it."),
    "UNKNOWN_BREAK": Kind(422, "There is no such open item on this account."),
    "SIGN_OFF_BLOCKED": Kind(422, "Balances, totals or files of the date are open: the report cannot be signed."),
    "REPORT_DIFFERS": Kind(409, "The report is another one than the one that was read."),
    "BREAK_DIFFERS": Kind(422, "The item has another amount or currency now."),
    "BREAK_STAYS": Kind(422, "Nobody agrees to a difference of this kind: it has to be put right."),
    "WRITE_OFF_EXCEEDED": Kind(422, "The amount is above the currency's limit for write-offs."),
    "BREAK_IS_TIMING": Kind(422, "The item only waits for its other side: it is carried, not adjusted."),
    "ADJUSTMENT_WIDENS_BREAK": Kind(422, "The movement would not reduce the break."),
    "ADJUSTMENT_EXCEEDS_BREAK": Kind(422, "The amount is more than is left of the break."),
    "CONSENT_MISSING": Kind(422, "The customer has not consented to this amount."),
    "CONSENT_TOKEN_INVALID": Kind(422, "The token is not the newest of this adjustment."),
    "CONSENT_DIFFERS": Kind(422, "The answer is not to what the customer was asked."),
    "UNKNOWN_LEGAL_HOLD": Kind(422, "There is no such legal hold."),
    "DEDUCTION_EXCEEDS_FREEZE": Kind(422, "The amount is more than the freeze holds."),
    "ACCOUNT_NOT_QUIET": Kind(422, "The customer has used the account since."),
    "CALENDAR_NOT_COVERED": Kind(422, "The working-day calendar does not cover these dates."),
    "REQUEST_NO_RESERVED": Kind(422, "Numbers that begin with ADJ- or LEGAL- are the bank's own."),
    "HOLD_NO_RESERVED": Kind(422, "Numbers that begin with LEGAL- are the bank's own."),
    "MOVEMENT_BY_DESK_ONLY": Kind(422, "This movement comes from an adjustment or a court's order only."),
    "INTERNAL": Kind(500, "The service failed; nothing was posted."),
    "QUEUE_FULL": Kind(503, "Too many orders are waiting.", retryable=True),
    "LOGINS_BUSY": Kind(503, "Too many people are signing in at this moment.", retryable=True),
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
        headers = {"Retry-After": str(self.more.get("wait_s", 1))} if kind.retryable and kind.status in (409, 429, 503) else {}
        if kind.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(msgspec.json.encode(self.document()), kind.status, headers, MEDIA_TYPE)
