"""The bureau's files: what became known of a platform's borrowers on each business date (contracts section 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date

from domain.vocabulary import AccountRole, FileKind
from simulator.bank_day import business_date_of
from simulator.file_format import Row
from simulator.industry import Known, industry_records
from simulator.parameters import WorldParameters
from simulator.people import Community, Party
from simulator.reputation import reputation_hits

_SOURCES: dict[FileKind, tuple[Callable[[WorldParameters, Party], list[Known]], str]] = {
    FileKind.INDUSTRY: (industry_records, "record_no"),
    FileKind.REPUTATION: (reputation_hits, "hit_no"),
}


def bureau_rows(parameters: WorldParameters, community: Community) -> dict[tuple[date, FileKind], list[Row]]:
    """Rows of the bureau's files about a platform's borrowers, by business date and kind, in the order of becoming known.

    The file of the opening date carries everything known until then; what becomes known after the world's end is in no file.
    """
    found: dict[tuple[date, FileKind], list[Known]] = defaultdict(list)
    for kind, (records_of, _) in _SOURCES.items():
        for borrower in community.with_role(AccountRole.BORROWERS):
            for at, row in records_of(parameters, borrower.party):
                day = max(business_date_of(at), parameters.opening_date)
                if day <= parameters.end:
                    found[day, kind].append((at, row))
    return {
        (day, kind): [row for _, row in sorted(known, key=lambda one: (one[0], str(one[1][_SOURCES[kind][1]])))]
        for (day, kind), known in found.items()
    }
