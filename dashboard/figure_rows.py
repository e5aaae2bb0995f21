"""The rows behind a figure: count and sum of all of them, and one page at a time by a cursor, never cut silently."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from dashboard.ages import AGE_BUCKETS
from dashboard.figures import Figure
from dashboard.filters import Filters
from dashboard.published import NOW, Database, Sources
from domain.errors import BadInput

PAGE_ROWS = 100

_NAMES = """LEFT JOIN mart.customer_name person
  ON person.platform_id = page.platform_id AND person.customer_no = page.borrower_customer_no"""


@dataclass(frozen=True)
class Rows:
    """One page of a figure's rows; `count` and `sum_minor` are of all of them, `after` is the cursor of the next page."""

    rows: list[dict[str, Any]]
    count: int
    sum_minor: int
    sort: str
    after: str


def rows(database: Database, figure: Figure, found: Sources, filters: Filters, currency: str) -> Rows:
    """The page of rows that `filters` ask for. BadInput: a sort or cursor that the figure does not have."""
    relation, values = narrowed(figure, found, filters, currency)
    total = database.execute(
        f"SELECT count(*) AS count, coalesce(sum(amount_minor), 0)::bigint AS sum_minor FROM ({relation}) r", values
    ).fetchone()
    assert total is not None
    sort = filters.sort or next(iter(figure.sorts))
    if sort not in figure.sorts:
        raise BadInput(f"{figure.code} is not sorted by {sort!r}")
    values |= _after(filters.after) | {"limit": PAGE_ROWS + 1}
    page = database.execute(_page(figure, relation, sort, bool(filters.after)), values).fetchall()
    shown = page[:PAGE_ROWS]
    cursor = _cursor(shown[-1]) if len(page) > PAGE_ROWS else ""
    return Rows(shown, total["count"], total["sum_minor"], sort, cursor)


def narrowed(figure: Figure, found: Sources, filters: Filters, currency: str) -> tuple[str, dict[str, Any]]:
    """SQL of the figure's rows under the filters, and its parameters."""
    low, high = AGE_BUCKETS.get(filters.age, (0, None))
    conditions = {
        "bucket": "lender_bucket = %(bucket)s",
        "code": "code = %(code)s",
        "age": "age_working_days >= %(low)s AND (%(high)s::int IS NULL OR age_working_days <= %(high)s)",
        "band": """EXISTS (
            SELECT FROM mart.score WHERE score.run_id = every.run_id AND score.platform_id = every.platform_id
                    AND score.business_date = every.business_date AND score.borrower_ref = every.borrower_ref
                    AND score.band = %(band)s)""",
    }
    chosen = [conditions[name] for name in figure.filters if getattr(filters, name)]
    relation = f"SELECT every.* FROM ({figure.relation}) every" + (f" WHERE {' AND '.join(chosen)}" if chosen else "")
    values = found.values([NOW]) | {"currency": currency, "low": low, "high": high}
    return relation, values | {name: getattr(filters, name) for name in ("bucket", "code", "band")}


def _page(figure: Figure, relation: str, sort: str, is_later: bool) -> str:
    behind = "WHERE (sort_value, platform_id, key) > (%(after_value)s, %(after_platform)s, %(after_key)s)" if is_later else ""
    named = _NAMES if figure.kind == "loan" else ""
    name = ", person.name_masked" if figure.kind == "loan" else ""
    return f"""
        SELECT page.*{name} FROM (
          SELECT * FROM (SELECT r.*, ({figure.sorts[sort]})::bigint AS sort_value FROM ({relation}) r) sorted {behind}
          ORDER BY sort_value, platform_id, key LIMIT %(limit)s) page {named}
        ORDER BY page.sort_value, page.platform_id, page.key"""


def _cursor(row: dict[str, Any]) -> str:
    text = json.dumps([row["sort_value"], row["platform_id"], row["key"]], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _after(cursor: str) -> dict[str, Any]:
    """Where the page begins, from a cursor that `_cursor` made; anything else is BadInput."""
    if not cursor:
        return {}
    try:
        value, platform, key = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        raise BadInput("this is not a cursor of ours") from None
    if type(value) is not int or abs(value) >= 2**63 or not isinstance(platform, str) or not isinstance(key, str):
        raise BadInput("this is not a cursor of ours")
    if "\0" in platform + key:
        raise BadInput("this is not a cursor of ours")
    return {"after_value": value, "after_platform": platform, "after_key": key}
