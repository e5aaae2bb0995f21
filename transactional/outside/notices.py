"""Notices to customers: templates in Chinese and English as data, masked, and not in the quiet hours (spec 10 row 0.12)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from domain.money import format_minor
from transactional.outside.verdict import Delivery, Target

TEMPLATES = Path(__file__).parent / "templates.toml"
QUIET_FROM, QUIET_TO = "21:30", "08:00"
_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Notice:
    """What a customer reads; the recipient is the account as the bank's gateway knows it, never a number or an address."""

    template: str
    language: str
    title: str
    text: str


def notice(delivery: Delivery, language: str) -> Notice | str:
    """The notice of an event, or why there is none: no template for its topic, or a field is missing."""
    template = templates().get(delivery.topic)
    if template is None:
        return f"there is no template for {delivery.topic}"
    missing = [name for name in template["fields"] if delivery.payload.get(name) is None]
    if missing:
        return f"the event has no {', '.join(missing)}"
    values = {name: _shown(name, delivery.payload) for name in template["fields"]}
    title, text = (template[f"{part}_{language}"].format_map(values) for part in ("title", "text"))
    return Notice(delivery.topic, language, title, text)


def quiet_s(now: datetime, target: Target, zone: ZoneInfo) -> float:
    """Seconds until the quiet hours end by the bank's time; 0 outside of them."""
    begin, end = (
        time.fromisoformat(str(target.settings.get(*named))) for named in (("quiet_from", QUIET_FROM), ("quiet_to", QUIET_TO))
    )
    local = now.astimezone(zone)
    at = local.time().replace(tzinfo=None)
    is_quiet = begin <= at < end if begin <= end else at >= begin or at < end
    if not is_quiet:
        return 0.0
    until = local.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
    return ((until if until > local else until + timedelta(days=1)) - local).total_seconds()


def masked(number: str) -> str:
    """The last four characters of a number.

    >>> masked("P01-L-000001")
    '****0001'
    """
    return f"****{number[-4:]}"


@cache
def templates() -> Mapping[str, Mapping[str, Any]]:
    """Topic → template; each text uses the declared fields alone (a test holds that)."""
    return {str(one["topic"]): one for one in tomllib.loads(TEMPLATES.read_text(encoding="utf-8"))["template"]}


def fields_used(text: str) -> set[str]:
    """Names in braces of a template's text."""
    return set(_FIELD.findall(text))


def _shown(name: str, payload: Mapping[str, Any]) -> str:
    value = payload[name]
    if name.endswith("_minor"):
        currency = str(payload.get("currency", "CNY"))
        return f"{format_minor(int(value), currency)} {currency}"
    return masked(str(value)) if name.endswith("_no") else str(value)
