"""One account's movements from the history store (HBase table `mv`), newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from fundwatch.settings import Settings
from hbase_schema.client import HistoryClient

TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class AccountMovement:
    """One movement as its account sees it: `amount_minor` is positive when the account received."""

    effective_at: datetime
    business_date: date
    movement_type: str
    counterparty: str
    amount_minor: int
    ledger_no: int


def _movement(row: dict[str, Any]) -> AccountMovement:
    sign = 1 if row["side"] == "C" else -1
    return AccountMovement(
        row["effective_at"],
        row["business_date"],
        row["movement_type"],
        row["counter_account_no"],
        sign * row["amount_minor"],
        row["ledger_no"],
    )


def of_account(settings: Settings, account_id: int, run_bound: int | None, limit: int) -> list[AccountMovement]:
    """The newest `limit` movements of an account as the runs up to `run_bound` left them.

    Raises ServiceMissing when HBase does not answer in time.
    """
    with HistoryClient.of(settings, TIMEOUT_SECONDS) as client:
        return [_movement(row) for row in client.movements(account_id, limit, run_bound)]
