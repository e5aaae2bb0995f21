"""What every tier's SQL text needs to know: the two sides' shared columns, how keys are spelled, what a tier hands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recon.engine import Statement
from recon.landing import OWN_COLUMN, column
from recon.spec import PPM, FieldSpec, SourceSpec, Tolerance, Window

FIXED = (
    "side",
    "record_id",
    "file_no",
    "line_no",
    "amount_minor",
    "currency",
    "direction",
    "business_date",
    "ordinal",
    "near_cutoff",
)
SQL_TYPES = {"text": "string", "amount": "bigint", "date": "date", "time": "timestamp"}
MATCH_COLUMNS = (
    "group_id", "state", "tier_no", "left_count", "right_count", "left_ids", "right_ids", "left_minor", "right_minor", "currency",
    "score", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a tier hands on: its statements, the view of records still open, and the views of matches and of broken records.

    Matches have MATCH_COLUMNS; broken records have the records' columns and `group_ref`, `kind`, `tier_no`.
    """

    statements: list[Statement]
    open_view: str
    matches: str | None = None
    broken: str | None = None


@dataclass(frozen=True)
class Facts:
    """What landing saw of all records: no id needed an escape; the one currency, if there is only one; each has its key."""

    plain_ids: bool = False
    currency: str | None = None
    is_keyed: bool = False


NOTHING_KNOWN = Facts()
"""Facts of records that landing did not look at."""


@dataclass(frozen=True)
class Scene:
    """Two sides that are compared: prefix of the views, the sides' specs and the fields that tiers use.

    `is_whole`: every record of both sides takes part. `by_join`: strong keys are joined, as Spark does best, not grouped.
    """

    prefix: str
    left: SourceSpec
    right: SourceSpec
    used: tuple[str, ...] = field(default=())
    is_whole: bool = True
    by_join: bool = False
    facts: Facts = NOTHING_KNOWN

    @property
    def decimals(self) -> int:
        """Decimals of the minor unit."""
        return self.left.fields["amount"].decimals

    def declared(self, name: str) -> FieldSpec:
        """How a field is declared, by the left side when both have it."""
        return self.left.fields.get(name) or self.right.fields[name]

    def column(self, name: str) -> str:
        """Column of a field among the records; `direction` is the sign of the amount."""
        return "direction" if name == "direction" else column(name, self.declared(name))

    def columns(self) -> list[str]:
        """All columns of the records of this scene."""
        return [*FIXED, *(self.column(name) for name in self.used if name not in OWN_COLUMN)]

    def side_columns(self, source: SourceSpec) -> str:
        """Select list of one side's records; a field that the side lacks is null."""
        return ", ".join(
            self.column(name)
            if name in source.fields
            else f"cast(null as {SQL_TYPES[self.declared(name).type]}) as {self.column(name)}"
            for name in self.used
            if name not in OWN_COLUMN
        )


def literal(text: str) -> str:
    """A text of a spec as a literal that both engines read alike: a backslash is an escape in Spark's and none in DuckDB's.

    >>> literal("it's")
    "'it''s'"
    """
    return " || chr(92) || ".join("'" + part.replace("'", "''") + "'" for part in text.split("\\"))


def keys_of(scene: Scene, names: Sequence[str], alias: str = "") -> list[str]:
    """Expressions of key fields."""
    dot = f"{alias}." if alias else ""
    return [dot + scene.column(name) for name in names]


def listed(expressions: Sequence[str]) -> str:
    """Expressions named k0, k1, … for a select list."""
    return ", ".join(f"{expression} as k{place}" for place, expression in enumerate(expressions))


def key_names(size: int) -> list[str]:
    """Names that `listed` gives."""
    return [f"k{place}" for place in range(size)]


def equal(left: Sequence[str], right: Sequence[str]) -> str:
    """Condition that all pairs of expressions are equal."""
    return " and ".join(f"{one} = {other}" for one, other in zip(left, right, strict=True))


def all_given(expressions: Sequence[str]) -> str:
    """Condition that no expression is null."""
    return " and ".join(f"{expression} is not null" for expression in expressions)


def reference(expressions: Sequence[str]) -> str:
    """A text that two keys share only when all their parts are equal."""
    return "concat_ws(chr(31), " + ", ".join(f"cast({expression} as string)" for expression in expressions) + ")"


def ids(side: str) -> str:
    """Aggregate: the ids of one side in order, with ';' between them."""
    return f"array_join(array_sort(array_agg(record_id) filter (where side = '{side}')), ';')"


def within(tolerance: Tolerance, decimals: int, left: str, right: str) -> str:
    """Condition that two amounts lie within a tolerance; exact in integers."""
    absolute, ppm = tolerance.abs_minor(decimals), tolerance.rel_ppm
    if not absolute and not ppm:
        return f"{left} = {right}"
    near = f"abs({left} - {right}) <= {absolute}"
    if not ppm:
        return near
    base = {"left": f"abs({left})", "right": f"abs({right})", "max": f"greatest(abs({left}), abs({right}))"}[tolerance.base]
    scaled = f"cast(abs({left} - {right}) as decimal(19,0)) * cast({PPM} as decimal(7,0))"
    return f"({near} or {scaled} <= cast({base} as decimal(19,0)) * cast({ppm} as decimal(7,0)))"


def is_tolerant(tolerance: Tolerance, decimals: int) -> bool:
    """Whether a tolerance allows any difference."""
    return bool(tolerance.abs_minor(decimals) or tolerance.rel_ppm)


def inside(window: Window | None, left: str, right: str) -> str:
    """Condition that the right ordinal lies in the window around the left one; without a window any day will do."""
    return "true" if window is None else f"{right} - {left} between {-window.before} and {window.after}"


def match(**columns: str) -> str:
    """Select list of MATCH_COLUMNS from expressions."""
    casts = {
        "tier_no": "int",
        "left_count": "bigint",
        "right_count": "bigint",
        "left_minor": "bigint",
        "right_minor": "bigint",
        "score": "int",
    }
    return ", ".join(f"cast({columns[name]} as {casts.get(name, 'string')}) as {name}" for name in MATCH_COLUMNS)
