"""A reconciliation of any two or three sets of records as data: sources, fields, keys, tolerances, windows, tiers, breaks.

`read_spec` checks a YAML file in full and names every error at once, each with its path and reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from domain.errors import BadInput
from domain.vocabulary import Severity
from recon.kinds import KINDS

NAME = r"^[a-z][a-z0-9_]{0,39}$"
PPM = 1_000_000
SUBSET_ITEMS_MAX = 20
_ORIGINS = ("column", "constant", "business_date_of", "sum", "rate", "sequence")

Name = Annotated[str, Field(pattern=NAME)]


class SpecFault(BadInput):
    """A spec is not valid; `errors` are pairs of path and reason, all that were found."""

    def __init__(self, source: str, errors: list[tuple[str, str]]) -> None:
        self.errors = errors
        listed = "".join(f"\n  {path or 'spec'}: {reason}" for path, reason in errors)
        super().__init__(f"{source} has {len(errors)} error{'s' if len(errors) != 1 else ''}:{listed}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(_Part):
    """A sentence or label for people in both languages."""

    en: str
    zh: str


class Pattern(_Part):
    """Normaliser: the first group of a regular expression (RE2), or the whole match when it has none."""

    regex: str

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError("a regular expression of exactly one group is needed: the part to keep")
        return value


Normaliser = Literal["trim", "upper", "lower", "nfkc", "digits", "strip_zeros", "no_spaces"] | Pattern


class Sign(_Part):
    """The amount is negative where a column has one of these words, such as D of D/C."""

    column: str
    negative: list[str] = Field(min_length=1)


class Rate(_Part):
    """An amount computed from another: rate × |of|, half up to one minor unit, with a floor and a ceiling; sign of `of`."""

    of: Name
    rate: str
    min_minor: int = Field(default=0, ge=0)
    max_minor: int | None = Field(default=None, ge=0)

    @field_validator("rate")
    @classmethod
    def _in_ppm(cls, value: str) -> str:
        _ppm(value)
        return value

    @property
    def ppm(self) -> int:
        """The rate in millionths."""
        return _ppm(self.rate)


class SequenceOf(_Part):
    """A record's place inside the day of its account (the fields `by`), found from signed amounts and the balances they leave.

    `rounding_minor`: how far a balance may lie from the one before it and the amount, where a bank shows rounded balances.
    """

    by: list[Name] = Field(min_length=1)
    amount: Name
    balance: Name
    rounding_minor: int = Field(default=0, ge=0)


class FieldSpec(_Part):
    """How one side gives a field: a column, a constant, arithmetic over amount fields declared before it, or a place in a day."""

    type: Literal["text", "amount", "date", "time"] = "text"
    column: str | None = None
    constant: str | None = None
    normalise: list[Normaliser] = []
    required: bool = False
    unit: Literal["minor", "major"] = "major"
    decimals: int = Field(default=2, ge=0, le=6)
    decimal_mark: Literal[".", ","] = "."
    grouping: Literal["", ",", ".", " ", "'"] = ""
    negate: bool = False
    sign: Sign | None = None
    formats: list[str] = ["%Y-%m-%d"]
    zone: str | None = None
    business_date_of: Name | None = None
    sum: dict[Name, int] | None = None
    rate: Rate | None = None
    sequence: SequenceOf | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FieldSpec:
        given = [word for word in _ORIGINS if getattr(self, word) is not None]
        if len(given) != 1:
            raise ValueError(f"one of {', '.join(_ORIGINS)} is needed, {', '.join(given) or 'none'} given")
        if given[0] in {"sum", "rate"} and self.type != "amount":
            raise ValueError(f"{given[0]} needs type amount")
        if given[0] in {"constant", "sequence"} and self.type != "text":
            raise ValueError(f"a {given[0]} is text")
        if given[0] == "business_date_of" and self.type != "date":
            raise ValueError("business_date_of needs type date")
        if self.decimal_mark == self.grouping:
            raise ValueError("decimal_mark and grouping are the same")
        return self


class Keep(_Part):
    """Records to reconcile: those whose text field has one of these values; others are counted as left out."""

    field: Name
    values: list[str] = Field(min_length=1)


class SourceSpec(_Part):
    """One side: its file format and its fields. `amount` and `currency` are needed; `date` where windows or ages are."""

    label: Text | None = None
    format: str = "csv"
    encoding: str = "utf-8"
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    header: bool = True
    columns: list[str] | None = None
    skip_lines: int = Field(default=0, ge=0)
    trailer_lines: int = Field(default=0, ge=0)
    id: list[Name] = []
    fields: dict[Name, FieldSpec]
    keep: list[Keep] = []

    @property
    def has_sequence(self) -> bool:
        """Whether a field is a place in a day: then all records of the day are needed, also those that are not kept."""
        return any(declared.sequence is not None for declared in self.fields.values())

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}") from None
        return value

    @model_validator(mode="after")
    def _named_columns(self) -> SourceSpec:
        if self.format == "csv" and not self.header and not self.columns:
            raise ValueError("a file without a header needs its columns")
        return self


class Tolerance(_Part):
    """How far two amounts may lie apart: the larger of `abs` (major units) and `rel` × base."""

    abs: str = "0"
    rel: str = "0"
    base: Literal["max", "left", "right"] = "max"

    @field_validator("abs")
    @classmethod
    def _is_decimal(cls, value: str) -> str:
        _decimal(value)
        return value

    @field_validator("rel")
    @classmethod
    def _rel_in_ppm(cls, value: str) -> str:
        _ppm(value)
        return value

    def abs_minor(self, decimals: int) -> int:
        """`abs` in minor units; BadInput when it is not a whole number of them."""
        scaled = _decimal(self.abs).scaleb(decimals)
        if scaled != scaled.to_integral_value():
            raise BadInput(f"tolerance abs {self.abs} has more than {decimals} decimals")
        return int(scaled)

    @property
    def rel_ppm(self) -> int:
        """`rel` in millionths."""
        return _ppm(self.rel)


class Window(_Part):
    """How many days the right record may lie before or after the left one; `calendar` defaults to the spec's."""

    before: int = Field(default=0, ge=0, le=366)
    after: int = Field(default=0, ge=0, le=366)


