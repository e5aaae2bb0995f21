"""Rule packs: definitions of indicators as data, parsed from text (spec 00 section 0.2).

A measure is an integer aggregate over a snapshot of one platform and date; an indicator is a sum of measures, or a quotient of
two such sums, or metadata of the report, or something that cannot be given yet, with the reason. Nothing regulatory is in code:
what counts, from which day, under which law stands in the pack.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from domain.errors import BadInput
from domain.pack_rules import Rule, parse_rule

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


class Source(StrEnum):
    """What a measure aggregates: loans, claims, borrowers (loans by person) or lenders (claims by person) of a date.

    Borrowers and lenders have their balance and its rank from the largest.
    """

    LOAN = "loan"
    BORROWER = "borrower"
    CLAIM = "claim"
    LENDER = "lender"


class Aggregate(StrEnum):
    """How: sum of a column, number of rows, or number of distinct values of a column."""

    SUM = "sum"
    COUNT = "count"
    DISTINCT = "distinct"


class Unit(StrEnum):
    """What a value is: minor units of the currency, a number of things, a share (1 = 100 %); or a date, a 0/1 flag, words."""

    MINOR = "MINOR"
    COUNT = "COUNT"
    RATIO = "RATIO"
    DATE = "DATE"
    FLAG = "FLAG"
    TEXT = "TEXT"


class Section(StrEnum):
    """Where a report shows an indicator: the law's own list, its annex, or our own extras."""

    REPORT = "REPORT"
    ANNEX = "ANNEX"
    OWN = "OWN"


class Metadata(StrEnum):
    """Indicators that say something of the report itself: its as-of date, the day it was known on, whether it is voided."""

    AS_OF = "AS_OF"
    KNOWN_ON = "KNOWN_ON"
    VOIDED = "VOIDED"


class Rounding(StrEnum):
    """NONE: a sum; HALF_UP_0: a quotient in minor units; HALF_UP_6: a share of six digits."""

    NONE = "NONE"
    HALF_UP_0 = "HALF_UP_0"
    HALF_UP_6 = "HALF_UP_6"


@dataclass(frozen=True)
class Measure:
    """An integer aggregate: `aggregate` of `column` over the rows of `source` for which `where` holds (portable SQL)."""

    code: str
    source: Source
    aggregate: Aggregate
    column: str
    where: str

    @property
    def sql(self) -> str:
        """The aggregate as SQL text, the same on Spark and DuckDB.

        >>> Measure("X", Source.LOAN, Aggregate.SUM, "disbursed_minor", "true").sql
        'coalesce(sum(disbursed_minor) filter (where true), 0)'
        """
        inner = {
            Aggregate.SUM: f"sum({self.column})",
            Aggregate.COUNT: "count(*)",
            Aggregate.DISTINCT: f"count(distinct {self.column})",
        }[self.aggregate]
        return f"coalesce({inner} filter (where {self.where}), 0)"

    @property
    def rows_sql(self) -> str:
        """How many rows of the source the measure is made of."""
        return f"count(*) filter (where {self.where})"


@dataclass(frozen=True)
class Indicator:
    """One definition: names, meaning, unit, law, and the measures whose sums are its numerator and (of a quotient) denominator.

    Without a numerator it is `metadata`, or `not_available` names the reason why it cannot be given.
    """

    code: str
    version: str
    section: Section
    name_zh: str
    name_en: str
    meaning_zh: str
    meaning_en: str
    unit: Unit
    legal_ref: str
    rounding: Rounding
    numerator: tuple[str, ...] = ()
    denominator: tuple[str, ...] = ()
    not_available: str | None = None
    metadata: Metadata | None = None

    @property
    def formula(self) -> str:
        """The formula in codes of measures, as reports print it."""
        above = " + ".join(self.numerator)
        return f"({above}) / ({' + '.join(self.denominator)})" if self.denominator else above


@dataclass(frozen=True)
class Pack:
    """A rule pack: its parameters, measures, indicators in the order of publication, rules, and reasons by code and language."""

    pack_id: str
    version: str
    jurisdiction: str
    name: str
    legal_ref: str
    valid_from: date
    valid_to: date | None
    calendar: str
    parameters: Mapping[str, int]
    measures: Mapping[str, Measure]
    indicators: tuple[Indicator, ...]
    rules: tuple[Rule, ...]
    reasons: Mapping[str, Mapping[str, str]]

    @property
    def computed(self) -> tuple[Indicator, ...]:
        """The indicators that are made of measures: those the night computes."""
        return tuple(indicator for indicator in self.indicators if indicator.numerator)

    @staticmethod
    def of(pack_id: str) -> Pack:
        """The packaged pack; BadInput when there is none of that name."""
        return _packaged(pack_id)

    @staticmethod
    def parse(text: str) -> Pack:
        """A pack from TOML; BadInput names what is missing, unknown or contradictory."""
        try:
            return _pack(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"not a rule pack: {error}") from error

    def indicator(self, code: str) -> Indicator:
        """The definition of a code; BadInput when the pack has none."""
        for indicator in self.indicators:
            if indicator.code == code:
                return indicator
        raise BadInput(f"pack {self.pack_id} has no indicator {code!r}")


