"""Distributions that a report draws, from its evidence rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from domain.buckets import BUCKETS


def overdue_by_bucket(loans: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Number and outstanding principal (minor units) of overdue loans by currency and lender-side bucket M1 … M6+.

    Every bucket has a row in every currency that has loans.
    """
    late = [bucket.name for bucket in BUCKETS if bucket.name != "M0"]
    counted: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    currencies = set()
    for loan in loans:
        currencies.add(loan["currency"])
        cell = counted[loan["currency"], loan["lender_bucket"]]
        cell[0] += 1
        cell[1] += int(loan["outstanding_principal_minor"])
    return [
        {"currency": currency, "bucket": name, "count": counted[currency, name][0], "amount_minor": counted[currency, name][1]}
        for currency in sorted(currencies)
        for name in late
    ]
