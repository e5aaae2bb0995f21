"""One side's files to canonical records by its spec: good rows as Arrow batches, bad rows to the quarantine with their reasons.

Columns: record_id (null when the spec gives none or text fields say it), file_no, line_no, amount_minor, currency,
  business_date, ordinal
(working days up to it), near_cutoff; then each declared field as f_NAME (text), m_NAME (minor units), d_NAME (date), t_NAME
  (UTC).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import BadInput
from recon import reasons, values, working_days
from recon.reasons import Reason
from recon.sources import READERS, Block, RowFault
from recon.spec import FieldSpec, SourceSpec, Spec

PREFIX = {"text": "f_", "amount": "m_", "date": "d_", "time": "t_"}
TYPES = {"text": pa.string(), "amount": pa.int64(), "date": pa.date32(), "time": values.TIME}
OWN_COLUMN = {"amount": "amount_minor", "currency": "currency", "date": "business_date"}
"""Fields that every tier reads have columns of their own."""
_MINUTES_A_DAY = 1440


@dataclass
class Landed:
    """What a side's files held, counted while they are read."""

    files: list[str] = field(default_factory=list)
    rows: int = 0
    left_out: int = 0
    faults: list[RowFault] = field(default_factory=list)
    quarantined: int = 0
    plain_ids: bool = True
    is_in_place: bool = False
    """Whether the files stay where they are and the engine reads them itself."""
    sequences: dict[str, dict[str, int]] = field(default_factory=dict)


def has_text_id(source: SourceSpec) -> bool:
    """Whether a record's id is in the columns of its text fields, so that nobody needs to keep it twice."""
    return bool(source.id) and all(source.fields[name].type == "text" for name in source.id)


def column(name: str, declared: FieldSpec) -> str:
    """Name of a field's canonical column."""
    return OWN_COLUMN.get(name) or PREFIX[declared.type] + name


def schema(source: SourceSpec) -> pa.Schema:
    """Canonical columns of a side."""
    fixed = [
        ("record_id", pa.string()), ("file_no", pa.int32()), ("line_no", pa.int64()), ("amount_minor", pa.int64()),
        ("currency", pa.string()), ("business_date", pa.date32()), ("ordinal", pa.int32()), ("near_cutoff", pa.bool_()),
    ]  # fmt: skip
    others = [
        (column(name, declared), TYPES[declared.type]) for name, declared in source.fields.items() if name not in OWN_COLUMN
    ]
    return pa.schema(fixed + others)


def land(paths: Sequence[Path], source: SourceSpec, spec: Spec, cutoff_minutes: int, landed: Landed) -> Iterator[pa.RecordBatch]:
    """Canonical batches of a side's files, in their order; `landed` counts and keeps faults as they are met."""
    reader = READERS.get(source.format)
    if reader is None:
        raise BadInput(f"there is no reader for format {source.format!r}; known are {', '.join(sorted(READERS))}")
    wanted = _wanted(source)
    for number, path in enumerate(paths):
        landed.files.append(path.name)
        for block in reader(path, source, wanted):
            yield from _canonical(block, number, path.name, source, spec, cutoff_minutes, landed)


def _wanted(source: SourceSpec) -> tuple[str, ...]:
    names: list[str] = []
    for declared in source.fields.values():
        names += [name for name in (declared.column, declared.sign.column if declared.sign else None) if name]
    return tuple(dict.fromkeys(names))


