"""Buckets of days past due (spec 05 section 5.2): M0 current, M1 1–30 days … M6 151–180, M6+ above."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import BadInput


@dataclass(frozen=True)
class Bucket:
    """One bucket: its name, its last day (None: no end) and the code of the 24-month repayment history."""

    name: str
    last_day: int | None
    history_code: str


BUCKETS = (
    Bucket("M0", 0, "N"),
    Bucket("M1", 30, "1"),
    Bucket("M2", 60, "2"),
    Bucket("M3", 90, "3"),
    Bucket("M4", 120, "4"),
    Bucket("M5", 150, "5"),
    Bucket("M6", 180, "6"),
    Bucket("M6+", None, "7"),
)


def bucket_of(days_past_due: int) -> Bucket:
    """The bucket of a number of days past due; BadInput when it is negative.

    >>> bucket_of(0).name, bucket_of(30).name, bucket_of(31).name, bucket_of(181).name
    ('M0', 'M1', 'M2', 'M6+')
    """
    if days_past_due < 0:
        raise BadInput(f"days past due cannot be {days_past_due}")
    return next(bucket for bucket in BUCKETS if bucket.last_day is None or days_past_due <= bucket.last_day)
