"""Which files decide whether a platform's date is complete: one rule for publishing, reconciliation and snapshots (spec 07, R9).

A date is complete when every file that is waited for was accepted or waived. Waived: operators decided to go on without it, and
its records count as absent; once the file is accepted the waiver means nothing. Nobody waits for a file that no list names
(UNEXPECTED), nor for a second copy under a name of its own (DUPLICATE), nor for one that only informs, whatever became of it
(`ADVISORY_KINDS`: the bureau's): they stand in `file_control` and change nothing else.
"""

from __future__ import annotations

from domain.vocabulary import ADVISORY_KINDS

_ADVISORY = ", ".join(f"'{kind}'" for kind in ADVISORY_KINDS)

WAITED_FOR = (
    f"(file_kind not in ({_ADVISORY}) and coalesce(reason_code, '') <> 'UNEXPECTED' "
    "and (coalesce(reason_code, '') <> 'DUPLICATE' or file_name = platform_id || '.' || file_kind || '.csv.gz'))"
)
"""Condition on a row of `file_control`: it is about a file that somebody waits for. Same text in Spark, DuckDB and PostgreSQL."""

IS_SETTLED = "state in ('ACCEPTED', 'WAIVED')"
"""Condition on a row of `file_control`: nobody waits for this file any longer."""


def file_states(source: str) -> str:
    """SELECT over `source` (rows of `file_control`): one row a file waited for, `is_accepted` 1 or 0, and why it is not.

    Columns: business_date, platform_id, sender_id, file_kind, is_accepted (or waived), reason (of the rows that are neither).
    """
    return f"""
        select business_date, platform_id, sender_id, file_kind,
          max(case when {IS_SETTLED} then 1 else 0 end) as is_accepted,
          min(case when not {IS_SETTLED} then coalesce(reason, reason_code, state) end) as reason
        from {source} where {WAITED_FOR}
        group by business_date, platform_id, sender_id, file_kind"""


def complete_dates(source: str) -> str:
    """SELECT over `source` (rows of `file_control`): the (platform_id, business_date) that are complete."""
    return f"""
        select platform_id, business_date from ({file_states(source)}) file_state
        group by platform_id, business_date having min(is_accepted) = 1"""