def _canonical(
    block: Block, file_no: int, file: str, source: SourceSpec, spec: Spec, cutoff_minutes: int, landed: Landed
) -> Iterator[pa.RecordBatch]:
    size = len(block.lines)
    landed.rows += size + len(block.broken)
    _keep_faults(landed, block.broken)
    if not size:
        return
    raw = {name: _one_array(block.table[name]) for name in block.table.column_names}
    made, faults = _fields(raw, source, spec, size)
    ordinal = working_days.ordinals(spec.calendar, made["date"]) if "date" in made else pa.nulls(size, pa.int32())
    if "date" in made:
        outside = pc.and_(pc.is_valid(made["date"]), pc.is_null(ordinal))
        faults.append(("date", outside, reasons.outside(spec.calendar)))
    bad = _none(size)
    for _, mask, _ in faults:
        bad = pc.or_(bad, mask)
    if pc.any(bad).as_py():
        _keep_faults(landed, _row_faults(block, file, faults), pc.sum(bad).as_py())
    columns = _columns(made, ordinal, block, file_no, source, spec, cutoff_minutes, landed)
    batch = pa.RecordBatch.from_arrays(columns, schema=schema(source))
    kept = _kept(made, source, size)
    landed.left_out += pc.sum(pc.and_(pc.invert(kept), pc.invert(bad))).as_py() or 0
    good = pc.and_(kept, pc.invert(bad))
    yield batch if pc.all(good).as_py() else batch.filter(good)


def _one_array(chunked: pa.ChunkedArray) -> pa.Array:
    joined = chunked.combine_chunks()
    return joined.cast(joined.type.value_type) if pa.types.is_dictionary(joined.type) else joined


def _none(size: int) -> pa.Array:
    return pa.repeat(pa.scalar(False), size)


def _fields(
    raw: dict[str, pa.Array], source: SourceSpec, spec: Spec, size: int
) -> tuple[dict[str, pa.Array], list[tuple[str, pa.Array, Reason]]]:
    """Values of every field, and the masks of bad rows with the name of the column and the reason."""
    made: dict[str, pa.Array] = {}
    faults: list[tuple[str, pa.Array, Reason]] = []
    for name, declared in source.fields.items():
        given = declared.column or name
        parsed = _parsed(raw, made, declared, spec, size)
        made[name] = parsed.values
        faults.append((given, parsed.bad, parsed.reason))
        if declared.required or name in {"amount", "currency", "date"}:
            faults.append((given, pc.and_(pc.is_null(parsed.values), pc.invert(parsed.bad)), reasons.REQUIRED))
    return made, faults


def _parsed(raw: dict[str, pa.Array], made: dict[str, pa.Array], declared: FieldSpec, spec: Spec, size: int) -> values.Parsed:
    zone = declared.zone or spec.zone
    if declared.column is not None:
        return _read(raw[declared.column], raw, declared, zone)
    if declared.sequence is not None:
        # staging finds it when all records are there
        found = pa.nulls(size, pa.string())
    elif declared.constant is not None:
        found = pa.repeat(pa.scalar(declared.constant), size)
    elif declared.sum is not None:
        found = _signed(_total(made, declared.sum, size), declared, raw)
    elif declared.rate is not None:
        found = _signed(values.share(made[declared.rate.of], declared.rate), declared, raw)
    else:
        found = _business_date(made[declared.business_date_of or ""], zone, spec.cutoff)
    return values.Parsed(found, _none(size), reasons.NONE)


def _total(made: dict[str, pa.Array], factors: dict[str, int], size: int) -> pa.Array:
    total = pa.repeat(pa.scalar(0, pa.int64()), size)
    for name, factor in factors.items():
        total = pc.add(total, pc.multiply(made[name], factor))
    return total


def _read(column_values: pa.Array, raw: dict[str, pa.Array], declared: FieldSpec, zone: str) -> values.Parsed:
    match declared.type:
        case "text":
            return values.Parsed(values.text(column_values, declared.normalise), _none(len(column_values)), reasons.NONE)
        case "amount":
            parsed = values.amount(column_values, declared)
            return values.Parsed(_signed(parsed.values, declared, raw), parsed.bad, parsed.reason)
        case "date":
            return values.day(column_values, declared)
        case "time":
            return values.moment(column_values, declared, zone)


def _signed(minor: pa.Array, declared: FieldSpec, raw: dict[str, pa.Array]) -> pa.Array:
    if declared.sign is not None:
        words = values.text(raw[declared.sign.column], ["trim"])
        negative = pc.is_in(words, value_set=pa.array(declared.sign.negative))
        minor = pc.if_else(negative, pc.negate(minor), minor)
    return pc.negate(minor) if declared.negate else minor


