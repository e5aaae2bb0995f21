"""The definition of bad, as data (spec 06 section 6.4).

A loan is judged by the most days its borrower was past due (BD, spec 00 section 0.3) up to 12 months after its disbursement.
Only a loan whose 12 months are over at the training date is judged: bad loans show early and good ones late, so a young loan
that counts as soon as it is bad would make the sample worse than the book.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What became of a loan; only GOOD and BAD are fitted, the others are counted and reported."""

    GOOD = "GOOD"
    BAD = "BAD"
    INDETERMINATE = "INDETERMINATE"
    IMMATURE = "IMMATURE"


@dataclass(frozen=True)
class Definition:
    """Bad: at least `bad_dpd` days past due within `months` after disbursement; 1 day to `bad_dpd` - 1 is indeterminate."""

    bad_dpd: int = 60
    months: int = 12

    def outcome_sql(self, max_dpd: str, matures_on: str, known_on: str) -> str:
        """CASE expression of the outcome from columns or literals; the same text in Spark and DuckDB.

        >>> Definition().outcome_sql("max_dpd", "matures_on", "date'2026-08-31'").startswith("case when matures_on > date")
        True
        """
        return (
            f"case when {matures_on} > {known_on} then '{Outcome.IMMATURE}' when {max_dpd} >= {self.bad_dpd} "
            f"then '{Outcome.BAD}' when {max_dpd} > 0 then '{Outcome.INDETERMINATE}' else '{Outcome.GOOD}' end"
        )

    def to_json(self) -> dict[str, Any]:
        """The definition as it stands in an artefact."""
        return {
            "bad_dpd": self.bad_dpd,
            "months": self.months,
            "days_past_due": "BORROWER",
            "indeterminate_dpd": [1, self.bad_dpd - 1],
            "mature": f"{self.months} months after disbursement lie on or before the training date",
            "source": "spec 06 section 6.4",
        }


DEFINITION = Definition()
