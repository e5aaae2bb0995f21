"""The files that platforms, payment company, bank and bureau would send, derived from one truth (spec 03 section 3.5)."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta

from domain.vocabulary import ADVISORY_KINDS, AccountRole, Component, FileKind, MovementType, OrderType
from simulator.bank_day import next_working_day
from simulator.book import Book, Order
from simulator.bureau import bureau_rows
from simulator.channel_fee import channel_fee
from simulator.file_format import Feed, Row
from simulator.general_ledger import general_ledger_rows
from simulator.loans import Claim, Loan
from simulator.parameters import BANK, BUREAU, CURRENCY, PAYMENT_COMPANY, WorldParameters
from simulator.state import PlatformState, Withdrawal

Feeds = dict[tuple[date, FileKind], Feed]
"""All files about one platform, by business date and kind."""

BY_THE_BANK = frozenset({OrderType.SETTLEMENT, OrderType.WITHDRAW_PAYOUT, OrderType.BACKROLL})
"""Orders that no platform asks for: they are not in book O."""
BY_CHANNEL = frozenset({OrderType.RECHARGE, OrderType.WITHDRAW})
STATEMENT_TYPES = {
    MovementType.OPENING_BALANCE: "OPENING_BALANCE",
    MovementType.SETTLEMENT: "CHANNEL_SETTLEMENT",
    MovementType.WITHDRAW_PAYOUT: "CUSTOMER_PAYOUT",
    MovementType.OWN_FUNDS_IN: "OWN_FUNDS_IN",
    MovementType.OWN_FUNDS_OUT: "OWN_FUNDS_OUT",
}
REFUSED = "REFUSED"
"""Status of a withdrawal that the customer's bank sent back."""
FIRST_SEQ = 1
"""Number of an order's first movement."""


class PositionDiary:
    """Remembers the position rows already sent, so that each date's files carry new and changed rows only."""

    def __init__(self) -> None:
        self._sent: dict[tuple[FileKind, str], Row] = {}
        self._statuses: dict[str, int] = defaultdict(int)
        self._planned: set[str] = set()

    def news(self, state: PlatformState) -> dict[FileKind, list[Row]]:
        """Rows of loans, plans, claims and statuses that are new or other than when they were last sent."""
        loans = [self._new(FileKind.LOANS, loan.loan_no, loan_row(loan)) for loan in state.loans]
        claims = [self._new(FileKind.CLAIMS, claim.claim_no, claim_row(claim)) for loan in state.loans for claim in loan.claims]
        plans: list[Row] = []
        statuses: list[Row] = []
        for loan in state.loans:
            if loan.rows and loan.loan_no not in self._planned:
                self._planned.add(loan.loan_no)
                plans.extend(plan_rows(loan))
            sent = self._statuses[loan.loan_no]
            statuses.extend(status_rows(loan)[sent:])
            self._statuses[loan.loan_no] = len(loan.statuses)
        return {
            FileKind.LOANS: [row for row in loans if row],
            FileKind.PLANS: plans,
            FileKind.CLAIMS: [row for row in claims if row],
            FileKind.STATUS: statuses,
        }

    def _new(self, kind: FileKind, key: str, row: Row) -> Row | None:
        if self._sent.get((kind, key)) == row:
            return None
        self._sent[kind, key] = row
        return row


def loan_row(loan: Loan) -> Row:
    """A loan as the platform reports it; not yet disbursed: nothing disbursed, no date."""
    return {
        "loan_no": loan.loan_no,
        "borrower_customer_no": loan.borrower.customer_no,
        "borrower_account_no": loan.account_no,
        "guarantor_account_no": loan.guarantor_account_no,
        "contract_minor": loan.contract_minor,
        "disbursed_minor": loan.contract_minor if loan.disbursed_on else 0,
        "currency": CURRENCY,
        "annual_rate": f"0.{loan.rate_ppm:06d}",
        "plan_type": loan.plan_type.value,
        "term_months": loan.term_months,
        "raised_from": loan.raised_from.isoformat(),
        "disbursed_on": loan.disbursed_on.isoformat() if loan.disbursed_on else None,
        "purpose_code": loan.purpose_code,
        "grade": loan.grade,
    }


def plan_rows(loan: Loan) -> list[Row]:
    """The first version of a loan's plan."""
    return [
        {
            "loan_no": loan.loan_no,
            "plan_version": 1,
            "issue_no": row.issue_no,
            "due_on": row.due_on.isoformat(),
            "due_principal_minor": row.due[Component.PRINCIPAL],
            "due_interest_minor": row.due[Component.INTEREST],
            "due_fee_minor": 0,
            "currency": CURRENCY,
        }
        for row in loan.rows
    ]


