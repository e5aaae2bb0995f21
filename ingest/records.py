"""What file control works with: the file that came, what was expected, what was found in it, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

ACCEPTED, REFUSED, MISSING, WAIVED = "ACCEPTED", "REFUSED", "MISSING", "WAIVED"
UNKNOWN_KIND = "unknown"


@dataclass(frozen=True, order=True)
class Expected:
    """A file that must come: of which date, sender, platform and kind (contracts section 3)."""

    business_date: date
    sender_id: str
    platform_id: str
    kind: str

    @property
    def file_name(self) -> str:
        """The one name under which it is accepted."""
        return f"{self.platform_id}.{self.kind}.csv.gz"


@dataclass(frozen=True)
class Arrived:
    """A file that lies in the landing folder.

    `is_proper` when its name is PLATFORM.KIND.csv.gz of a known kind; else platform and kind are a guess at what it copies.
    """

    business_date: date
    sender_id: str
    platform_id: str
    kind: str
    is_proper: bool
    file_name: str
    path: Path
    size_bytes: int
    received_at: datetime

    @property
    def key(self) -> Expected | None:
        """What it would be if it were expected; None when its name is not proper."""
        return Expected(self.business_date, self.sender_id, self.platform_id, self.kind) if self.is_proper else None


@dataclass(frozen=True)
class Found:
    """What reading a file to its end showed; `faults` are (reason code, sentence) in the order they were met."""

    path: Path
    sha256: str
    sequence_no: int | None
    row_count: int
    control_sum: int
    rows_quarantined: int
    amounts_unreadable: int
    faults: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Verdict:
    """One row of `file_control`, and the file it is about (None when nothing came)."""

    business_date: date
    platform_id: str
    sender_id: str
    file_kind: str
    file_name: str
    state: str
    reason_code: str | None = None
    reason: str | None = None
    sha256: str | None = None
    received_at: datetime | None = None
    sequence_no: int | None = None
    row_count: int | None = None
    control_sum: int | None = None
    rows_quarantined: int | None = None
    path: Path | None = None
