"""Where faults may be planted: which dates are free, which accounts are untouched, which records lie in quiet hours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random

from domain.vocabulary import FileKind
from simulator.bank_day import CUTOFF_WINDOW, closes_at, opens_at
from simulator.file_format import Row
from simulator.files import Feeds

DAY = timedelta(days=1)
QUIET_MARGIN = CUTOFF_WINDOW + timedelta(hours=1)
"""A one-sided record nearer to a cut-off than its window could be a timing item; other faults keep away from there."""
NIGHTS_PER_BROKEN_FILE = 5


def amount_of(row: Row, column: str = "amount_minor") -> int:
    """An amount of a row, minor units."""
    return int(row[column] or 0)


@dataclass
class Places:
    """One platform's files with a record of what faults have taken: accounts once each, broken-file dates alone."""

    rng: Random
    feeds: Feeds
    sub_accounts: frozenset[str]
    nights: list[date]
    used_accounts: set[str] = field(default_factory=set)
    used_requests: set[str] = field(default_factory=set)
    broken_dates: set[date] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._balances: dict[date, dict[str, Row]] = {
            day: {str(row["account_no"]): row for row in feed.rows}
            for (day, kind), feed in self.feeds.items()
            if kind is FileKind.BALANCES
        }

    def balance_row(self, day: date, account: str) -> Row:
        """The row of an account in a date's balances file."""
        return self._balances[day][account]

    def rows(self, day: date, kind: FileKind) -> list[Row]:
        """Rows of a file, to be changed in place."""
        return self.feeds[day, kind].rows

    def break_dates(self, wanted: int) -> list[date]:
        """Dates for broken files: apart from each other by three nights, and not the last, whose figures people look at first."""
        count = min(wanted, max(1, len(self.nights) // NIGHTS_PER_BROKEN_FILE)) if len(self.nights) >= 3 else 0
        candidates = self.nights[:-1]
        self.rng.shuffle(candidates)
        for day in candidates:
            apart = all(abs((day - other).days) > 3 for other in self.broken_dates)
            if len(self.broken_dates) < count and apart:
                self.broken_dates.add(day)
        return sorted(self.broken_dates)

    def quiet_nights(self) -> list[date]:
        """Nights without a broken file, shuffled."""
        days = [day for day in self.nights if day not in self.broken_dates]
        self.rng.shuffle(days)
        return days

    def pair_nights(self) -> list[date]:
        """Nights D, shuffled, whose fault is cured on D+1: D+1 exists, and D−1, D, D+1, D+2 have no broken file."""
        around = (-DAY, 0 * DAY, DAY, 2 * DAY)
        days = [
            day
            for day in self.nights
            if day + DAY <= self.nights[-1] and not any(day + step in self.broken_dates for step in around)
        ]
        self.rng.shuffle(days)
        return days

    def accounts_of(self, posting: Row) -> list[str]:
        """The sub-accounts of a posting."""
        pair = (str(posting["debit_account_no"]), str(posting["credit_account_no"]))
        return [account for account in pair if account in self.sub_accounts]

    def is_free(self, request_no: str, accounts: list[str]) -> bool:
        """Whether no fault has used the request or one of the accounts."""
        return request_no not in self.used_requests and not self.used_accounts.intersection(accounts)

    def take(self, request_no: str, accounts: list[str]) -> None:
        """Mark a request and accounts as used by a fault."""
        self.used_requests.add(request_no)
        self.used_accounts.update(accounts)

    def in_quiet_hours(self, day: date, moment: str) -> bool:
        """Whether a time lies far from both cut-offs of a business date."""
        at = datetime.fromisoformat(moment)
        return opens_at(day) + QUIET_MARGIN <= at <= closes_at(day) - QUIET_MARGIN

    def free_postings(self, day: date) -> list[Row]:
        """Postings of a date in quiet hours whose accounts are free, shuffled."""
        rows = [
            row
            for row in self.rows(day, FileKind.POSTINGS)
            if self.in_quiet_hours(day, str(row["txn_at"])) and self.is_free(str(row["request_no"]), self.accounts_of(row))
        ]
        self.rng.shuffle(rows)
        return rows

    def shift(self, first: date, last: date, posting: Row, amount_minor: int) -> bool:
        """Move book V's balances of a posting's sub-accounts as if it had moved so much more; False when one would fall
        below zero (then nothing is changed)."""
        signed = ((str(posting["debit_account_no"]), -amount_minor), (str(posting["credit_account_no"]), amount_minor))
        moves = [(account, amount) for account, amount in signed if account in self.sub_accounts]
        days = [first + step * DAY for step in range((last - first).days + 1)]
        rows = [(self.balance_row(day, account), amount) for day in days for account, amount in moves]
        if any(amount_of(row, "closing_minor") + amount < amount_of(row, "held_minor") for row, amount in rows):
            return False
        for row, amount in rows:
            row["closing_minor"] = amount_of(row, "closing_minor") + amount
        return True
