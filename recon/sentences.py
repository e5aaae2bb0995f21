"""What an open item says of itself, in English and Chinese: one template a language, filled with the same SQL expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True)
class Sentence:
    """SQL expressions of one sentence in both languages."""

    en: str
    zh: str

    @property
    def columns(self) -> str:
        """Both, named for a select list."""
        return f"{self.en} as explanation, {self.zh} as explanation_zh"

    def __add__(self, other: Sentence) -> Sentence:
        """This sentence and another one behind it."""
        return Sentence(f"{self.en} || {other.en}", f"{self.zh} || {other.zh}")

    def when(self, condition: str) -> Sentence:
        """This sentence where a condition holds, else nothing."""
        return Sentence(*(f"case when {condition} then {text} else '' end" for text in (self.en, self.zh)))


def said(en: str, zh: str, **fields: str) -> Sentence:
    """A sentence from its templates; `{name}` becomes the expression given, or the column of that name.

    >>> said("V has {v_minor}", "V 为 {v_minor}").en
    "'V has ' || cast(v_minor as string)"
    """
    return Sentence(_filled(en, fields), _filled(zh, fields))


def first_of(*cases: tuple[str, Sentence], otherwise: Sentence) -> Sentence:
    """The sentence of the first condition that holds."""

    def chosen(language: str) -> str:
        tests = " ".join(f"when {condition} then {getattr(sentence, language)}" for condition, sentence in cases)
        return f"case {tests} else {getattr(otherwise, language)} end"

    return Sentence(chosen("en"), chosen("zh"))


def _filled(template: str, fields: Mapping[str, str]) -> str:
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        if text:
            parts.append("'" + text.replace("'", "''") + "'")
        if name:
            parts.append(f"cast({fields.get(name, name)} as string)")
    return " || ".join(parts)
