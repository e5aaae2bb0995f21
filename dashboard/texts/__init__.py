"""The words of the pages, in English and Chinese; both languages have the same keys (a test compares them).

A language is `LANGUAGE.toml` and every `PART.LANGUAGE.toml`; keys of different files never meet.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
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

    def name(self, table: str, word: str | None) -> str:
        """What a word of a closed list means (a table of the texts such as ``movement``), or the word itself."""
        return str(self.entries[table].get(word, word or ""))

    def explanation(self, item: Mapping[str, Any]) -> tuple[str, str]:
        """(language, sentence) of what the rule says of an open item; runs of before the Chinese ones have English only."""
        said = item.get("explanation_zh") if self.language == "zh" else None
        return ("zh", str(said)) if said else ("en", str(item.get("explanation") or ""))

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
    entries: dict[str, Any] = {}
    for path in sorted(files(__name__).iterdir(), key=lambda path: path.name):
        if path.name == f"{language}.toml" or path.name.endswith(f".{language}.toml"):
            entries |= tomllib.loads(path.read_text(encoding="utf-8"))
    return Texts(language, entries)
