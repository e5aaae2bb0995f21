"""Which files decide whether a platform's date is complete: one rule for publishing, reconciliation and snapshots (spec 07, R9).

A date is complete when every file that is waited for was accepted. Nobody waits for a file that no list names (UNEXPECTED), nor
for a second copy under a name of its own (DUPLICATE): both stand in `file_control` and change nothing else.
"""

from __future__ import annotations

WAITED_FOR = (
    "(coalesce(reason_code, '') <> 'UNEXPECTED' and (coalesce(reason_code, '') <> 'DUPLICATE' "
    "or file_name = platform_id || '.' || file_kind || '.csv.gz'))"
)
"""Condition on a row of `file_control`: it is about a file that somebody waits for. Same text in Spark, DuckDB and PostgreSQL."""


def file_states(source: str) -> str:
    """SELECT over `source` (rows of `file_control`): one row a file waited for, `is_accepted` 1 or 0, and why it is not.

    Columns: business_date, platform_id, sender_id, file_kind, is_accepted, reason (of the rows that are not accepted).
    """
    return f"""
        select business_date, platform_id, sender_id, file_kind,
          max(case when state = 'ACCEPTED' then 1 else 0 end) as is_accepted,
          min(case when state <> 'ACCEPTED' then coalesce(reason, reason_code, state) end) as reason
        from {source} where {WAITED_FOR}
        group by business_date, platform_id, sender_id, file_kind"""


def complete_dates(source: str) -> str:
    """SELECT over `source` (rows of `file_control`): (platform_id, business_date) of which every file waited for was accepted."""
    return f"""
        select platform_id, business_date from ({file_states(source)}) file_state
        group by platform_id, business_date having min(is_accepted) = 1"""
