"""Rule packs: definitions of indicators as data, parsed from text (spec 00 section 0.2).

A measure is an integer aggregate over a snapshot of one platform and date; an indicator is a sum of measures, or a ratio of two
such sums. Nothing regulatory is in code: what counts, from which day, under which law stands in the pack.
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

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


class Source(StrEnum):
    """What a measure aggregates: loans, borrowers (loans by `borrower_ref`, with their rank) or claims of a date."""

    LOAN = "loan"
    BORROWER = "borrower"
    CLAIM = "claim"


class Aggregate(StrEnum):
    """How: sum of a column, number of rows, or number of distinct values of a column."""

    SUM = "sum"
    COUNT = "count"
    DISTINCT = "distinct"


class Unit(StrEnum):
    """What a value counts: minor units of the currency, things, or a share (1 = 100 %)."""

    MINOR = "MINOR"
    COUNT = "COUNT"
    RATIO = "RATIO"


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
    """One definition: names, unit, law, and the measures whose sums are its numerator and (for a ratio) denominator."""

    code: str
    version: str
    name_zh: str
    name_en: str
    unit: Unit
    legal_ref: str
    rounding: str
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]

    @property
    def formula(self) -> str:
        """The formula in codes of measures, as reports print it."""
        above = " + ".join(self.numerator)
        return f"({above}) / ({' + '.join(self.denominator)})" if self.denominator else above


@dataclass(frozen=True)
class Pack:
    """A rule pack: its parameters, measures and indicators in the order of publication."""

    pack_id: str
    jurisdiction: str
    name: str
    legal_ref: str
    valid_from: date
    valid_to: date | None
    calendar: str
    parameters: Mapping[str, int]
    measures: Mapping[str, Measure]
    indicators: tuple[Indicator, ...]

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
    indicators = tuple(_indicator(entry, measures) for entry in data["indicator"])
    for kind, codes in (("measure", [e["code"] for e in data["measure"]]), ("indicator", [i.code for i in indicators])):
        if len(set(codes)) != len(codes):
            raise BadInput(f"a {kind} code is defined twice")
    head = data["pack"]
    return Pack(
        pack_id=head["pack_id"],
        jurisdiction=head["jurisdiction"],
        name=head["name"],
        legal_ref=head["legal_ref"],
        valid_from=head["valid_from"],
        valid_to=head.get("valid_to"),
        calendar=head["calendar"],
        parameters=parameters,
        measures=measures,
        indicators=indicators,
    )


def _measure(entry: dict[str, Any], parameters: Mapping[str, int]) -> Measure:
    aggregate = Aggregate(entry["aggregate"])
    column = entry["column"] if aggregate is not Aggregate.COUNT else ""
    if not all(_NAME.fullmatch(name) for name in (entry["code"], column or "x")):
        raise BadInput(f"measure {entry['code']!r}: code and column must be plain names")
    where = str(entry.get("where", "true")).format_map(dict(parameters))
    return Measure(entry["code"], Source(entry["source"]), aggregate, column, where)


def _indicator(entry: dict[str, Any], measures: Mapping[str, Measure]) -> Indicator:
    unit = Unit(entry["unit"])
    numerator, denominator = tuple(entry["numerator"]), tuple(entry.get("denominator", []))
    unknown = [code for code in numerator + denominator if code not in measures]
    if unknown or not numerator:
        raise BadInput(f"indicator {entry['code']}: unknown measures {unknown}" if unknown else f"{entry['code']}: no numerator")
    if (unit is Unit.RATIO) != bool(denominator):
        raise BadInput(f"indicator {entry['code']}: a ratio, and only a ratio, has a denominator")
    return Indicator(
        code=entry["code"],
        version=entry["version"],
        name_zh=entry["name_zh"],
        name_en=entry["name_en"],
        unit=unit,
        legal_ref=entry["legal_ref"],
        rounding=entry["rounding"],
        numerator=numerator,
        denominator=denominator,
    )


@cache
def _packaged(pack_id: str) -> Pack:
    path = resources.files("domain") / "packs" / f"{pack_id}.toml"
    if not _NAME.fullmatch(pack_id) or not path.is_file():
        raise BadInput(f"there is no rule pack {pack_id!r}")
    return Pack.parse(path.read_text(encoding="utf-8"))
