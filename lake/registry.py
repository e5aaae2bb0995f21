"""Who sends files: platforms since when, and their payment companies, as PostgreSQL has them (contracts section 6)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import psycopg

_PLATFORMS = """
select platform_id, min(onboarded_on) from night.platform
 where (%(known)s::timestamptz is null or recorded_at <= %(known)s) and (%(only)s::text is null or platform_id = %(only)s)
 group by platform_id order by platform_id"""
_PAYMENT_COMPANIES = "select platform_id, paycom_id from night.payment_company order by platform_id, paycom_id"


def platforms(database: psycopg.Connection[Any], known_as_of: datetime | None = None, only: str | None = None) -> dict[str, date]:
    """Onboarding date by platform, of those recorded by `known_as_of`, of one platform where it is given."""
    return dict(database.execute(_PLATFORMS, {"known": known_as_of, "only": only}).fetchall())


def payment_companies(database: psycopg.Connection[Any]) -> dict[str, tuple[str, ...]]:
    """Payment companies by platform."""
    found: dict[str, tuple[str, ...]] = {}
    for platform_id, paycom_id in database.execute(_PAYMENT_COMPANIES):
        found[platform_id] = (*found.get(platform_id, ()), paycom_id)
    return found
