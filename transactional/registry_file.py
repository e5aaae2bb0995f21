"""Batch upsert from a CSV file (row 0.6): each bad row is one sentence and one line of a quarantine file, the good rows go on.

The file is read in parts of 5,000 rows, each its own transaction: a run that was killed is run again, and what is there is
UNCHANGED.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from domain.errors import BadInput, ServiceMissing
from fundwatch.settings import Settings
from transactional.registry_bodies import ROWS_MAX, AccountRow, CustomerRow
from transactional.registry_upsert import ROWS_OF, checked

FIELD_LENGTH_MAX = 10_000
ACTOR = "console"
_NUMBERS = frozenset({"birth_year", "kyc_level"})
_UPSERT = """SELECT place, outcome, changes, code, field, value, key
  FROM registry.upsert(%s, %s::jsonb, %s::jsonb, (ledger.clock_now() AT TIME ZONE %s)::date, %s) ORDER BY place"""


@dataclass
class Done:
    """Rows by outcome, every changed field, a sentence a bad row, and where those rows lie."""

    counts: dict[str, int] = field(default_factory=lambda: {"new": 0, "changed": 0, "unchanged": 0, "refused": 0})
    changes: list[dict[str, Any]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    quarantine: Path | None = None


@dataclass(frozen=True)
class Line:
    """A row of the file: its first line, its cells, and what they say."""

    number: int
    cells: list[str]
    row: dict[str, Any]


def upsert_file(settings: Settings, file: Path, platform_id: str) -> Done:
    """Take a file of customers or sub-accounts in; BadInput for a file that is none, ServiceMissing without a database."""
    done = Done()
    try:
        with file.open(encoding="utf-8-sig", newline="") as text, psycopg.connect(settings.database_url("service")) as database:
            if database.execute("SELECT FROM registry.platform WHERE platform_id = %s", (platform_id,)).fetchone() is None:
                raise BadInput(f"there is no platform {platform_id}")
            csv.field_size_limit(FIELD_LENGTH_MAX)
            reader = csv.reader(text, strict=True)
            columns = next(reader, [])
            name = _kind(file, columns)
            lines = _lines(reader, columns)
            keeper = _Quarantine(settings, file, platform_id, columns)
            while part := list(islice(lines, ROWS_MAX)):
                _take(settings, database, platform_id, name, part, done, keeper)
                database.commit()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None
    except csv.Error as error:
        raise BadInput(f"{file} line {reader.line_num}: {error}") from None
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    return done


def _kind(file: Path, columns: list[str]) -> str:
    """The list a file is for, by its columns; BadInput names what is missing, strange or there twice."""
    name = "customers" if "party_ref" in columns else "accounts"
    known = {info.name: info.required for info in msgspec.structs.fields(CustomerRow if name == "customers" else AccountRow)}
    strange = [column for column in columns if column not in known or columns.count(column) > 1]
    missing = [column for column, is_required in known.items() if is_required and column not in columns]
    if strange or missing:
        raise BadInput(f"{file} line 1: columns of {name}: missing {missing}, strange or twice {sorted(set(strange))}")
    return name


def _lines(reader: Any, columns: list[str]) -> Iterator[Line]:
    number = reader.line_num + 1
    for cells in reader:
        row: dict[str, Any] = {column: _value(column, cell) for column, cell in zip(columns, cells, strict=False) if cell != ""}
        if len(cells) != len(columns):
            row = {"": f"{len(cells)} cells for {len(columns)} columns"}
        yield Line(number, cells, row)
        number = reader.line_num + 1


def _value(column: str, cell: str) -> Any:
    if column == "roles":
        return cell.split("|")
    return int(cell) if column in _NUMBERS and cell.isascii() and cell.isdigit() else cell


def _take(
    settings: Settings, database: Any, platform_id: str, name: str, part: list[Line], done: Done, keeper: _Quarantine
) -> None:
    good, refused = checked(name, [line.row for line in part])
    bad = {refusal.place: (refusal.field, refusal.detail) for refusal in refused}
    given = {kind: msgspec.json.encode(list(good.values()) if kind == name else []).decode() for kind in ROWS_OF}
    places = list(good)
    parameters = (platform_id, given["customers"], given["accounts"], str(settings.zone), ACTOR)
    for place, outcome, changes, code, where, value, key in database.execute(_UPSERT, parameters):
        done.counts[outcome.lower()] += 1
        if outcome == "REFUSED":
            bad[places[place]] = (where, f"{code} {value}")
        elif outcome == "CHANGED":
            done.changes += [{"key": key, **change} for change in changes]
    done.counts["refused"] += len(refused)
    for place, (column, detail) in sorted(bad.items()):
        line = part[place]
        reason = line.row.get("", detail)
        done.sentences.append(f"{keeper.file} line {line.number}, column {column or '-'}: {reason}")
        done.quarantine = keeper.keep(line, column, reason)


class _Quarantine:
    """The refused rows of one file, as they came, with line, column and reason after them; written anew by each run."""

    def __init__(self, settings: Settings, file: Path, platform_id: str, columns: list[str]) -> None:
        self.file = file
        with file.open("rb") as data:
            content = file_digest(data, "sha256").hexdigest()[:16]
        self._target = settings.quarantine_dir / "registry" / platform_id / f"{file.stem}-{content}.csv"
        self._columns = columns
        self._is_begun = False

    def keep(self, line: Line, column: str, reason: str) -> Path:
        """Add a row; answers where it lies."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with self._target.open("a" if self._is_begun else "w", encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            if not self._is_begun:
                writer.writerow([*self._columns, "line", "column", "reason"])
            writer.writerow([*line.cells, line.number, column, reason])
        self._is_begun = True
        return self._target
