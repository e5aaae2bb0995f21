"""The overview's tables beside the tiles: open items by code and age, overdue loans by bucket, scores by band, equations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dashboard.ages import bucket_of
from dashboard.filters import BANDS, BUCKET_NAMES
from dashboard.published import NOW, SCOPE, Database, Sources

_ITEMS = f"""
SELECT code, currency, age_working_days, count(*) AS items, sum(amount_minor)::bigint AS amount_minor
FROM {SCOPE} JOIN mart.open_item i USING (run_id, business_date, platform_id)
WHERE currency = %(currency)s GROUP BY code, currency, age_working_days ORDER BY code"""
_BUCKETS = f"""
SELECT lender_bucket AS bucket, sum(loans)::bigint AS count, sum(outstanding_minor)::bigint AS amount_minor,
       sum(overdue_minor)::bigint AS overdue_minor
FROM {SCOPE} JOIN mart.loan_bucket b USING (run_id, business_date, platform_id)
WHERE currency = %(currency)s GROUP BY lender_bucket"""
_BANDS = f"""
SELECT band, sum(people)::bigint AS people, sum(loans)::bigint AS count, sum(outstanding_minor)::bigint AS amount_minor
FROM {SCOPE} JOIN mart.score_band b USING (run_id, business_date, platform_id)
WHERE currency = %(currency)s GROUP BY band"""
_EQUATIONS = f"""
SELECT platform_id, business_date, equation, currency, sum(amount_minor)::bigint AS residual_minor
FROM {SCOPE} JOIN mart.balance_equation e USING (run_id, business_date, platform_id)
WHERE is_residual AND currency = %(currency)s GROUP BY 1, 2, 3, 4 ORDER BY equation, platform_id"""
_WITHOUT_LOANS = f"""
SELECT DISTINCT platform_id FROM {SCOPE} JOIN mart.indicator i USING (run_id, business_date, platform_id)
WHERE i.code = 'CUM_CNT' AND i.numerator > 0 AND NOT EXISTS (
  SELECT FROM mart.loan_bucket b
  WHERE b.run_id = scope.run_id AND b.business_date = scope.business_date AND b.platform_id = scope.platform_id)
ORDER BY platform_id"""

Cells = dict[str, dict[str, tuple[int, int]]]


def matrix(rows: Iterable[Mapping[str, Any]]) -> Cells:
    """Open items of one currency as a table: codes down, age buckets across, with row and column totals under ``*``.

    Cells are ``(items, amount_minor)``.
    """
    codes: Cells = {}
    for row in rows:
        for code in (row["code"], "*"):
            cells = codes.setdefault(code, {})
            for bucket in (bucket_of(row["age_working_days"]), "*"):
                items, amount = cells.get(bucket, (0, 0))
                cells[bucket] = (items + row["items"], amount + row["amount_minor"])
    return dict(sorted(codes.items(), key=lambda entry: (entry[0] == "*", entry[0])))


def items_by_code_and_age(database: Database, found: Sources, currency: str) -> list[dict[str, Any]]:
    """Count and sum of open items: `code, currency, age_working_days, items, amount_minor`."""
    return database.execute(_ITEMS, found.values([NOW]) | {"currency": currency}).fetchall()


def loans_by_bucket(database: Database, found: Sources, currency: str) -> list[dict[str, Any]]:
    """Every bucket of the lender's days past due in order: `bucket, count, amount_minor` (outstanding), `overdue_minor`.

    Empty when no published run holds loans.
    """
    rows = {row["bucket"]: row for row in database.execute(_BUCKETS, found.values([NOW]) | {"currency": currency})}
    empty = {"count": 0, "amount_minor": 0, "overdue_minor": 0}
    return [{"bucket": name} | empty | rows.get(name, {}) for name in BUCKET_NAMES] if rows else []


def loans_by_band(database: Database, found: Sources, currency: str) -> list[dict[str, Any]]:
    """Every score band from the best: `band, people, count` of loans, `amount_minor` (outstanding); empty without scores."""
    rows = {row["band"]: row for row in database.execute(_BANDS, found.values([NOW]) | {"currency": currency})}
    empty = {"people": 0, "count": 0, "amount_minor": 0}
    return [{"band": name} | empty | rows.get(name, {}) for name in BANDS] if rows else []


def equations(database: Database, found: Sources, currency: str) -> list[dict[str, Any]]:
    """Residuals of the balance equations: `platform_id, business_date, equation, currency, residual_minor`."""
    return database.execute(_EQUATIONS, found.values([NOW]) | {"currency": currency}).fetchall()


def without_loans(database: Database, found: Sources) -> list[str]:
    """Platforms whose published run holds figures but no loan rows (it was published before loans were)."""
    return [row["platform_id"] for row in database.execute(_WITHOUT_LOANS, found.values([NOW]))]