class Compare(_Part):
    """A field that a matched pair must agree on, and the kind of break when it does not."""

    field: Name
    kind: str

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"unknown kind {value!r}; kinds are {', '.join(sorted(KINDS))}")
        return value


class _Tier(_Part):
    name: str = Field(min_length=1, max_length=80)


class KeyTier(_Tier):
    """A strong key: equal key and all compared fields equal confirms; a difference or a repeated key is a break."""

    kind: Literal["key"]
    keys: list[Name] = Field(min_length=1)
    compare: list[Compare] = []
    tolerance: Tolerance = Tolerance()
    window: Window | None = None


class BusinessTier(_Tier):
    """A weaker key with the amount (within a tolerance) and a window of days: only a sole candidate of both sides confirms."""

    kind: Literal["business"]
    keys: list[Name] = Field(min_length=1)
    tolerance: Tolerance = Tolerance()
    window: Window | None = None


class GroupTier(_Tier):
    """Records that share a key, one to many or many to many: equal sums confirm; `final` makes unequal sums a break."""

    kind: Literal["group"]
    keys: list[Name] = Field(min_length=1)
    tolerance: Tolerance = Tolerance()
    window: Window | None = None
    final: bool = True


class SubsetTier(_Tier):
    """In a group of at most `items_max` records of a shared key, one subset of a side that sums to the other side: proposed."""

    kind: Literal["subset"]
    keys: list[Name] = Field(min_length=1)
    items_max: int = Field(default=SUBSET_ITEMS_MAX, ge=2, le=SUBSET_ITEMS_MAX)


class ReversalTier(_Tier):
    """Two records of one side that net to zero by reference: the `reversal_of` of one names the `target` field of the other."""

    kind: Literal["reversal"]
    side: Literal["left", "right", "both"] = "both"
    reversal_of: Name
    target: Name


class Signal(_Part):
    """Evidence for a scored candidate: `equal` fields, an amount or days within a distance, or text within so many edits."""

    field: Name
    points: int = Field(ge=1, le=100)
    within: int = Field(default=0, ge=0)


class ScoreTier(_Tier):
    """Candidates of one block scored by signals; the sole best pair of at least `min_score` points is proposed, never
    confirmed."""

    kind: Literal["score"]
    keys: list[Name] = Field(min_length=1)
    signals: list[Signal] = Field(min_length=1)
    min_score: int = Field(ge=1)


Tier = Annotated[
    KeyTier | BusinessTier | GroupTier | SubsetTier | ReversalTier | ScoreTier,
    Field(discriminator="kind"),
]


