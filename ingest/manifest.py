"""A sender's manifest of a business date: the files it says it sent, with their figures (contracts section 3)."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from ingest.stream import FileFault

FILE_NAME = "manifest.csv"
COLUMNS = ("platform_id", "file_kind", "file_name", "sha256", "row_count", "control_sum", "sequence_no")
_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Promise:
    """One line of a manifest."""

    platform_id: str
    kind: str
    file_name: str
    sha256: str
    row_count: int
    control_sum: int
    sequence_no: int


@dataclass(frozen=True)
class Manifest:
    """The lines of a manifest by file name; `fault` says why none of it can be trusted, in one sentence."""

    promises: dict[str, Promise] = field(default_factory=dict)
    fault: str | None = None


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; whatever it holds, the answer is a Manifest, at worst one with a fault."""
    try:
        return Manifest(_promises(path))
    except FileFault as fault:
        return Manifest(fault=f"manifest {path.parent.name}/{FILE_NAME}: {fault.sentence}")


def _promises(path: Path) -> dict[str, Promise]:
    if path.stat().st_size > _BYTES_MAX:
        raise FileFault("SCHEMA", f"it is larger than {_BYTES_MAX} bytes")
    try:
        text = path.read_bytes().decode("utf-8")
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFault("ENCODING", f"it is not UTF-8 with comma separated values ({error})") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise FileFault("SCHEMA", f"its first line is not {','.join(COLUMNS)}")
    promises: dict[str, Promise] = {}
    for number, row in enumerate(rows[1:], start=2):
        promise = _promise(number, row)
        if promises.setdefault(promise.file_name, promise) != promise:
            raise FileFault("SCHEMA", f"line {number} names {promise.file_name} a second time with other figures")
    return promises


def _promise(number: int, row: list[str]) -> Promise:
    if len(row) != len(COLUMNS):
        raise FileFault("SCHEMA", f"line {number} has {len(row)} fields, {len(COLUMNS)} are declared")
    try:
        figures = tuple(int(text) for text in row[4:])
    except ValueError:
        raise FileFault("SCHEMA", f"line {number}: row count, control sum and sequence number must be integers") from None
    return Promise(row[0], row[1], row[2], row[3].lower(), *figures)
