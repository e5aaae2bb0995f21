"""Parquet files whose columns already are what the spec asks for, landed by one SELECT of the engine instead of by Arrow.

Only text, whole amounts, dates and constants as they stand are plain; whatever needs a normaliser, a format or a reason for the
quarantine is read by `recon.landing`, which is the measure of what comes out here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from domain.money import MAX_AMOUNT_MINOR
from recon.landing import OWN_COLUMN, column, has_text_id, schema
from recon.spec import FieldSpec, SourceSpec, Spec
from recon.tiers.scene import literal
from recon.working_days import EVERY_DAY

CALENDAR = "working_day"
"""View of the spec's calendar: day, ordinal."""
_GLOB = frozenset("*?[]{}")


def columns_of(paths: Sequence[Path], source: SourceSpec) -> Mapping[str, pa.DataType] | None:
    """Types of the columns that all files share, or None when the files are not Parquet of one shape."""
    if source.format != "parquet" or not paths or any(_GLOB & set(str(path)) for path in paths):
        return None
    try:
        shapes = [{one.name: one.type for one in pq.read_schema(path)} for path in paths]
    except (pa.ArrowInvalid, OSError):
        return None
    return shapes[0] if all(shape == shapes[0] for shape in shapes) else None


def names(source: SourceSpec) -> dict[str, str]:
    """What a file's columns are called among raw rows, whatever marks their own names hold."""
    wanted = dict.fromkeys(declared.column for declared in source.fields.values() if declared.column is not None)
    return {name: f"c{place}" for place, name in enumerate(wanted)}


def select(raw: str, file_no: int, source: SourceSpec, spec: Spec, types: Mapping[str, pa.DataType]) -> str | None:
    """SELECT of the canonical columns of `recon.landing` from one file, whose raw rows have `names` and `line_index` from 0;
    None when a field is not plain."""
    made: dict[str, str] = {}
    for name, declared in source.fields.items():
        expression = _plain(declared, types, names(source))
        if expression is None:
            return None
        made[name] = expression
    if spec.cutoff is not None and "time" in source.fields:
        return None
    day = made.get("date")
    known = {
        "record_id": "cast(null as string)",
        "file_no": f"cast({file_no} as int)",
        "line_no": "cast(p.line_index + 1 as bigint)",
        "business_date": day or "cast(null as date)",
        "ordinal": _ordinal(spec, day),
        "near_cutoff": "false",
    } | {column(name, source.fields[name]): expression for name, expression in made.items()}
    listed = ", ".join(f"{known[name]} as {name}" for name in schema(source).names)
    joined = "" if day is None or spec.calendar == EVERY_DAY else f" left join {CALENDAR} as c on c.day = {day}"
    return f"select {listed} from {raw} as p{joined}"


def _plain(declared: FieldSpec, types: Mapping[str, pa.DataType], called: Mapping[str, str]) -> str | None:
    if declared.constant is not None and declared.type == "text":
        return literal(declared.constant)
    given = types.get(declared.column or "")
    if given is None or declared.sign is not None:
        return None
    name = f"p.{called[str(declared.column)]}"
    match declared.type:
        case "text" if not declared.normalise and (pa.types.is_string(given) or pa.types.is_large_string(given)):
            return f"nullif({name}, '')"
        case "amount" if pa.types.is_signed_integer(given) and (declared.unit == "minor" or not declared.decimals):
            return f"{'-' if declared.negate else ''}cast({name} as bigint)"
        case "date" if pa.types.is_date32(given):
            return name
        case _:
            return None


def _ordinal(spec: Spec, day: str | None) -> str:
    if day is None:
        return "cast(null as int)"
    return f"cast({day} - date '1970-01-01' as int)" if spec.calendar == EVERY_DAY else "c.ordinal"


def kept(source: SourceSpec) -> str:
    """Condition that a landed row takes part."""
    tests = [
        f"{column(keep.field, source.fields[keep.field])} in ({', '.join(map(literal, keep.values))})" for keep in source.keep
    ]
    return " and ".join(tests) or "true"


def statement(raws: Sequence[str], paths: Sequence[Path], source: SourceSpec, spec: Spec) -> str | None:
    """SELECT of the canonical columns of all files of a side, each under its name in the engine; None when they are not plain."""
    types = columns_of(paths, source)
    if types is None:
        return None
    parts = [select(raw, number, source, spec, types) for number, raw in enumerate(raws)]
    return " union all ".join(part for part in parts if part) if all(parts) else None


def rows(paths: Sequence[Path]) -> int:
    """Rows of Parquet files, as they say themselves."""
    return sum(pq.read_metadata(path).num_rows for path in paths)


def escaped(source: SourceSpec) -> str:
    """Condition that an id holds the mark that stands between ids."""
    return " or ".join(f"contains({column(name, source.fields[name])}, ';')" for name in source.id) or "false"


def faults(source: SourceSpec) -> str:
    """Condition that a landed row belongs in the quarantine: then Arrow reads the files again and says why."""
    tests = [f"amount_minor is null or abs(amount_minor) > {MAX_AMOUNT_MINOR} or currency is null"]
    if "date" in source.fields:
        tests.append("business_date is null or ordinal is null")
    tests += [
        f"{column(name, declared)} is null"
        for name, declared in source.fields.items()
        if declared.required and name not in OWN_COLUMN
    ]
    tests += [
        f"abs({column(name, declared)}) > {MAX_AMOUNT_MINOR}"
        for name, declared in source.fields.items()
        if declared.type == "amount" and name not in OWN_COLUMN
    ]
    return " or ".join(tests)


def own_id(source: SourceSpec, *, plain_ids: bool) -> str | None:
    """The id that a record has by its text fields, or None when landing itself had to make it."""
    if not has_text_id(source):
        return None
    joined = " || '|' || ".join(column(name, source.fields[name]) for name in source.id)
    # ids are listed with ';' between them
    return joined if plain_ids else f"replace({joined}, ';', '%3B')"
