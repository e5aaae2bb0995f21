"""The terms by which payment companies charge for settlements, as the night reads them (spec 08 section 8.2, break B15)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from domain.channel_fees import FeeTerm, priced
from fundwatch.settings import Settings
from lake.postgres import connection
from lake.steps import Run

FOR_EVER = date(9999, 12, 31)
_KNOWN = """select platform_id, paycom_id, valid_from, version, fee_terms from night.channel_fee
 where (%(known)s::timestamptz is null or recorded_at <= %(known)s) and (%(only)s::text is null or platform_id = %(only)s)
 order by platform_id, paycom_id, version"""


def of_run(settings: Settings, run: Run) -> tuple[FeeTerm, ...]:
    """Terms of every platform's payment companies as a run may know them; BadInput when a rate is not a number."""
    with connection(settings) as database:
        rows = database.execute(_KNOWN, {"known": run.known_as_of, "only": run.platform_id}).fetchall()
    by_pair: dict[tuple[str, str], list[tuple[date, Any]]] = {}
    for platform_id, paycom_id, valid_from, _, fee_terms in rows:
        by_pair.setdefault((platform_id, paycom_id), []).append((valid_from, fee_terms))
    return tuple(term for (platform, company), versions in by_pair.items() for term in in_force(platform, company, versions))


def in_force(platform_id: str, paycom_id: str, versions: Sequence[tuple[date, Any]]) -> list[FeeTerm]:
    """Terms one after another: on a date those of the highest version that counts by then; `versions` in their order.

    Terms that a batch cannot be priced by leave their dates without a schedule.
    """
    starts = sorted({valid_from for valid_from, _ in versions})
    found = []
    for start, following in pairwise([*starts, FOR_EVER]):
        terms = [terms for valid_from, terms in versions if valid_from <= start][-1]
        prices = priced(terms)
        if prices is not None:
            last = following if following == FOR_EVER else following - timedelta(days=1)
            found.append(FeeTerm(platform_id, paycom_id, start, last, *prices))
    return found