def _business_date(moments: pa.Array, zone: str, cutoff: time | None) -> pa.Array:
    local = _local(moments, zone)
    days = pc.cast(pc.cast(local, pa.date32(), safe=False), pa.int32())
    if cutoff is not None:
        late = pc.greater_equal(_minutes(local), cutoff.hour * 60 + cutoff.minute)
        days = pc.add(days, pc.cast(late, pa.int32()))
    return pc.cast(days, pa.date32())


def _local(moments: pa.Array, zone: str) -> pa.Array:
    return pc.local_timestamp(pc.cast(moments, pa.timestamp("us", tz=zone)))


def _minutes(local: pa.Array) -> pa.Array:
    return pc.add(pc.multiply(pc.hour(local), 60), pc.minute(local))


def _near_cutoff(made: dict[str, pa.Array], source: SourceSpec, spec: Spec, minutes_max: int, size: int) -> pa.Array:
    """Records with a `time` within so many minutes of the cut-off, on either side of it."""
    if spec.cutoff is None or not minutes_max or "time" not in made:
        return _none(size)
    minutes = _minutes(_local(made["time"], source.fields["time"].zone or spec.zone))
    apart = pc.abs(pc.subtract(minutes, spec.cutoff.hour * 60 + spec.cutoff.minute))
    around = pc.min_element_wise(apart, pc.subtract(pa.scalar(_MINUTES_A_DAY, pa.int64()), apart), skip_nulls=False)
    return pc.fill_null(pc.less_equal(around, minutes_max), False)


def _columns(
    made: dict[str, pa.Array],
    ordinal: pa.Array,
    block: Block,
    file_no: int,
    source: SourceSpec,
    spec: Spec,
    minutes_max: int,
    landed: Landed,
) -> list[pa.Array]:
    size = len(block.lines)
    return [
        _record_id(made, source, size, landed),
        pa.repeat(pa.scalar(file_no, pa.int32()), size),
        block.lines,
        made["amount"],
        made["currency"],
        made.get("date", pa.nulls(size, pa.date32())),
        ordinal,
        _near_cutoff(made, source, spec, minutes_max, size),
        *(made[name] for name in source.fields if name not in OWN_COLUMN),
    ]


def _record_id(made: dict[str, pa.Array], source: SourceSpec, size: int, landed: Landed) -> pa.Array:
    if not source.id:
        return pa.nulls(size, pa.string())
    parts = [pc.cast(made[name], pa.string()) for name in source.id]
    if has_text_id(source):
        landed.plain_ids = landed.plain_ids and not any(pc.any(pc.match_substring(part, ";")).as_py() for part in parts)
        return pa.nulls(size, pa.string())
    joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "|")
    # ids are listed with ';' between them
    if not pc.any(pc.match_substring(joined, ";")).as_py():
        return joined
    landed.plain_ids = False
    return pc.replace_substring(joined, ";", "%3B")


def _kept(made: dict[str, pa.Array], source: SourceSpec, size: int) -> pa.Array:
    kept = pc.invert(_none(size))
    for keep in () if source.has_sequence else source.keep:
        kept = pc.and_(kept, pc.is_in(made[keep.field], value_set=pa.array(keep.values)))
    return kept


def _row_faults(block: Block, file: str, faults: list[tuple[str, pa.Array, Reason]]) -> list[RowFault]:
    """One entry a fault; only bad rows are touched one by one."""
    found = [
        RowFault.of(file, block.lines[index].as_py(), name, reason, block.raw(index))
        for name, mask, reason in faults
        if reason.en and pc.any(mask).as_py()
        for index in pc.indices_nonzero(mask).to_pylist()
    ]
    return sorted(found, key=lambda fault: (fault.line, fault.column))


def _keep_faults(landed: Landed, faults: list[RowFault], rows: int | None = None) -> None:
    landed.faults += faults
    landed.quarantined += len(faults) if rows is None else rows
