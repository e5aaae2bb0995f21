"""The words of the pages, in English and Chinese; both files have the same keys (a test compares them)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Texts:
    """All texts of one language; ``texts["as_of"]`` refuses a key that does not exist."""

    language: str
    entries: dict[str, Any]

    def __getitem__(self, key: str) -> str:
        return str(self.entries[key])

    def code(self, code: str) -> str:
        """Name of a break code, or the code itself when it has none yet."""
        return str(self.entries["codes"].get(code, code))

    @property
    def other(self) -> str:
        """The language that the page offers to switch to."""
        return "zh" if self.language == "en" else "en"


@cache
def texts(language: str) -> Texts:
    """Texts of a language (one of LANGUAGES).

    >>> texts("en")["none"]
    'none'
    """
    return Texts(language, tomllib.loads((files(__name__) / f"{language}.toml").read_text(encoding="utf-8")))
