"""What a model is trained on: observations with their features and outcomes, bounded, in one order, with a hash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256

from domain.errors import BadInput

Value = int | str | Decimal | None


@dataclass(frozen=True)
class Candidate:
    """A feature that may enter a model: its column, NUMBER (exact, `scale` digits after the point) or CODE, and its texts."""

    code: str
    kind: str = "NUMBER"
    scale: int = 0
    zh: str = ""
    en: str = ""


@dataclass(frozen=True)
class Sample:
    """Observations in the order of their keys; `is_bad` 1 or 0, one value an observation in every column.

    `subjects` are the persons (one may have several observations); `true_pd` is the simulator's own probability (never a
    feature), None where it is not known.
    """

    keys: tuple[str, ...]
    subjects: tuple[str, ...]
    dates: tuple[date, ...]
    is_bad: tuple[int, ...]
    columns: Mapping[str, tuple[Value, ...]]
    true_pd: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        lengths = {
            len(self.keys),
            len(self.subjects),
            len(self.dates),
            len(self.is_bad),
            *(len(values) for values in self.columns.values()),
        }
        if len(lengths) != 1 or (self.true_pd and len(self.true_pd) != len(self.keys)):
            raise BadInput("the columns of a training sample are not of one length")
        if list(self.keys) != sorted(set(self.keys)):
            raise BadInput("the observations of a training sample are not in the order of their keys, or one is there twice")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def bads(self) -> int:
        """How many are bad."""
        return sum(self.is_bad)

    @property
    def goods(self) -> int:
        """How many are good."""
        return len(self) - self.bads

    def part(self, rows: Sequence[int]) -> Sample:
        """The observations at these places, which rise."""
        return Sample(
            tuple(self.keys[row] for row in rows),
            tuple(self.subjects[row] for row in rows),
            tuple(self.dates[row] for row in rows),
            tuple(self.is_bad[row] for row in rows),
            {code: tuple(values[row] for row in rows) for code, values in self.columns.items()},
            tuple(self.true_pd[row] for row in rows) if self.true_pd else (),
        )

    def content_sha256(self) -> str:
        """Hash of what was learned from: keys, persons, dates, outcomes, features (not the truth), in any order of columns."""
        digest = sha256()
        names = sorted(self.columns)
        for row, key in enumerate(self.keys):
            values = [None if (value := self.columns[name][row]) is None else str(value) for name in names]
            line = [key, self.subjects[row], self.dates[row].isoformat(), self.is_bad[row], *values]
            digest.update(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        return sha256(json.dumps(names).encode() + digest.digest()).hexdigest()
