"""The supervisory data feed (spec 01 section 1.7): one JSON envelope of one infType, its rows as typed records.

Read twice: once for the envelope, whose fields may stand behind the rows, once for the rows; neither is held. The feed does not
define `checkCode`, and public clients make it in two ways (MD5 of the timestamp, MD5 of a message), so it is not proved. The line
number of a record is its place in `dataList`. Clear identity and phone numbers are faults of a row, and such a row's text is not
kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import ijson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from ingest.statements.columns import Typed, reason, typed
from ingest.statements.delimited import record_schema
from ingest.statements.layout import Column, Layout
from ingest.statements.model import BAD_ROWS, BadRows, Event, Records
from ingest.statements.refusal import Refused
from ingest.statements.source import Content
from ingest.stream import Readable

ROWS, VALUE_BYTES_MAX, DEPTH_MAX = 8192, 1024 * 1024, 8
PRODUCTION = "1"
_CONTROL = r"[\x00-\x1f\x7f]"
# an identity number of the mainland, a mobile number
_CLEAR = r"^([0-9]{17}[0-9Xx]|[0-9]{15}|1[3-9][0-9]{9})$"
# ijson's C backend is ten times as quick and crashes the process at a number of 5,000 digits
_JSON = ijson.get_backend("python")
_ENVELOPE = ("version", "batchNum", "totalNum", "sentTime", "sourceCode", "infType", "dataType")
_FORMS = {"time": "YYYY-MM-DD HH:MM:SS", "date": "YYYY-MM-DD"}
_BATCH = re.compile(r"[0-9]{8}_?[0-9]+")


@dataclass(frozen=True)
class Entity:
    """One infType: its name, its fields as a layout, and those that must not hold clear numbers."""

    name: str
    layout: Layout
    masked: frozenset[str]


@cache
def entities() -> dict[int, Entity]:
    """The entities of the feed by their infType."""
    declared = yaml.safe_load((files("ingest.statements") / "feed.yaml").read_text(encoding="utf-8"))
    return {item["inf_type"]: _entity(item) for item in declared}


def _entity(item: dict[str, Any]) -> Entity:
    columns, masked = [], set()
    for name, said in item["fields"].items():
        word, *codes = said.split()
        kind = word.removesuffix("!")
        if kind == "masked":
            masked.add(name)
        columns.append(
            Column(
                name=name,
                means=_snake(name),
                type={"masked": "text", "code": "text"}.get(kind, kind),
                form=_FORMS.get(kind),
                required=word.endswith("!"),
                one_of=codes or None,
            )
        )
    layout = Layout(
        layout=f"feed_{item['entity']}", version=1, target="records", columns=columns, bad_rows="quarantine", currency="CNY"
    )
    return Entity(item["entity"], layout, frozenset(masked))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def read(content: Content) -> Iterator[Event]:
    """The rows of a file of the feed; refuses what its envelope does not bear out."""
    envelope, count = _envelope(content)
    entity = _checked(content, envelope, count)
    with content.opened() as stream:
        rows: list[dict[str, str | None]] = []
        first = 1
        for row in _rows(content, stream):
            rows.append(row)
            if len(rows) == ROWS:
                yield from _landed(content, entity, rows, first)
                rows, first = [], first + ROWS
        if rows:
            yield from _landed(content, entity, rows, first)


class _Watched:
    """A stream that ends at a value without end: what is read between two events of the parser is bounded."""

    def __init__(self, stream: Readable) -> None:
        self.stream, self.since = stream, 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        self.since += max(size, 0)
        # the parser sees the end of the file here: an error thrown through it would leave its generators open
        return b"" if self.is_endless else self.stream.read(size)

    @property
    def is_endless(self) -> bool:
        """Whether a value came that is longer than any may be."""
        return self.since > VALUE_BYTES_MAX


def _events(content: Content, stream: Readable) -> Iterator[tuple[str, str, Any]]:
    watched, depth = _Watched(stream), 0
    try:
        for prefix, event, value in _JSON.parse(watched, buf_size=64 * 1024):
            watched.since = 0
            depth += {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}.get(event, 0)
            if depth > DEPTH_MAX:
                raise Refused("HOSTILE", content.place, f"values lie more than {DEPTH_MAX} deep in each other")
            yield prefix, event, value
    except ijson.IncompleteJSONError:
        if watched.is_endless:
            raise Refused("SIZE", content.place, f"a value is longer than {VALUE_BYTES_MAX} bytes") from None
        raise Refused("TRUNCATED", content.place, "the JSON ends early: the file was cut off") from None
    except (ijson.JSONError, ValueError, ArithmeticError) as error:
        raise Refused("SCHEMA", content.place, f"this is no JSON ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _envelope(content: Content) -> tuple[dict[str, str], int]:
    """Plain values of the envelope, and how many rows it has."""
    found: dict[str, str] = {}
    count = 0
    with content.opened() as stream:
        for prefix, event, value in _events(content, stream):
            if prefix == "dataList.item" and event == "start_map":
                count += 1
            elif prefix in _ENVELOPE and event in {"string", "number"}:
                if prefix in found:
                    raise Refused("SCHEMA", content.place, f"the envelope says {prefix} twice")
                found[prefix] = str(value)
    return found, count


def _checked(content: Content, envelope: dict[str, str], count: int) -> Entity:
    missing = [name for name in _ENVELOPE if name not in envelope]
    if missing:
        raise Refused("SCHEMA", content.place, f"the envelope lacks {', '.join(missing)}")
    kind = envelope["infType"]
    if not kind.isascii() or not kind.isdigit() or int(kind) not in entities():
        raise Refused("SCHEMA", content.place, f"the infType {kind[:20]!r} is not one of the feed's")
    if envelope["dataType"] != PRODUCTION:
        raise Refused("SCHEMA", content.place, f"the dataType {envelope['dataType'][:20]!r} is not production's ({PRODUCTION})")
    source, behind = f"{envelope['sourceCode']}_", envelope["batchNum"]
    if not behind.startswith(source) or not _BATCH.fullmatch(behind.removeprefix(source)):
        raise Refused("SCHEMA", content.place, "batchNum is not sourceCode, date and milliseconds")
    if envelope["totalNum"] != str(count):
        raise Refused("ROW_COUNT", content.place, f"totalNum says {envelope['totalNum'][:20]} rows, {count} came")
    return entities()[int(kind)]


def _rows(content: Content, stream: Readable) -> Iterator[dict[str, str | None]]:
    """The rows as texts; a value that is a list or an object stands as one that no field can be."""
    row: dict[str, str | None] | None = None
    for prefix, event, value in _events(content, stream):
        if prefix == "dataList.item":
            if event == "start_map":
                row = {}
            elif event == "end_map" and row is not None:
                yield row
                row = None
            elif event != "map_key":
                raise Refused("SCHEMA", content.place, "a row of dataList is no object")
        elif row is not None and prefix.startswith("dataList.item."):
            name = prefix[len("dataList.item.") :]
            if "." in name:
                name = name.partition(".")[0]
                row[name] = _NESTED
            elif event in {"start_map", "start_array"}:
                row[name] = _NESTED
            elif event in {"string", "number", "boolean", "null"}:
                row[name] = None if value is None or value == "" else str(value)


_NESTED = "\x00"


def _landed(content: Content, entity: Entity, rows: list[dict[str, str | None]], first: int) -> Iterator[Event]:
    layout = entity.layout
    texts = {column.name: pa.array([row.get(column.name) for row in rows], pa.string()) for column in layout.columns}
    made: dict[str, Typed] = {}
    clear = pa.array(np.zeros(len(rows), dtype=bool))
    bad = clear
    for column in layout.columns:
        one = typed(layout, column, texts[column.name], "CNY", content.limits)
        # a nested value's mark is a control character itself
        faults = pc.or_(one.bad, pc.fill_null(pc.match_substring_regex(texts[column.name], _CONTROL), False))
        if column.name in entity.masked:
            is_clear = pc.fill_null(pc.match_substring_regex(texts[column.name], _CLEAR), False)
            clear, faults = pc.or_(clear, is_clear), pc.or_(faults, is_clear)
        made[column.name] = Typed(one.values, faults)
        bad = pc.or_(bad, faults)
    schema = record_schema(layout)
    numbers = pa.array(np.arange(first, first + len(rows), dtype=np.int64))
    arrays = [pa.repeat(pa.scalar(content.sha256), len(rows)), numbers, *(made[column.name].values for column in layout.columns)]
    good = pa.RecordBatch.from_arrays(arrays, schema=schema).filter(pc.invert(bad))
    if len(good):
        yield Records(good)
    found = [
        {
            "file_name": content.file_name,
            "line_no": first + at,
            "column_name": column.name,
            "reason": _reason(entity, column, rows[at].get(column.name), clear[at].as_py()),
            "raw": None if clear[at].as_py() else str({key: value for key, value in rows[at].items() if value != _NESTED})[:2000],
        }
        for column in layout.columns
        for at in pc.indices_nonzero(made[column.name].bad).to_pylist()
    ]
    if found:
        yield BadRows(pa.RecordBatch.from_pylist(found, schema=BAD_ROWS))


def _reason(entity: Entity, column: Column, text: str | None, is_clear: bool) -> str:
    if text == _NESTED:
        return f"{column.name} is a list or an object, not a plain value"
    if text is not None and re.search(_CONTROL, text):
        return f"{column.name} holds a control character"
    if column.name in entity.masked and is_clear:
        return f"{column.name} holds a clear number where a masked one was due"
    return reason(entity.layout, column, text)
