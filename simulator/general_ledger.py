"""The bank's own general ledger of a platform: a line a kind of account, with core banking's balance of the special account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from domain.vocabulary import AccountRole, FileKind
from simulator.book import Order
from simulator.file_format import Feed, Row
from simulator.parameters import CURRENCY
from simulator.state import PlatformState

SUB_ACCOUNTS, SPECIAL_ACCOUNT = "SUB_ACCOUNTS", "SPECIAL_ACCOUNT"
GL_ACCOUNTS = {SUB_ACCOUNTS: "2241", SPECIAL_ACCOUNT: "2011", "OWN_FUNDS": "2012", "SUSPENSE": "2243"}
"""Number of the bank's account by kind; the platform's is behind it."""


def general_ledger_rows(state: PlatformState, day: date, orders: list[Order], statement: list[Row]) -> list[Row]:
    """The lines of a date, balances credit +: sub-accounts, own funds and suspense by the truth, the special account as its
    statement has it."""
    kinds: dict[str, list[str]] = {
        SUB_ACCOUNTS: list(state.book.sub_accounts()),
        "OWN_FUNDS": [state.community.control_account(AccountRole.OWN_FUNDS)],
        "SUSPENSE": [state.community.control_account(AccountRole.SUSPENSE)],
    }
    before, close = state.closes.get(day - timedelta(days=1)), state.closes[day]
    rows = []
    for kind, accounts in kinds.items():
        inside = frozenset(accounts)
        moves = [movement for order in orders for movement in order.movements]
        opening = sum(before.balance.get(account, 0) for account in inside) if before else 0
        debit = sum(move.amount_minor for move in moves if move.debit in inside)
        credit = sum(move.amount_minor for move in moves if move.credit in inside)
        rows.append(_line(state.platform_id, kind, opening, debit, credit, sum(close.balance[account] for account in inside)))
    special = _line(state.platform_id, SPECIAL_ACCOUNT, 0, 0, 0, 0)
    _follow(special, statement)
    return [*rows, special]


def follow_statements(feeds: Mapping[tuple[date, FileKind], Feed]) -> None:
    """Bring the special account's line of every date in line with the statement as it will be sent."""
    for (day, kind), feed in feeds.items():
        if kind is FileKind.GENERAL_LEDGER:
            _follow(line_of(feed.rows, SPECIAL_ACCOUNT), feeds[day, FileKind.STATEMENT].rows)


def line_of(rows: Iterable[Row], account_kind: str) -> Row:
    """The line of a kind of account."""
    return next(row for row in rows if row["account_kind"] == account_kind)


def _follow(line: Row, statement: list[Row]) -> None:
    amounts = [int(row["amount_minor"] or 0) for row in statement]
    opening, closing = amounts[0], amounts[-1]
    debit = -sum(amount for amount in amounts[1:-1] if amount < 0)
    credit = closing - opening + debit
    # a statement that does not add up is booked as it closes
    line.update(
        opening_minor=opening,
        debit_minor=debit - min(credit, 0),
        credit_minor=max(credit, 0),
        closing_minor=closing,
        core_balance_minor=closing,
    )


def _line(platform_id: str, kind: str, opening: int, debit: int, credit: int, closing: int) -> Row:
    return {
        "gl_account_no": f"{GL_ACCOUNTS[kind]}-{platform_id}",
        "account_kind": kind,
        "currency": CURRENCY,
        "opening_minor": opening,
        "debit_minor": debit,
        "credit_minor": credit,
        "closing_minor": closing,
        "core_balance_minor": None,
    }
