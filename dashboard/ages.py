"""Age buckets of open items in working days (spec 07 section 7.4, Ageing)."""

from __future__ import annotations

AGE_BUCKETS: dict[str, tuple[int, int | None]] = {
    "0": (0, 0),
    "1": (1, 1),
    "2-3": (2, 3),
    "4-7": (4, 7),
    "8-30": (8, 30),
    "31-": (31, None),
}


def bucket_of(age_working_days: int) -> str:
    """Name of the bucket an age falls into.

    >>> bucket_of(0), bucket_of(5), bucket_of(99)
    ('0', '4-7', '31-')
    """
    for name, (low, high) in AGE_BUCKETS.items():
        if low <= age_working_days and (high is None or age_working_days <= high):
            return name
    return "0"
