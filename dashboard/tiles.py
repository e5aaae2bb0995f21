"""The eight headline tiles: value, unit, limit, change, numerator and denominator, all from published rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from dashboard.figures import OLD_WORKING_DAYS, PACK_ID
from dashboard.published import MONTH, NOW, SCOPE, WEEK, Database, Sources

MONEY, RATIO, COUNT = "MINOR", "RATIO", "COUNT"
ALWAYS_ZERO = {"custody_gap": Decimal(0), "red_lines": Decimal(0)}
"""Limits that nobody sets: the books agree to the cent, and no red line may be crossed."""
_NEAR = Decimal("0.8")
_SIX = Decimal("0.000001")

_CODES = ("BAL_AMT", "BAL_CNT", "CUR_LENDER", "CUR_BORROWER", "OVD90_AMT", "OVD_RATE_AMT", "TOP10_BORR", "TOP1_BORR")
_INDICATORS = f"""
SELECT moment, platform_id, code, value, numerator, denominator FROM {SCOPE}
JOIN mart.indicator i USING (run_id, business_date, platform_id)
WHERE i.currency = %(currency)s AND i.pack_id = %(pack_id)s AND i.code = ANY(%(codes)s)"""
_BUCKETS = f"""
SELECT moment, platform_id, sum(outstanding_minor)::bigint AS outstanding_minor,
       coalesce(sum(outstanding_minor) FILTER (WHERE lender_bucket NOT IN ('M0', 'M1')), 0)::bigint AS over_30_minor,
       coalesce(sum(findings), 0)::bigint AS findings
FROM {SCOPE} JOIN mart.loan_bucket b USING (run_id, business_date, platform_id)
WHERE b.currency = %(currency)s GROUP BY moment, platform_id"""
_GAPS = f"""
SELECT moment, platform_id, count(*) AS equations, sum(abs(residual_minor))::bigint AS gap_minor FROM (
  SELECT moment, platform_id, equation, sum(amount_minor) AS residual_minor FROM {SCOPE}
  JOIN mart.balance_equation e USING (run_id, business_date, platform_id)
  WHERE e.is_residual AND e.currency = %(currency)s GROUP BY 1, 2, 3) residual
GROUP BY moment, platform_id"""
_ITEMS = f"""
SELECT moment, platform_id, count(*) FILTER (WHERE age_working_days > %(old)s) AS old,
       coalesce(sum(amount_minor) FILTER (WHERE age_working_days > %(old)s), 0)::bigint AS old_minor,
       count(*) FILTER (WHERE severity = 'CRITICAL') AS critical
FROM {SCOPE} JOIN mart.open_item i USING (run_id, business_date, platform_id)
WHERE i.currency = %(currency)s GROUP BY moment, platform_id"""


@dataclass(frozen=True)
class Fact:
    """A smaller number on a tile: text key, value, unit, and the report's figure it is."""

    name: str
    value: int | Decimal | None
    unit: str
    indicator: str = ""


@dataclass(frozen=True)
class Tile:
    """One headline figure. Money in minor units; a ratio's 1 is 100 %; `week` and `month` are changes, None without a date.

    `missing` names platforms whose published run lacks the rows: the value is then None (red lines: what is known). `only` is
    set when the figure is of one platform alone although all are shown. `limit` None means that nobody set one.
    """

    code: str
    unit: str
    value: int | Decimal | None
    numerator: int | None = None
    denominator: int | None = None
    indicators: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    limit: Decimal | None = None
    week: int | Decimal | None = None
    month: int | Decimal | None = None
    dates: tuple[date, ...] = ()
    missing: tuple[str, ...] = ()
    only: str = ""

    @property
    def state(self) -> str:
        """missing, none (no limit set), over, near (above 80 % of the limit) or within."""
        if self.value is None:
            return "missing"
        if self.limit is None:
            return "none"
        if self.value > self.limit:
            return "over"
        return "near" if self.limit > 0 and self.value > self.limit * _NEAR else "within"


@dataclass
class _Moment:
    """What the tiles need of one moment, by platform."""

    figures: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    buckets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    gaps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    items: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()

    def without(self, code: str) -> tuple[str, ...]:
        """Platforms that lack an indicator."""
        return tuple(platform for platform in self.platforms if (platform, code) not in self.figures)

    def total(self, code: str, column: str = "numerator") -> int:
        """Sum of an indicator's column over the platforms."""
        rows = (self.figures.get((platform, code)) for platform in self.platforms)
        return sum(int(row[column] or 0) for row in rows if row is not None)


def tiles(database: Database, found: Sources, currency: str, limits: Mapping[str, Decimal]) -> list[Tile]:
    """The headline tiles over the platforms of `found`, in the order in which a risk officer reads them."""
    moments = _moments(database, found, currency)
    now = moments[NOW]
    # a platform counts here when it has figures in this currency
    now.platforms = tuple(p for p in found.platforms if (p, "BAL_AMT") in now.figures) or found.platforms
    dates = tuple(sorted({source.business_date for source in found.now if source.platform_id in now.platforms}))
    made = []
    for make in (_custody_gap, _outstanding, _par30, _par90, _overdue_rate, _concentration, _old_breaks, _red_lines):
        tile = make(now)
        changes = {}
        for moment in (WEEK, MONTH):
            then = moments[moment]
            then.platforms = (tile.only,) if tile.only else now.platforms
            changes[moment] = _change(tile, make(then)) if set(then.platforms) <= found.at(moment) else None
        limit = ALWAYS_ZERO.get(tile.code, limits.get(tile.code))
        made.append(replace(tile, limit=limit, week=changes[WEEK], month=changes[MONTH], dates=dates))
    return made