class Expected(_Part):
    """When a one-sided record is not yet due: working days its other side may take, and minutes around the cut-off."""

    left: int = Field(default=0, ge=0, le=60)
    right: int = Field(default=0, ge=0, le=60)
    cutoff_minutes: int = Field(default=0, ge=0, le=720)


class BreakSpec(_Part):
    """What a kind of break is called here: code, severity, what to do."""

    code: str | None = None
    severity: Severity | None = None
    action: Text | None = None


class Spec(_Part):
    """A whole reconciliation. `name` is part of every break's identity; `version` is not.

    `third_keep`: which records of the right side the third one should have, such as recharges at a payment channel.
    """

    name: Name
    version: str = Field(min_length=1)
    calendar: str = "GENERIC"
    zone: str = "Asia/Shanghai"
    cutoff: time | None = None
    as_of: date | None = None
    left: SourceSpec
    right: SourceSpec
    third: SourceSpec | None = None
    tiers: list[Tier] = Field(min_length=1)
    third_tiers: list[Tier] = []
    third_keep: list[Keep] = []
    expected: Expected = Expected()
    third_expected: Expected = Expected()
    breaks: dict[str, BreakSpec] = {}

    @property
    def sha256(self) -> str:
        """Hash of the spec's content, whatever its spelling in YAML."""
        return sha256(self.model_dump_json().encode()).hexdigest()

    def decimals(self) -> int:
        """Decimals of the minor unit of the compared amounts."""
        return self.left.fields["amount"].decimals


def read_spec(path: Path) -> Spec:
    """The spec of a YAML file; SpecFault with all errors when it is not one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecFault(path.name, [("", f"cannot be read: {error}")]) from None
    return parse_spec(content, path.name)


def parse_spec(content: object, source: str = "spec") -> Spec:
    """The spec of a parsed mapping; SpecFault with all errors when it is not one."""
    if not isinstance(content, dict):
        raise SpecFault(source, [("", "is not a mapping")])
    errors = list(_references(content))
    try:
        spec = Spec.model_validate(content)
    except ValidationError as error:
        found = [(_path(entry["loc"]), entry["msg"].removeprefix("Value error, ")) for entry in error.errors()]
        raise SpecFault(source, [*found, *errors]) from None
    if errors:
        raise SpecFault(source, errors)
    return spec


def _path(places: tuple[int | str, ...]) -> str:
    return ".".join(str(place) for place in places)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _references(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Faults that one part alone does not show, found without trusting the rest to be valid."""
    yield from _places(content)
    given = [side for side in ("left", "right", "third") if isinstance(content.get(side), dict)]
    for side in given:
        yield from _side_references(side, content[side])
    yield from _tier_references(content, "tiers", ("left", "right"))
    yield from _tier_references(content, "third_tiers", ("right", "third"))
    yield from _keep_references("third_keep", content.get("third_keep"), _mapping(content.get("right")).get("fields"))
    if bool(content.get("third")) != bool(content.get("third_tiers")):
        yield "third_tiers", "third and third_tiers are given together or not at all"
    decimals = {str(_field(content, side, "amount").get("decimals", 2)) for side in given}
    if len(decimals) > 1:
        yield "left.fields.amount.decimals", "the compared amounts of all sides need the same decimals"
    for kind in _mapping(content.get("breaks")):
        if kind not in KINDS:
            yield f"breaks.{kind}", f"unknown kind; kinds are {', '.join(sorted(KINDS))}"


