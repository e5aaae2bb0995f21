"""A receiver's acknowledgement: which of our files it took, and which it refused and why (contracts section 3)."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from domain.errors import BadInput

MARK, FORMAT_VERSION = "#ACKNOWLEDGEMENT", "1"
COLUMNS = ("file_name", "sha256", "verdict", "reason")
VERDICTS = ("ACKNOWLEDGED", "REJECTED")
_BYTES_MAX = 4 * 1024 * 1024
_SHA = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Answer:
    """What a receiver says of one file; `reason` is there when it rejects."""

    line_no: int
    file_name: str
    sha256: str
    verdict: str
    reason: str | None


@dataclass(frozen=True)
class Acknowledgement:
    """The answers of one receiver in one file."""

    receiver_id: str
    answers: tuple[Answer, ...]


def read_acknowledgement(path: Path) -> Acknowledgement:
    """Read ``#ACKNOWLEDGEMENT,1,RECEIVER``, the column names and a line a file.

    BadInput: it is anything else; the sentence names the line. Nothing of such a file counts.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or size > _BYTES_MAX:
            raise BadInput(f"{path.name} is not a file of at most {_BYTES_MAX} bytes")
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8")), strict=True))
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path.name} is not UTF-8 with comma separated values ({error})") from None
    if not rows or rows[0][:2] != [MARK, FORMAT_VERSION] or len(rows[0]) != 3 or not rows[0][2]:
        raise BadInput(f"{path.name}: line 1 is not {MARK},{FORMAT_VERSION},RECEIVER")
    if len(rows) < 3 or tuple(rows[1]) != COLUMNS:
        raise BadInput(f"{path.name}: line 2 is not {','.join(COLUMNS)}, with a line a file behind it")
    return Acknowledgement(rows[0][2], tuple(_answer(path.name, number, row) for number, row in enumerate(rows[2:], start=3)))


def _answer(name: str, number: int, row: list[str]) -> Answer:
    if len(row) != len(COLUMNS):
        raise BadInput(f"{name}: line {number} has {len(row)} fields, {len(COLUMNS)} are declared")
    file_name, sha256, verdict, reason = row
    if not _SHA.fullmatch(sha256):
        raise BadInput(f"{name}: line {number}: {sha256[:80]!r} is not a sha256 of 64 lower case hex digits")
    if verdict not in VERDICTS:
        raise BadInput(f"{name}: line {number}: the verdict is {' or '.join(VERDICTS)}, not {verdict[:40]!r}")
    if verdict == "REJECTED" and not reason.strip():
        raise BadInput(f"{name}: line {number}: {file_name} is rejected without a reason")
    if len(reason) > 500:
        raise BadInput(f"{name}: line {number}: the reason is longer than 500 characters")
    return Answer(number, file_name, sha256, verdict, reason.strip() or None)
