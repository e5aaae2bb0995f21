"""Severity that rises with age (spec 07 section 7.4), as SQL for DuckDB and Spark; `work.escalated` is the same in PostgreSQL."""

from __future__ import annotations

from domain.vocabulary import ESCALATION_WORKING_DAYS, Severity

RISING = tuple(Severity)[1:]
"""The severities that rise, from the least; INFO only informs and stays."""


def escalated(severity: str, age_working_days: str) -> str:
    """SQL of a severity one step higher at each of the escalation's ages; a null age raises nothing.

    >>> escalated("s", "a").startswith("case when s = 'INFO' then s else case least(4, case s when 'LOW' then 1 ")
    True
    """
    places = " ".join(f"when '{word}' then {place}" for place, word in enumerate(RISING, start=1))
    steps = " + ".join(f"case when {age_working_days} >= {days} then 1 else 0 end" for days in ESCALATION_WORKING_DAYS)
    words = " ".join(f"when {place} then '{word}'" for place, word in enumerate(RISING, start=1))
    raised = f"least({len(RISING)}, case {severity} {places} end + {steps})"
    return f"case when {severity} = '{Severity.INFO}' then {severity} else case {raised} {words} end end"
