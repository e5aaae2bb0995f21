"""Evidence rows that travel with a figure set: the snapshots of one platform and date, as CSV with people as tokens only.

A file is gzip without a time stamp, rows sorted by their key, LF, header first: the same rows give the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from domain.errors import CheckFailed
from lake.tables import TABLES

LOANS, CLAIMS = "loan_snapshot", "claim_snapshot"
_NOT_FOR_REPORTS = {"run_id", "borrower_customer_no", "lender_customer_no"}
KEYS = {LOANS: "loan_no", CLAIMS: "claim_no"}


@dataclass(frozen=True)
class EvidenceFile:
    """One evidence file: its path in the bundle, its rows and the sha256 of its text (not of the gzip bytes)."""

    path: str
    rows: int
    rows_sha256: str


@dataclass(frozen=True)
class Evidence:
    """The rows of a bundle, as text, and their files by table."""

    loans: list[dict[str, str]]
    claims: list[dict[str, str]]
    files: dict[str, EvidenceFile]


def columns(table: str) -> tuple[str, ...]:
    """Columns of an evidence file: the snapshot's without customer numbers and run."""
    return tuple(column for column in TABLES[table].columns if column not in _NOT_FOR_REPORTS)


def write(folder: Path, table: str, rows: Iterable[dict[str, Any]]) -> EvidenceFile:
    """Write the rows of `table` to ``rows/TABLE.csv.gz`` below `folder`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = columns(table)
    writer.writerow(names)
    ordered = sorted(rows, key=lambda row: str(row[KEYS[table]]))
    writer.writerows([_cell(row[name]) for name in names] for row in ordered)
    content = text.getvalue().encode()
    path = f"rows/{table}.csv.gz"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(gzip.compress(content, 6, mtime=0))
    return EvidenceFile(path, len(ordered), sha256(content).hexdigest())


def read_all(folder: Path) -> Evidence:
    """Both evidence files of a bundle; CheckFailed when one cannot be read."""
    loans, loan_file = read(folder, LOANS)
    claims, claim_file = read(folder, CLAIMS)
    return Evidence(loans, claims, {LOANS: loan_file, CLAIMS: claim_file})


def read(folder: Path, table: str) -> tuple[list[dict[str, str]], EvidenceFile]:
    """Rows of an evidence file and what it is; CheckFailed when it cannot be read or has other columns."""
    path = f"rows/{table}.csv.gz"
    try:
        content = gzip.decompress((folder / path).read_bytes())
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise CheckFailed(f"{path}: cannot be read: {error}") from error
    header = content.split(b"\n", 1)[0].decode(errors="replace")
    if header != ",".join(columns(table)) or any(None in row or None in row.values() for row in rows):
        raise CheckFailed(f"{path}: not the columns of {table}")
    return rows, EvidenceFile(path, len(rows), sha256(content).hexdigest())


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value