def claim_row(claim: Claim) -> Row:
    """A claim with its outstanding principal at the end of the date (closed: what it had when it closed)."""
    return {
        "claim_no": claim.claim_no,
        "loan_no": claim.loan_no,
        "lender_customer_no": claim.lender.customer_no,
        "lender_account_no": claim.account_no,
        "principal_minor": claim.principal_minor,
        "currency": CURRENCY,
        "origin": claim.origin,
        "parent_claim_no": claim.parent_claim_no,
        "opened_on": claim.opened_on.isoformat(),
        "closed_on": claim.closed_on.isoformat() if claim.closed_on else None,
    }


def status_rows(loan: Loan) -> list[Row]:
    """The whole history of a loan's status, numbered from 1."""
    return [
        {"loan_no": loan.loan_no, "seq": seq, "loan_status": status.value, "changed_at": at.isoformat()}
        for seq, (status, at) in enumerate(loan.statuses, start=1)
    ]


def customer_rows(state: PlatformState) -> list[Row]:
    """All customers of a platform."""
    return [
        {
            "customer_no": customer.customer_no,
            "id_hash": customer.party.id_hash,
            "party_type": customer.party.party_type,
            "name_masked": customer.party.name_masked,
            "phone_masked": customer.party.phone_masked,
            "roles": "|".join(customer.roles),
            "opened_on": customer.opened_on.isoformat(),
        }
        for customer in state.community.customers
    ]


def payment_rows(state: PlatformState) -> list[Row]:
    """The payments of the history, for the onboarding date."""
    return [
        {
            "payment_no": payment.payment_no,
            "loan_no": payment.loan_no,
            "issue_no": payment.issue_no,
            "component": payment.component,
            "payer_role": payment.payer_role.value,
            "amount_minor": payment.amount_minor,
            "currency": CURRENCY,
            "paid_on": payment.paid_on.isoformat(),
        }
        for payment in state.opening_payments
    ]


def order_row(order: Order) -> Row:
    """An order in the platform's own list (book O)."""
    return {
        "request_no": order.request_no,
        "order_type": order.order_type.value,
        "account_no": order.account_no,
        "counter_account_no": order.counter_account_no,
        "amount_minor": order.amount_minor,
        "currency": CURRENCY,
        "order_status": "SUCCESS",
        "created_at": order.at.isoformat(),
        "loan_no": order.loan_no,
    }


def posting_rows(book: Book, order: Order) -> list[Row]:
    """An order's lines in the platform's virtual ledger (book V): those that touch a sub-account."""
    return [
        {
            "request_no": order.request_no,
            "seq": seq,
            "movement_type": movement.movement_type.value,
            "debit_account_no": movement.debit,
            "credit_account_no": movement.credit,
            "amount_minor": movement.amount_minor,
            "currency": CURRENCY,
            "txn_at": order.at.isoformat(),
            "loan_no": movement.loan_no,
            "issue_no": movement.issue_no,
            "component": movement.component.value if movement.component else None,
        }
        for seq, movement in enumerate(order.movements, start=FIRST_SEQ)
        if book.is_sub_account(movement.debit) or book.is_sub_account(movement.credit)
    ]


def batch_no(platform_id: str, day: date) -> str:
    """The payment company's number for the recharges of one date."""
    return f"{PAYMENT_COMPANY}-{platform_id}-{day:%Y%m%d}"


def channel_row(order: Order, day: date) -> Row:
    """A recharge or withdrawal as the payment company saw it; only recharges are settled in batches."""
    return {
        "channel_order_no": f"{PAYMENT_COMPANY}-{order.request_no}",
        "request_no": order.request_no,
        "order_type": order.order_type.value,
        "account_no": order.account_no,
        "amount_minor": order.amount_minor,
        "currency": CURRENCY,
        "txn_at": order.at.isoformat(),
        "channel_status": "SUCCESS",
        "settlement_batch_no": batch_no(order.platform_id, day) if order.order_type is OrderType.RECHARGE else None,
    }


def refused_row(platform_id: str, withdrawal: Withdrawal, at: datetime) -> Row:
    """A withdrawal that the payment company could not pay, listed again on the date on which it found out."""
    return {
        "channel_order_no": f"{PAYMENT_COMPANY}-{withdrawal.request_no}",
        "request_no": withdrawal.request_no,
        "order_type": OrderType.WITHDRAW.value,
        "account_no": withdrawal.account_no,
        "amount_minor": withdrawal.amount_minor,
        "currency": CURRENCY,
        "txn_at": at.isoformat(),
        "channel_status": REFUSED,
        "settlement_batch_no": None,
    }


