"""Dates and times as the formats write them, with the place of a bad one."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

from ingest.statements.refusal import Place, Refused

# SWIFT's rule for two-digit years
CENTURY_PIVOT = 80
_DIGITS = re.compile(r"[0-9]+")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
_OFX = re.compile(
    r"([0-9]{8})(?:([0-9]{2})([0-9]{2})([0-9]{2})?(?:\.([0-9]{1,6}))?)?(?:\[([+-]?[0-9]{1,2}(?:\.[0-9]{1,2})?)(?::[^\]]*)?\])?"
)


def short(text: str, place: Place) -> date:
    """A date of six digits YYMMDD; 80–99 are 1980–1999.

    >>> short("260831", Place("a.sta"))
    datetime.date(2026, 8, 31)
    """
    if len(text) != 6 or not _DIGITS.fullmatch(text):
        raise Refused("DATE", place, f"{text[:20]!r} is not a date YYMMDD")
    year = int(text[:2])
    return _calendar((1900 if year >= CENTURY_PIVOT else 2000) + year, int(text[2:4]), int(text[4:]), text, place)


def beside(text: str, near: date, place: Place) -> date:
    """A date of four digits MMDD in the year that brings it nearest to another date.

    >>> beside("1231", date(2026, 1, 2), Place("a.sta"))
    datetime.date(2025, 12, 31)
    """
    month, day = int(text[:2]), int(text[2:])
    years = [year for year in (near.year - 1, near.year, near.year + 1) if _exists(year, month, day)]
    if not years:
        raise Refused("DATE", place, f"{text} is not a day of the calendar (MMDD) near {near}")
    return min((date(year, month, day) for year in years), key=lambda found: abs((found - near).days))


def long(text: str, place: Place) -> date:
    """A date of eight digits YYYYMMDD."""
    if len(text) != 8 or not _DIGITS.fullmatch(text):
        raise Refused("DATE", place, f"{text[:20]!r} is not a date YYYYMMDD")
    return _calendar(int(text[:4]), int(text[4:6]), int(text[6:]), text, place)


def iso(text: str, place: Place) -> tuple[date, datetime | None]:
    """A date or a date with a time of ISO 8601: the date as written, and the moment in UTC when a zone is given."""
    found = _ISO_DATE.fullmatch(text)
    if found:
        return _calendar(int(found[1]), int(found[2]), int(found[3]), text, place), None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("DATE", place, f"{text[:40]!r} is not a date or time of the calendar") from None
    if moment.tzinfo is None:
        return moment.date(), None
    return moment.date(), _utc(moment, text, place)


def ofx(text: str, place: Place) -> tuple[date, datetime | None]:
    """A date of OFX, YYYYMMDD[HHMMSS[.XXX]][[offset:zone]]: the date as written, the moment in UTC when a time is given.

    Without a zone the time is Greenwich's, as OFX says.
    """
    found = _OFX.fullmatch(text)
    if found is None:
        raise Refused("DATE", place, f"{text[:40]!r} is not a date of OFX")
    day = long(found[1], place)
    if found[2] is None:
        return day, None
    zone = timezone(timedelta(minutes=round(float(found[6] or 0) * 60))) if abs(float(found[6] or 0)) < 24 else None
    try:
        moment = datetime(
            day.year,
            day.month,
            day.day,
            int(found[2]),
            int(found[3]),
            int(found[4] or 0),
            int((found[5] or "0").ljust(6, "0")),
            zone,
        )
    except ValueError:
        raise Refused("DATE", place, f"{text[:40]!r} is not a time of the day") from None
    if zone is None:
        raise Refused("DATE", place, f"{text[:40]!r} has no time zone of the world")
    return day, _utc(moment, text, place)


def offset(text: str, place: Place) -> datetime:
    """SWIFT's date, time and offset: YYMMDDHHMM+HHMM, in UTC."""
    if not re.fullmatch(r"[0-9]{10}[+-][0-9]{4}", text):
        raise Refused("DATE", place, f"{text[:20]!r} is not YYMMDDHHMM and an offset")
    day = short(text[:6], place)
    minutes = int(text[11:13]) * 60 + int(text[13:])
    if int(text[6:8]) > 23 or int(text[8:10]) > 59 or int(text[13:]) > 59 or minutes > 14 * 60:
        raise Refused("DATE", place, f"{text!r} is not a time of the day with an offset")
    zone = timezone(timedelta(minutes=-minutes if text[10] == "-" else minutes))
    return datetime(day.year, day.month, day.day, int(text[6:8]), int(text[8:10]), tzinfo=zone).astimezone(UTC)


def _utc(moment: datetime, text: str, place: Place) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Refused("DATE", place, f"{text[:40]!r} lies outside the calendar") from None


def _exists(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _calendar(year: int, month: int, day: int, text: str, place: Place) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise Refused("DATE", place, f"{text} is not a date of the calendar") from None