def _pack(data: dict[str, Any]) -> Pack:
    parameters = {str(name): value for name, value in data["parameters"].items()}
    if not all(type(value) is int for value in parameters.values()):
        raise BadInput("parameters of a rule pack are integers")
    measures = {entry["code"]: _measure(entry, parameters) for entry in data["measure"]}
    reasons = {code: {"zh": words["zh"], "en": words["en"]} for code, words in data.get("reason", {}).items()}
    indicators = tuple(_indicator(entry, measures, reasons) for entry in data["indicator"])
    known = {indicator.code for indicator in indicators}
    rules = tuple(parse_rule(entry, known, reasons) for entry in data.get("rule", []))
    for kind in ("measure", "indicator", "rule"):
        codes = [entry["code"] for entry in data.get(kind, [])]
        if len(set(codes)) != len(codes):
            raise BadInput(f"a {kind} code is defined twice")
    head = data["pack"]
    return Pack(
        pack_id=head["pack_id"],
        version=head["version"],
        jurisdiction=head["jurisdiction"],
        name=head["name"],
        legal_ref=head["legal_ref"],
        valid_from=head["valid_from"],
        valid_to=head.get("valid_to"),
        calendar=head["calendar"],
        parameters=parameters,
        measures=measures,
        indicators=indicators,
        rules=rules,
        reasons=reasons,
    )


def _measure(entry: dict[str, Any], parameters: Mapping[str, int]) -> Measure:
    aggregate = Aggregate(entry["aggregate"])
    column = entry["column"] if aggregate is not Aggregate.COUNT else ""
    if not all(_NAME.fullmatch(name) for name in (entry["code"], column or "x")):
        raise BadInput(f"measure {entry['code']!r}: code and column must be plain names")
    where = str(entry.get("where", "true")).format_map(dict(parameters))
    return Measure(entry["code"], Source(entry["source"]), aggregate, column, where)


def _indicator(entry: dict[str, Any], measures: Mapping[str, Measure], reasons: Mapping[str, Any]) -> Indicator:
    indicator = Indicator(
        code=entry["code"],
        version=entry["version"],
        section=Section(entry["section"]),
        name_zh=entry["name_zh"],
        name_en=entry["name_en"],
        meaning_zh=entry["meaning_zh"],
        meaning_en=entry["meaning_en"],
        unit=Unit(entry["unit"]),
        legal_ref=entry["legal_ref"],
        rounding=Rounding(entry["rounding"]),
        numerator=tuple(entry.get("numerator", ())),
        denominator=tuple(entry.get("denominator", ())),
        not_available=entry.get("not_available"),
        metadata=Metadata(entry["metadata"]) if "metadata" in entry else None,
    )
    unknown = [code for code in indicator.numerator + indicator.denominator if code not in measures]
    if unknown or indicator.not_available not in {None, *reasons}:
        raise BadInput(f"indicator {indicator.code}: unknown {', '.join(unknown) or indicator.not_available}")
    _check_form(indicator)
    return indicator


def _check_form(indicator: Indicator) -> None:
    """An indicator is exactly one of: made of measures, metadata, not available; and unit, rounding and parts fit together."""
    ways = [bool(indicator.numerator), indicator.metadata is not None, indicator.not_available is not None]
    if sum(ways) != 1:
        raise BadInput(f"indicator {indicator.code}: it has a numerator, or is metadata, or says why it is not available")
    if not indicator.numerator:
        return
    shapes = {
        (Unit.RATIO, True): Rounding.HALF_UP_6,
        (Unit.MINOR, True): Rounding.HALF_UP_0,
        (Unit.MINOR, False): Rounding.NONE,
        (Unit.COUNT, False): Rounding.NONE,
    }
    if shapes.get((indicator.unit, bool(indicator.denominator))) is not indicator.rounding:
        raise BadInput(f"indicator {indicator.code}: unit, denominator and rounding do not fit together")


@cache
def _packaged(pack_id: str) -> Pack:
    path = resources.files("domain") / "packs" / f"{pack_id}.toml"
    if not _NAME.fullmatch(pack_id) or not path.is_file():
        raise BadInput(f"there is no rule pack {pack_id!r}")
    return Pack.parse(path.read_text(encoding="utf-8"))