def settle_channel(feeds: Feeds, platform_id: str) -> None:
    """(Re)compute the payment company's settlement files from its own order lists: one batch a date, the next working day."""
    days = sorted(day for day, kind in feeds if kind is FileKind.CHANNEL)
    for day in days:
        feeds[day, FileKind.SETTLEMENT].rows = []
    for day in days:
        settled_on = next_working_day(day)
        number = batch_no(platform_id, day)
        amounts = [
            int(row["amount_minor"] or 0)
            for row in feeds[day, FileKind.CHANNEL].rows
            if row["settlement_batch_no"] == number and row["channel_status"] == "SUCCESS"
        ]
        fee = channel_fee(sum(amounts), len(amounts))
        if amounts and settled_on <= days[-1]:
            feeds[settled_on, FileKind.SETTLEMENT].rows.append(
                {
                    "settlement_batch_no": number,
                    "settled_on": settled_on.isoformat(),
                    "order_count": len(amounts),
                    "gross_minor": sum(amounts),
                    "fee_minor": fee,
                    "net_minor": sum(amounts) - fee,
                    "currency": CURRENCY,
                }
            )


def statement_rows(state: PlatformState, day: date, orders: list[Order]) -> list[Row]:
    """The bank's statement of the special account: opening, one entry a movement of cash, closing (credit +)."""
    special = state.community.control_account(AccountRole.SPECIAL_ACCOUNT)
    before = state.closes.get(day - timedelta(days=1))
    # book B's special account is the bank's asset, so its balance is minus the cash
    balance = -before.balance[special] if before else 0

    def line(line_type: str, entry_no: int, amount: int, ref: str | None, type_code: str | None, text: str | None) -> Row:
        return {
            "line_type": line_type,
            "entry_no": entry_no,
            "book_date": day.isoformat(),
            "amount_minor": amount,
            "currency": CURRENCY,
            "bank_ref": ref,
            "type_code": type_code,
            "remittance": text,
        }

    rows = [line("OPENING", 0, balance, None, None, None)]
    for order in orders:
        for movement in order.movements:
            if special in (movement.debit, movement.credit):
                amount = movement.amount_minor if movement.debit == special else -movement.amount_minor
                balance += amount
                kind = STATEMENT_TYPES[movement.movement_type]
                rows.append(line("ENTRY", len(rows), amount, order.request_no, kind, f"{kind} {order.request_no}"))
    rows.append(line("CLOSING", len(rows), balance, None, None, None))
    return rows


def sender_of(kind: FileKind, platform_id: str) -> str:
    """Who sends a kind of file about a platform."""
    if kind in (FileKind.CHANNEL, FileKind.SETTLEMENT):
        return PAYMENT_COMPANY
    if kind in ADVISORY_KINDS:
        return BUREAU
    return BANK if kind in (FileKind.STATEMENT, FileKind.GENERAL_LEDGER) else platform_id


class Correspondence:
    """Collects one platform's files while its life goes on: `derive` is called at the end of every business date."""

    def __init__(self, state: PlatformState, parameters: WorldParameters) -> None:
        self.state = state
        self.opening = parameters.opening_date
        self.feeds: Feeds = {}
        self._diary = PositionDiary()
        self._bureau = bureau_rows(parameters, state.community)
        self._orders_seen = 0
        self._refused_seen = 0

    def _newly_refused(self) -> list[tuple[Withdrawal, datetime]]:
        new = self.state.refused[self._refused_seen :]
        self._refused_seen += len(new)
        return [(withdrawal, at) for at, withdrawal in new]

    def derive(self, day: date) -> None:
        """Add the files of a date that has just been closed."""
        state = self.state
        orders = state.book.orders[self._orders_seen :]
        self._orders_seen = len(state.book.orders)
        rows = self._diary.news(state)
        if day == self.opening:
            rows[FileKind.CUSTOMERS] = customer_rows(state)
            rows[FileKind.PAYMENTS] = payment_rows(state)
        rows[FileKind.ORDERS] = [order_row(order) for order in orders if order.order_type not in BY_THE_BANK]
        rows[FileKind.POSTINGS] = [row for order in orders for row in posting_rows(state.book, order)]
        close = state.closes[day]
        rows[FileKind.BALANCES] = [
            {
                "account_no": account,
                "currency": CURRENCY,
                "closing_minor": close.balance[account],
                "held_minor": close.held[account],
            }
            for account in state.book.sub_accounts()
        ]
        rows[FileKind.CHANNEL] = [channel_row(order, day) for order in orders if order.order_type in BY_CHANNEL]
        rows[FileKind.CHANNEL] += [refused_row(state.platform_id, *one) for one in self._newly_refused()]
        rows[FileKind.STATEMENT] = statement_rows(state, day, orders)
        rows[FileKind.GENERAL_LEDGER] = general_ledger_rows(state, day, orders, rows[FileKind.STATEMENT])
        for kind in ADVISORY_KINDS:
            rows[kind] = self._bureau.get((day, kind), [])
        sequence_no = (day - self.opening).days + 1
        for kind in FileKind:
            if kind is not FileKind.PAYMENTS or day == self.opening:
                sender = sender_of(kind, state.platform_id)
                feed = Feed(day, sender, state.platform_id, kind, sequence_no, rows.get(kind, []))
                self.feeds[day, kind] = feed
