"""Why a file, a statement or a row does not land: a code, one sentence, and the place."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import BadInput


@dataclass(frozen=True)
class Place:
    """Where in a file: its name, the line and the column, both counted from 1 (0: the file as a whole)."""

    file_name: str
    line_no: int = 0
    column_no: int = 0

    def __str__(self) -> str:
        if not self.line_no:
            return self.file_name
        return f"{self.file_name}, line {self.line_no}" + (f", column {self.column_no}" if self.column_no else "")


class Refused(BadInput):
    """A file is refused whole; nothing of it lands (break B24, spec 07 section 7.4).

    `code` is one of ARCHIVE, BALANCE, BINARY, CONTROL_TOTAL, CURRENCY, DATE, DUPLICATE, EMPTY, ENCODING, HASH, HOSTILE,
    ROW_COUNT, SCHEMA, SEQUENCE, SIZE, TRUNCATED, UNKNOWN_FORMAT. For example
    ``Refused("DATE", Place("a.sta", 7, 5), "260230 is not a date of the calendar")``.
    """

    def __init__(self, code: str, place: Place, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.code = code
        self.place = place
        self.reason = reason