def _places(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from recon.working_days import known

    if not known(str(content.get("calendar", "GENERIC"))):
        yield "calendar", f"there is no calendar {content['calendar']!r}"
    try:
        ZoneInfo(str(content.get("zone", "UTC")))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield "zone", f"there is no time zone {content['zone']!r}"


def _field(content: Mapping[str, Any], side: str, name: str) -> Mapping[str, Any]:
    return _mapping(_mapping(_mapping(content.get(side)).get("fields")).get(name))


def _side_references(side: str, source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    fields = source.get("fields")
    if not isinstance(fields, dict):
        return
    for name, kind in (("amount", "amount"), ("currency", "text"), ("date", "date")):
        declared = fields.get(name)
        if declared is None and name != "date":
            yield f"{side}.fields.{name}", "is needed"
        elif isinstance(declared, dict) and declared.get("type", "text") != kind:
            yield f"{side}.fields.{name}.type", f"must be {kind}"
    for place, word in enumerate(_listed(source.get("id"))):
        if str(word) not in fields:
            yield f"{side}.id.{place}", f"there is no field {word!r}"
    yield from _keep_references(f"{side}.keep", source.get("keep"), fields)
    before: dict[str, str] = {}
    for name, declared in fields.items():
        if isinstance(declared, dict):
            yield from _derived_references(f"{side}.fields.{name}", declared, before)
            if declared.get("sequence") and "date" not in fields:
                yield f"{side}.fields.{name}.sequence", "needs the field date"
            before[name] = declared.get("type", "text")


def _keep_references(path: str, keeps: object, fields: object) -> Iterator[tuple[str, str]]:
    for place, keep in enumerate(_listed(keeps)):
        declared = _mapping(fields).get(str(_mapping(keep).get("field")))
        if isinstance(keep, dict) and (not isinstance(declared, dict) or declared.get("type", "text") != "text"):
            yield f"{path}.{place}.field", f"there is no text field {keep.get('field')!r}"


def _derived_references(path: str, declared: Mapping[str, Any], before: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    needed = [(f"{path}.sum.{name}", name, "amount") for name in _mapping(declared.get("sum"))]
    if isinstance(declared.get("rate"), dict):
        needed.append((f"{path}.rate.of", str(declared["rate"].get("of")), "amount"))
    if declared.get("business_date_of"):
        needed.append((f"{path}.business_date_of", str(declared["business_date_of"]), "time"))
    if isinstance(declared.get("sequence"), dict):
        rule = declared["sequence"]
        needed += [(f"{path}.sequence.{word}", str(rule.get(word)), "amount") for word in ("amount", "balance")]
        needed += [(f"{path}.sequence.by", str(name), "text") for name in _listed(rule.get("by"))]
    for place, name, kind in needed:
        if before.get(name) != kind:
            yield place, f"there is no {kind} field {name!r} declared before"


def _tier_references(content: Mapping[str, Any], list_name: str, sides: tuple[str, str]) -> Iterator[tuple[str, str]]:
    for number, given in enumerate(_listed(content.get(list_name))):
        tier, path = _mapping(given), f"{list_name}.{number}"
        needed = sides if tier.get("side", "both") == "both" else (str(tier["side"]),)
        for place, name in _used_fields(path, tier):
            for side in needed:
                fields = _mapping(content.get(side)).get("fields")
                if isinstance(fields, dict) and name not in fields and name != "direction":
                    yield place, f"{side} has no field {name!r}"
        yield from _type_references(content, path, tier, sides)


def _used_fields(path: str, tier: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Places of a tier that name fields, and the names."""
    for place, name in enumerate(_listed(tier.get("keys"))):
        yield f"{path}.keys.{place}", str(name)
    for word in ("reversal_of", "target"):
        if word in tier:
            yield f"{path}.{word}", str(tier[word])
    for word in ("compare", "signals"):
        for place, entry in enumerate(_listed(tier.get(word))):
            yield f"{path}.{word}.{place}.field", str(_mapping(entry).get("field"))
    if tier.get("window"):
        yield f"{path}.window", "date"


def _type_references(
    content: Mapping[str, Any], path: str, tier: Mapping[str, Any], sides: tuple[str, str]
) -> Iterator[tuple[str, str]]:
    for place, name in enumerate(_listed(tier.get("keys"))):
        declared = [_field(content, side, str(name)) for side in sides]
        types = {str(field.get("type", "text")) for field in declared if field}
        if types - {"text", "date", "amount"}:
            yield f"{path}.keys.{place}", f"{name!r} is not text, date or amount on both sides"
        elif len(types) > 1:
            yield f"{path}.keys.{place}", f"{name!r} has another type on each side"
    decimals = _field(content, "left", "amount").get("decimals", 2)
    absolute = _mapping(tier.get("tolerance")).get("abs", "0")
    if isinstance(decimals, int):
        try:
            Tolerance(abs=str(absolute)).abs_minor(decimals)
        except BadInput as error:
            yield f"{path}.tolerance.abs", str(error)
        except ValidationError:
            return


def _decimal(value: str) -> Decimal:
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite() or number < 0:
        raise ValueError(f"{value!r} is not a decimal number of zero or more")
    return number


def _ppm(value: str) -> int:
    scaled = _decimal(value) * PPM
    if scaled != scaled.to_integral_value() or scaled > PPM:
        raise ValueError(f"{value!r} is not a share of 0 to 1 with at most 6 decimals")
    return int(scaled)