def _moments(database: Database, found: Sources, currency: str) -> dict[str, _Moment]:
    moments = {moment: _Moment() for moment in (NOW, WEEK, MONTH)}
    values = found.values() | {"currency": currency, "pack_id": PACK_ID, "codes": list(_CODES), "old": OLD_WORKING_DAYS}
    for row in database.execute(_INDICATORS, values):
        moments[row["moment"]].figures[row["platform_id"], row["code"]] = row
    for query, name in ((_BUCKETS, "buckets"), (_GAPS, "gaps"), (_ITEMS, "items")):
        for row in database.execute(query, values):
            getattr(moments[row["moment"]], name)[row["platform_id"]] = row
    return moments


def _custody_gap(at: _Moment) -> Tile:
    missing = tuple(platform for platform in at.platforms if platform not in at.gaps)
    gap = sum(at.gaps[platform]["gap_minor"] for platform in at.platforms if platform in at.gaps)
    equations = sum(at.gaps[platform]["equations"] for platform in at.platforms if platform in at.gaps)
    return Tile(
        "custody_gap", MONEY, None if missing else gap, gap, facts=(Fact("equations_held", equations, COUNT),), missing=missing
    )


def _outstanding(at: _Moment) -> Tile:
    value, missing = at.total("BAL_AMT"), at.without("BAL_AMT")
    facts = tuple(
        Fact(name, at.total(code), COUNT, code)
        for name, code in (("loans", "BAL_CNT"), ("lenders", "CUR_LENDER"), ("borrowers", "CUR_BORROWER"))
    )
    return Tile("outstanding", MONEY, None if missing else value, value, indicators=("BAL_AMT",), facts=facts, missing=missing)


def _par30(at: _Moment) -> Tile:
    missing = tuple(platform for platform in at.platforms if platform not in at.buckets)
    above = sum(at.buckets[platform]["over_30_minor"] for platform in at.platforms if platform in at.buckets)
    below = sum(at.buckets[platform]["outstanding_minor"] for platform in at.platforms if platform in at.buckets)
    return Tile("par30", RATIO, None if missing else share(above, below), above, below, missing=missing)


def _par90(at: _Moment) -> Tile:
    above, below, missing = at.total("OVD90_AMT"), at.total("BAL_AMT"), at.without("OVD90_AMT")
    value = None if missing else share(above, below)
    return Tile("par90", RATIO, value, above, below, indicators=("OVD90_AMT", "BAL_AMT"), missing=missing)


def _overdue_rate(at: _Moment) -> Tile:
    above, below, missing = at.total("OVD_RATE_AMT"), at.total("OVD_RATE_AMT", "denominator"), at.without("OVD_RATE_AMT")
    value = None if missing else share(above, below)
    return Tile("overdue_rate", RATIO, value, above, below, indicators=("OVD_RATE_AMT",), missing=missing)


def _concentration(at: _Moment) -> Tile:
    """The platform whose ten largest borrowers hold the largest share: shares of different platforms are never added."""
    known = [platform for platform in at.platforms if (platform, "TOP10_BORR") in at.figures]
    if not known:
        return Tile("top10", RATIO, None, indicators=("TOP10_BORR",))
    worst = max(known, key=lambda platform: (at.figures[platform, "TOP10_BORR"]["value"] or Decimal(0), platform))
    ten, one = at.figures[worst, "TOP10_BORR"], at.figures[worst, "TOP1_BORR"]
    facts = (Fact("largest_borrower", one["value"], RATIO, "TOP1_BORR"),)
    only = worst if len(at.platforms) > 1 else ""
    return Tile("top10", RATIO, ten["value"], ten["numerator"], ten["denominator"], ("TOP10_BORR",), facts, only=only)


def _old_breaks(at: _Moment) -> Tile:
    rows = [at.items[platform] for platform in at.platforms if platform in at.items]
    amount = sum(row["old_minor"] for row in rows)
    return Tile("old_breaks", COUNT, sum(row["old"] for row in rows), amount, facts=(Fact("amount", amount, MONEY),))


def _red_lines(at: _Moment) -> Tile:
    """What is found counts even when a platform's rows are missing: a red line is never hidden by what is not known."""
    missing = tuple(platform for platform in at.platforms if platform not in at.buckets)
    findings = sum(at.buckets[platform]["findings"] for platform in at.platforms if platform in at.buckets)
    critical = sum(at.items[platform]["critical"] for platform in at.platforms if platform in at.items)
    facts = (Fact("findings", findings, COUNT), Fact("critical_items", critical, COUNT))
    found = findings + critical
    return Tile("red_lines", COUNT, None if missing and not found else found, facts=facts, missing=missing)


def share(numerator: int, denominator: int) -> Decimal | None:
    """A ratio to six digits, halves up, as the night rounds it; None without a denominator.

    >>> share(1, 3), share(0, 5), share(1, 0)
    (Decimal('0.333333'), Decimal('0.000000'), None)
    """
    if denominator == 0:
        return None
    return (Decimal(numerator) / Decimal(denominator)).quantize(_SIX, ROUND_HALF_UP)


def _change(now: Tile, then: Tile) -> int | Decimal | None:
    # a part that one of the two lacks would look like a change
    if now.value is None or then.value is None or now.missing or then.missing:
        return None
    return now.value - then.value
