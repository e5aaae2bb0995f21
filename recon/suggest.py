"""A first spec proposed from two files: which columns are amounts, dates, keys, and what speaks for each, as comments in the
      YAML.

It is a beginning for a person: what the data cannot tell (calendar, who waits for whom, what a difference means) is said so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from domain.errors import BadInput
from recon import values
from recon.shapes import FileShape, Shape, look_at, pattern_of
from recon.spec import FieldSpec, parse_spec

UNIQUE, OVERLAP, DIGITS_MIN, FEW = 0.9, 0.3, 4, 0.5
_NORMALISERS: tuple[tuple[str, list[Any]], ...] = (
    ("as they are", ["trim"]),
    ("in capitals", ["nfkc", "trim", "upper"]),
    ("without leading zeros", ["nfkc", "trim", "upper", "strip_zeros"]),
)


@dataclass(frozen=True)
class Key:
    """Two columns whose values meet: how they are normalised, the share of the smaller side's values that both have."""

    left: Shape
    right: Shape
    left_normalise: list[Any]
    right_normalise: list[Any]
    overlap: float
    how: str

    @property
    def is_unique(self) -> bool:
        """Whether the key hardly repeats on either side."""
        return min(self.left.uniqueness, self.right.uniqueness) >= UNIQUE


@dataclass
class Found:
    """Fields of both sides as they will be written, and the notes that explain them."""

    left: dict[str, dict[str, Any]] = field(default_factory=dict)
    right: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def suggested(left: Path, right: Path) -> tuple[str, list[str]]:
    """The YAML text of a first spec and its notes; BadInput when the files hold no amounts to compare."""
    shapes = look_at(left), look_at(right)
    found = Found()
    found.notes.append(
        f"left: {left.name}, {shapes[0].rows} rows looked at; right: {right.name}, {shapes[1].rows} rows looked at"
    )
    key = _best_key(*shapes)
    _amounts(found, *shapes, key)
    _currencies(found, *shapes)
    has_dates = _dates(found, *shapes)
    tiers = _tiers(found, key, has_dates)
    content = {
        "name": "first_proposal",
        "version": "0",
        "calendar": "EVERY_DAY" if has_dates else "GENERIC",
        "left": shapes[0].options | {"fields": found.left},
        "right": shapes[1].options | {"fields": found.right},
        "tiers": tiers,
    }
    if has_dates:
        found.notes.append("calendar: the data cannot tell which days are working days; name CN or GENERIC if they count")
        found.notes.append(
            "expected: say how many working days each side may wait for the other, else one-sided records are breaks at once"
        )
    parse_spec(content)
    head = "".join(f"# {note}\n" for note in ["Proposed from the data; read every line before it is used.", *found.notes])
    return head + yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120), found.notes


