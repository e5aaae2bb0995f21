"""What two runs say differently of the same dates, such as one date as it was known then and as it is known now: open items and
balance equations (architecture section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lake import reader
from lake.runs import Run

if TYPE_CHECKING:
    from fundwatch.settings import Settings

COLUMNS = (
    *("change", "business_date", "platform_id", "recon_id", "match_key", "item_id", "code_before", "code_after", "currency"),
    *("amount_before_minor", "amount_after_minor", "explanation_before", "explanation_after"),
)
_ITEMS = """
select case when b.item_id is null then 'ADDED' when a.item_id is null then 'GONE' else 'CHANGED' end as change,
  coalesce(b.business_date, a.business_date) as business_date, coalesce(b.platform_id, a.platform_id) as platform_id,
  coalesce(b.recon_id, a.recon_id) as recon_id, coalesce(b.match_key, a.match_key) as match_key,
  coalesce(b.item_id, a.item_id) as item_id, b.code as code_before, a.code as code_after,
  coalesce(b.currency, a.currency) as currency, b.amount_minor as amount_before_minor, a.amount_minor as amount_after_minor,
  b.explanation as explanation_before, a.explanation as explanation_after
from before_item b full join after_item a on a.item_id = b.item_id and a.business_date = b.business_date
where b.item_id is null or a.item_id is null
  or (b.code, b.amount_minor, b.evidence) is distinct from (a.code, a.amount_minor, a.evidence)
order by business_date, platform_id, recon_id, match_key, item_id"""
_EQUATIONS = """
select 'EQUATION' as change, coalesce(b.business_date, a.business_date) as business_date,
  coalesce(b.platform_id, a.platform_id) as platform_id, coalesce(b.equation, a.equation) as recon_id,
  coalesce(b.term, a.term) as match_key, null as item_id, null as code_before, null as code_after,
  coalesce(b.currency, a.currency) as currency, b.amount_minor as amount_before_minor, a.amount_minor as amount_after_minor,
  null as explanation_before, null as explanation_after
from before_term b full join after_term a on (a.business_date, a.platform_id, a.equation, a.currency, a.term)
  = (b.business_date, b.platform_id, b.equation, b.currency, b.term)
where b.amount_minor is distinct from a.amount_minor
order by business_date, platform_id, recon_id, match_key"""


@dataclass(frozen=True)
class Difference:
    """Rows (columns COLUMNS) and how many there are by kind of change and code."""

    rows: list[tuple[Any, ...]]
    counts: dict[str, int]


def differences(settings: Settings, before: Run, after: Run) -> Difference:
    """Compare two runs on the dates that both have; other words for equal code, amount and evidence are no change."""
    import duckdb

    first, last = max(before.first_date, after.first_date), min(before.last_date, after.last_date)
    with duckdb.connect() as connection:
        for word, run in (("before", before), ("after", after)):
            for name, table in (("item", "open_item"), ("term", "balance_equation")):
                connection.register("batches", reader.rows(settings, table, run.run_id))
                connection.execute(
                    f"create table {word}_{name} as select * from batches where business_date between ? and ?", [first, last]
                )
                connection.unregister("batches")
        rows = [*connection.execute(_ITEMS).fetchall(), *connection.execute(_EQUATIONS).fetchall()]
    counts: dict[str, int] = {}
    for row in rows:
        name = f"{row[0]} {row[7] or row[6] or row[3]}"
        counts[name] = counts.get(name, 0) + 1
    return Difference(rows, dict(sorted(counts.items())))
