"""Timelines from the history store, newest first: an account's movements (table `mv`), a loan by day (table `loan_snap`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from domain.errors import BadInput
from domain.ids import entity_id
from fundwatch.settings import Settings
from hbase_schema.client import HistoryClient

TIMEOUT_SECONDS = 2.0
PAGE_ROWS = 100
EXPORT_ROWS = 1000


@dataclass(frozen=True)
class AccountMovement:
    """One movement as its account sees it: `amount_minor` is positive when the account received. `key` continues a timeline."""

    key: str
    effective_at: datetime
    business_date: date
    movement_type: str
    counterparty: str
    amount_minor: int
    ledger_no: int
    loan_no: str


def of_account(settings: Settings, account_id: int, run_bound: int | None, after: str = "") -> tuple[list[AccountMovement], str]:
    """A page of an account's movements as the runs up to `run_bound` left them, and the cursor of the next page ("" at the end).

    BadInput for a cursor of another account, ServiceMissing when HBase does not answer in time.
    """
    with HistoryClient.of(settings, TIMEOUT_SECONDS) as client:
        return _page(_movements(client, account_id, PAGE_ROWS + 1, run_bound, after))


def all_of_account(settings: Settings, account_id: int, run_bound: int | None) -> Iterator[AccountMovement]:
    """Every movement of an account, newest first."""
    after = ""
    with HistoryClient.of(settings, TIMEOUT_SECONDS) as client:
        while rows := _movements(client, account_id, EXPORT_ROWS, run_bound, after):
            yield from rows
            after = rows[-1].key


def of_loan(
    settings: Settings, platform_id: str, loan_no: str, run_bound: int | None, before: date | None = None, limit: int = PAGE_ROWS
) -> tuple[list[dict[str, Any]], date | None]:
    """A page of a loan's days, newest first, and the date before which the next page begins (None at the end).

    ServiceMissing when HBase does not answer in time.
    """
    with HistoryClient.of(settings, TIMEOUT_SECONDS) as client:
        found = client.loan_days(entity_id(platform_id, loan_no), limit + 1, run_bound, before)
    # the key is a hash of both: a row of another loan would be a collision
    rows = [row for row in found if (row["platform_id"], row["loan_no"]) == (platform_id, loan_no)]
    return rows[:limit], rows[limit - 1]["business_date"] if len(rows) > limit else None


def all_of_loan(settings: Settings, platform_id: str, loan_no: str, run_bound: int | None) -> Iterator[dict[str, Any]]:
    """Every day of a loan, newest first."""
    before: date | None = None
    while True:
        rows, before = of_loan(settings, platform_id, loan_no, run_bound, before, EXPORT_ROWS)
        yield from rows
        if before is None:
            return


def _page(rows: list[AccountMovement]) -> tuple[list[AccountMovement], str]:
    return rows[:PAGE_ROWS], rows[PAGE_ROWS - 1].key if len(rows) > PAGE_ROWS else ""


def _movements(client: HistoryClient, account_id: int, limit: int, run_bound: int | None, after: str) -> list[AccountMovement]:
    try:
        start = bytes.fromhex(after) if after else None
    except ValueError:
        raise BadInput(f"{after!r} is not a cursor of ours") from None
    return [_movement(row) for row in client.movements(account_id, limit, run_bound, start)]


def _movement(row: dict[str, Any]) -> AccountMovement:
    sign = 1 if row["side"] == "C" else -1
    return AccountMovement(
        row["key"].hex(),
        row["effective_at"],
        row["business_date"],
        row["movement_type"],
        row["counter_account_no"],
        sign * row["amount_minor"],
        row["ledger_no"],
        row["loan_no"] or "",
    )
