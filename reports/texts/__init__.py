"""The words of reports and charts, in English and Chinese; both files have the same keys (a test compares them)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from domain.errors import WrongUse

LANGUAGES = ("zh", "en")


@cache
def words(language: str) -> dict[str, Any]:
    """All texts of a language (one of LANGUAGES); WrongUse for another.

    >>> words("en")["page"]
    'Page'
    """
    if language not in LANGUAGES:
        raise WrongUse(f"reports are written in {' and '.join(LANGUAGES)}, not in {language!r}")
    return tomllib.loads((files(__name__) / f"{language}.toml").read_text(encoding="utf-8"))