class _Plain(yaml.SafeDumper):
    """YAML without anchors, which people would have to follow."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _best_key(left: FileShape, right: FileShape) -> Key | None:
    """The pair of text columns that meets most often and under which amounts agree; keys that tell records apart come first."""
    keys = [key for one in left.of("text") for other in right.of("text") if (key := _key(one, other)) is not None]

    def worth(key: Key) -> tuple[float, bool, int]:
        agreement = _best_amounts(left, right, key)
        agreed = agreement.share if agreement else 0.0
        return round(key.overlap * (1 + agreed), 2), key.is_unique, min(key.left.distinct, key.right.distinct)

    return max(keys, key=worth, default=None)


def _key(left: Shape, right: Shape) -> Key | None:
    best: Key | None = None
    tried: list[tuple[str, list[Any], list[Any]]] = [(how, rule, rule) for how, rule in _NORMALISERS]
    if min(_typical_digits(left), _typical_digits(right)) >= DIGITS_MIN:
        # numbers counted from 1 meet on any two sides
        tried.append(("digits alone", ["digits", "strip_zeros"], ["digits", "strip_zeros"]))
    for shape, other_is_left in ((left, False), (right, True)):
        pattern = pattern_of(pc.unique(shape.values).drop_null().to_pylist()[:1000])
        if pattern:
            cut: list[Any] = ["nfkc", "upper", {"regex": pattern.upper().replace("\\D", "\\d")}]
            plain: list[Any] = ["nfkc", "trim", "upper"]
            tried.append((f"cut out as {pattern}", cut if other_is_left else plain, plain if other_is_left else cut))
    for how, one, other in tried:
        overlap = _overlap(_normalised(left, one), _normalised(right, other))
        if overlap >= OVERLAP and (best is None or overlap > best.overlap + 0.01):
            best = Key(left, right, one, other, overlap, how)
    return best


def _typical_digits(shape: Shape) -> int:
    lengths = pc.utf8_length(values.text(shape.values, ["digits"]))
    return int(pc.approximate_median(lengths).as_py() or 0)


def _normalised(shape: Shape, rule: list[Any]) -> pa.Array:
    return values.text(shape.values, FieldSpec(column=shape.name, normalise=rule).normalise)


def _overlap(left: pa.Array, right: pa.Array) -> float:
    one, other = pc.unique(left).drop_null(), pc.unique(right).drop_null()
    smaller = min(len(one), len(other))
    both = pc.sum(pc.is_in(one, value_set=other)).as_py() or 0
    return both / smaller if smaller > 1 else 0.0


@dataclass(frozen=True)
class Agreement:
    """Two amount columns as fields of a spec, and the share of what could be compared that is equal."""

    share: float
    left: dict[str, Any]
    right: dict[str, Any]


def _best_amounts(left: FileShape, right: FileShape, key: Key | None) -> Agreement | None:
    """The amount columns that agree most often under the key, in which unit and with which sign."""
    best: Agreement | None = None
    for one, other in product(left.of("amount"), right.of("amount")):
        for left_unit, right_unit, negate in product(("", "minor"), ("", "minor"), (False, True)):
            left_field, right_field = _amount_field(one, left_unit, False), _amount_field(other, right_unit, negate)
            if left_field is None or right_field is None:
                continue
            share = _agreement(one, other, left_field, right_field, key)
            if best is None or share > best.share + 0.001:
                best = Agreement(share, left_field, right_field)
    return best


def _amounts(found: Found, left: FileShape, right: FileShape, key: Key | None) -> None:
    best = _best_amounts(left, right, key)
    if best is None:
        raise BadInput("no column of amounts was found on one of the sides")
    found.left["amount"], found.right["amount"] = best.left, best.right
    columns = f"{best.left['column']} ({best.left['unit']} units) and {best.right['column']} ({best.right['unit']} units)"
    turned = ", with the right side's signs turned" if best.right.get("negate") else ""
    found.notes.append(f"amount: {columns} are equal in {best.share:.0%} of what could be compared{turned}")
    if best.share < FEW:
        found.notes.append("amount: few are equal; if one side is net of a fee, say so with sum or rate")
    for side, shapes in (("left", left), ("right", right)):
        for shape in shapes.of("sign"):
            words = ", ".join(shape.options["negative"])
            found.notes.append(
                f"{side}: {shape.name} may be the sign; then add {{column: {shape.name}, negative: [{words}]}} to amount"
            )


def _amount_field(shape: Shape, unit: str, negate: bool) -> dict[str, Any] | None:
    """The field as a spec says it; None when the unit is the one found before or cannot be."""
    if unit and (
        shape.options["unit"] == "minor" or "decimal_mark" in shape.options or not pa.types.is_integer(shape.values.type)
    ):
        return None
    return (
        {"type": "amount", "column": shape.name, **shape.options}
        | ({"unit": unit} if unit else {})
        | ({"negate": True} if negate else {})
    )


def _agreement(one: Shape, other: Shape, left: dict[str, Any], right: dict[str, Any], key: Key | None) -> float:
    """Share of records with a common key whose amounts are equal; without a key, share of amounts that both sides have."""
    sides = []
    for shape, declared in ((one, left), (other, right)):
        spec = FieldSpec.model_validate(declared)
        minor = values.amount(shape.values, spec).values
        sides.append(pc.negate(minor) if spec.negate else minor)
    if key is None:
        return _overlap(*sides)
    tables = [
        pa.table({"key": _normalised(shape, rule), name: minor})
        for shape, rule, name, minor in (
            (key.left, key.left_normalise, "left_minor", sides[0]),
            (key.right, key.right_normalise, "right_minor", sides[1]),
        )
    ]
    # by sums, which for a key of single records are the records
    sums = [table.group_by("key").aggregate([(table.column_names[1], "sum")]) for table in tables]
    joined = sums[0].join(sums[1], "key", join_type="inner")
    equal = pc.sum(pc.equal(joined["left_minor_sum"], joined["right_minor_sum"])).as_py() or 0
    return equal / len(joined) if len(joined) else 0.0


def _currencies(found: Found, left: FileShape, right: FileShape) -> None:
    for side, shapes, fields in (("left", left, found.left), ("right", right, found.right)):
        columns = shapes.of("currency")
        if columns:
            fields["currency"] = {"column": columns[0].name, "normalise": ["trim"]}
        else:
            fields["currency"] = {"constant": "CNY"}
            found.notes.append(f"{side}: no column of currencies was found; CNY is an assumption")


def _dates(found: Found, left: FileShape, right: FileShape) -> bool:
    """The two date columns whose values meet most; both sides need one."""
    best: tuple[float, Shape, Shape] | None = None
    for one in left.of("date"):
        for other in right.of("date"):
            share = _overlap(_days(one), _days(other))
            if best is None or share > best[0]:
                best = share, one, other
    if best is None:
        found.notes.append("date: not on both sides, so there are no windows and no ages")
        return False
    for shape, fields in ((best[1], found.left), (best[2], found.right)):
        fields["date"] = {"type": "date", "column": shape.name, **shape.options}
    found.notes.append(f"date: {best[1].name} and {best[2].name} share {best[0]:.0%} of their days")
    return True


def _days(shape: Shape) -> pa.Array:
    return values.day(shape.values, FieldSpec(type="date", column=shape.name, **shape.options)).values


def _tiers(found: Found, key: Key | None, has_dates: bool) -> list[dict[str, Any]]:
    """A strong key when values tell records apart; a business key or groups when they repeat; the rest is only proposed."""
    proposals: list[dict[str, Any]] = []
    if has_dates:
        signals = [{"field": "date", "points": 60, "within": 2}]
        proposals = [{"kind": "score", "name": "equal amount, near day", "keys": ["amount"], "signals": signals, "min_score": 60}]
    if key is None:
        found.notes.append("keys: no two columns of text share values; pairs are only proposed, by amount and date")
        return proposals or [{"kind": "business", "name": "amount", "keys": ["currency"]}]
    found.left["reference"] = {"column": key.left.name, "normalise": key.left_normalise}
    found.right["reference"] = {"column": key.right.name, "normalise": key.right_normalise}
    distinct = [f"{shape.name} ({shape.uniqueness:.0%} distinct)" for shape in (key.left, key.right)]
    found.notes.append(
        f"reference: {distinct[0]} and {distinct[1]}, {key.how}, meet in {key.overlap:.0%} of the smaller side's values"
    )
    if key.is_unique:
        return [{"kind": "key", "name": "reference", "keys": ["reference"]}, *proposals]
    if max(key.left.uniqueness, key.right.uniqueness) >= UNIQUE:
        found.notes.append("tiers: the reference repeats on one side only, so its records are compared in groups by their sum")
        return [{"kind": "group", "name": "reference", "keys": ["reference"]}, *proposals]
    found.notes.append("tiers: the reference repeats on both sides, so amount and days decide; equal candidates are refused")
    window = {"window": {"before": 2, "after": 2}} if has_dates else {}
    return [{"kind": "business", "name": "reference and amount", "keys": ["reference"], **window}, *proposals]
