"""Values as people read them: exact, in major units of the currency, in the words of a language."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from domain.money import MINOR_DIGITS, format_minor
from domain.packs import Unit
from reports.figures import NOT_AVAILABLE, UNDEFINED
from reports.texts import words

Figure = dict[str, Any]


def exact(figure: Figure) -> str | None:
    """The value as plain text without separators: money in major units, a share as a fraction of 1; None without a value.

    >>> exact({"value": "-27005", "unit": "MINOR", "currency": "CNY"})
    '-270.05'
    """
    value: str | None = figure["value"]
    if value is None or figure["unit"] != Unit.MINOR:
        return value
    return f"{Decimal(value).scaleb(-MINOR_DIGITS[figure['currency']]):f}"


def shown(figure: Figure, language: str) -> str:
    """The value with thousands separators, a share as a percentage of four digits; without one, the word for its state.

    >>> shown({"value": "0.548642", "unit": "RATIO", "state": "VALUE"}, "en")
    '54.8642'
    """
    text = words(language)
    if figure["state"] == NOT_AVAILABLE:
        return str(text["not_available"])
    if figure["state"] == UNDEFINED:
        return str(text["undefined"])
    value = str(figure["value"])
    if figure["unit"] == Unit.MINOR:
        return format_minor(int(value), figure["currency"])
    if figure["unit"] == Unit.RATIO:
        return f"{Decimal(value).scaleb(2):.4f}"
    return f"{int(value):,}" if figure["unit"] == Unit.COUNT else value


def unit(figure: Figure, language: str) -> str:
    """The unit as a word: the currency, loans or persons, %."""
    units = words(language)["units"]
    if figure["unit"] == Unit.MINOR:
        return str(units.get(f"MINOR_{figure['currency']}", figure["currency"]))
    return str(units[figure["counts"] or figure["unit"]])


def parameters(figure_set: dict[str, Any], version: int, language: str) -> list[tuple[str, str]]:
    """The block of parameters every rendering begins with, as pairs of name and value."""
    text = words(language)
    names, none = text["parameter"], text["none"]
    before = figure_set["previous_month"]
    values = {
        "platform_id": figure_set["platform_id"],
        "period": figure_set["period"],
        "as_of": figure_set["as_of"],
        "due_on": figure_set["due_on"] or none,
        "known_as_of": figure_set["known_as_of"],
        "zone": figure_set["zone"],
        "run_id": str(figure_set["run_id"]),
        "published_version": str(figure_set["published_version"]),
        "bundle_version": f"v{version}",
        "pack": f"{figure_set['pack_id']} v{figure_set['pack_version']} {figure_set['pack_name']}",
        "legal_ref": figure_set["legal_ref"],
        "run_code_version": figure_set["run_code_version"],
        "ledger_no_to": str(figure_set["ledger_no_to"]),
        "filters": ", ".join(f"{name} = {value}" for name, value in figure_set["filters"].items()),
        "exclusions": "; ".join(map(str, figure_set["exclusions"])) or text["exclusions_none"],
        "waived_files": "; ".join(" ".join(file.values()) for file in figure_set["waived_files"]) or none,
        "previous_month": f"{before['period']}, {names['run_id']} {before['run_id']}" if before else none,
    }
    return [(names[name], value) for name, value in values.items()]
