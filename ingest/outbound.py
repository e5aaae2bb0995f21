"""Files that the bank sends, under the same control as those it receives (contracts section 3).

The rows come as a DuckDB relation and go to the file as DuckDB writes CSV: no row passes through Python.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ingest.atomic_file import sync_folder, whole
from ingest.kinds import FORMAT_VERSION
from ingest.manifest import COLUMNS, FILE_NAME

if TYPE_CHECKING:
    import duckdb

MANIFEST_COLUMNS = (*COLUMNS, "replaces_sequence_no")
_BLOCK = 4 * 1024 * 1024
_LEVEL = 6
_NAME = re.compile(r"\.?[A-Za-z0-9._:-]+\.(?:results|breaks|confirmation|notice)\.[0-9]{6,}\.csv\.gz(?:\.part)?")


@dataclass(frozen=True)
class OutboundKind:
    """One kind of outbound file: its columns in order, the one its control sum adds up, and the order of its lines."""

    kind: str
    columns: tuple[str, ...]
    sum_column: str | None
    order: tuple[str, ...]


_ALL = (
    OutboundKind(
        "results",
        ("file_kind", "line_no", "recon_id", "match_key", "amount_minor", "currency", "result", "item_ids"),
        "amount_minor",
        ("file_kind", "line_no", "recon_id"),
    ),
    OutboundKind(
        "breaks",
        (
            *("item_id", "recon_id", "code", "severity", "match_key", "account_no", "currency", "amount_minor", "effect_minor"),
            *("effects", "opened_on", "age_working_days", "action", "explanation"),
        ),
        "amount_minor",
        ("item_id",),
    ),
    OutboundKind(
        "confirmation",
        (
            *("file_kind", "file_name", "sha256", "row_count", "control_sum", "sequence_no", "verdict"),
            *("reason_code", "reason", "received_at"),
        ),
        "control_sum",
        ("file_kind", "file_name"),
    ),
    OutboundKind(
        "notice",
        ("file_kind", "file_name", "state", "reason_code", "reason", "sha256"),
        None,
        ("file_kind", "file_name"),
    ),
)
OUTBOUND_KINDS: Mapping[str, OutboundKind] = {kind.kind: kind for kind in _ALL}


@dataclass(frozen=True)
class Body:
    """The lines of a file below its header, on the disk, with their figures; `sha256` is of exactly these lines."""

    kind: str
    path: Path
    row_count: int
    control_sum: int
    sha256: str


@dataclass(frozen=True)
class Sent:
    """A file as its receiver finds it: the first line's fields and its figures. `sha256` is of the gzip file's bytes."""

    sender_id: str
    receiver_id: str
    platform_id: str
    kind: str
    business_date: date
    sequence_no: int
    replaces_sequence_no: int | None
    row_count: int
    control_sum: int
    sha256: str = ""

    @property
    def file_name(self) -> str:
        """``PLATFORM.KIND.SEQUENCE.csv.gz``: a file that replaces another has its own name, so none is overwritten."""
        return f"{self.platform_id}.{self.kind}.{self.sequence_no:06d}.csv.gz"

    @property
    def header(self) -> str:
        """The first line: as of incoming files, and behind it the number of the file it replaces (empty: none)."""
        replaces = "" if self.replaces_sequence_no is None else str(self.replaces_sequence_no)
        fields = ("#FUNDWATCH", FORMAT_VERSION, self.sender_id, self.platform_id, self.kind, self.business_date.isoformat())
        return ",".join([*map(str, fields), str(self.sequence_no), replaces])


def folder_of(outbound: Path, receiver_id: str, business_date: date) -> Path:
    """Where a receiver finds its files of a business date."""
    return outbound / receiver_id / business_date.isoformat()


def write_body(connection: duckdb.DuckDBPyConnection, kind: str, query: str, scratch: Path) -> Body:
    """The rows of `query` (it has the columns of the kind) with names and trailer as a file under `scratch`.

    Lines are in the kind's own order, so that the same rows give the same bytes. Line breaks inside a value become blanks.
    """
    declared = OUTBOUND_KINDS[kind]
    scratch.mkdir(parents=True, exist_ok=True)
    lines, path = scratch / f"{kind}.lines", scratch / f"{kind}.body"
    # an empty cell is null in our files; a line break inside a value would be a line of its own to who counts lines
    text = r"nullif(regexp_replace(cast({0} as varchar), '[\r\n\0]+', ' ', 'g'), '') as {0}"
    cells = ", ".join(text.format(name) for name in declared.columns)
    connection.execute(f"create or replace temp table outbound_row as {query}")
    summed = f"coalesce(sum(cast({declared.sum_column} as hugeint)), 0)" if declared.sum_column else "0"
    counted = connection.execute(f"select count(*), cast({summed} as varchar) from outbound_row").fetchone()
    assert counted is not None
    rows, control_sum = int(counted[0]), int(counted[1])
    order = ", ".join(f"r.{name} nulls first" for name in dict.fromkeys((*declared.order, *declared.columns)))
    ordered = f"select {cells} from outbound_row r order by {order}"
    connection.execute(f"copy ({ordered}) to '{_quoted(lines)}' (format csv, header false, nullstr '')")
    digest = hashlib.sha256()
    with path.open("wb") as body, lines.open("rb") as source:
        _hashed(body, digest, (",".join(declared.columns) + "\n").encode())
        while block := source.read(_BLOCK):
            _hashed(body, digest, block)
        _hashed(body, digest, f"#TRAILER,{rows},{control_sum}\n".encode())
    lines.unlink()
    return Body(kind, path, rows, control_sum, digest.hexdigest())


def write_file(outbound: Path, sent: Sent, body: Body) -> str:
    """Put the file where its receiver finds it, whole or not at all; gives the sha256 of its bytes, always the same ones."""
    target = folder_of(outbound, sent.receiver_id, sent.business_date) / sent.file_name
    with whole(target) as file, body.path.open("rb") as lines:
        hashing = _Hashing(file)
        # no name and no time inside: the bytes follow from the content alone
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=hashing, mtime=0) as packed:
            packed.write(sent.header.encode() + b"\n")
            shutil.copyfileobj(lines, packed, _BLOCK)
    return hashing.digest.hexdigest()


def write_manifest(outbound: Path, receiver_id: str, business_date: date, files: Iterable[Sent]) -> Path:
    """The manifest of a receiver's date, written last: a file that it does not name is not sent, and is taken away."""
    folder = folder_of(outbound, receiver_id, business_date)
    named = sorted(files, key=lambda sent: (sent.kind, sent.sequence_no))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    for sent in named:
        figures = (sent.sha256, sent.row_count, sent.control_sum, sent.sequence_no, sent.replaces_sequence_no)
        writer.writerow(["" if value is None else value for value in (sent.platform_id, sent.kind, sent.file_name, *figures)])
    target = folder / FILE_NAME
    content = text.getvalue().encode()
    if not target.is_file() or target.read_bytes() != content:
        with whole(target) as file:
            file.write(content)
    _sweep(folder, {sent.file_name for sent in named})
    return target


def sha256_of(path: Path) -> str | None:
    """Hash of a file's bytes; None when there is no such file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _sweep(folder: Path, named: set[str]) -> None:
    """Take away what a killed process left: our files without a place in the manifest, and hidden ones half written."""
    strays = [path for path in folder.iterdir() if path.name not in named and _NAME.fullmatch(path.name)]
    for path in strays:
        path.unlink()
    if strays:
        sync_folder(folder)


def _hashed(file: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    file.write(data)
    digest.update(data)


class _Hashing:
    """A binary file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
