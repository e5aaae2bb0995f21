"""Entries of the tag formats, collected object by object and handed on as Arrow batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from ingest.statements.model import Entries, Entry, Parts, entry_batch
from ingest.statements.refusal import Place, Refused
from ingest.statements.source import Content, Limits

BATCH_ROWS = 8192


@dataclass
class Gathered:
    """The entries and parts of a file that were read and not yet handed on."""

    entries: list[Entry] = field(default_factory=list)
    parts: list[Entry] = field(default_factory=list)

    def full(self) -> Iterator[Entries | Parts]:
        """Batches when there is enough for one; call after every entry."""
        if len(self.entries) >= BATCH_ROWS or len(self.parts) >= BATCH_ROWS:
            yield from self.rest()

    def rest(self) -> Iterator[Entries | Parts]:
        """All that is held; call before a statement ends."""
        if self.entries:
            yield Entries(entry_batch(self.entries))
            self.entries = []
        if self.parts:
            yield Parts(entry_batch(self.parts))
            self.parts = []


def stmt_id(content: Content, ordinal: int) -> str:
    """Identity of a statement: the content's hash and the statement's place in it, so that reading again gives the same."""
    return f"{content.sha256[:24]}-{ordinal}"


def credible(day: date | None, limits: Limits, place: Place) -> date | None:
    """The day when it lies in a time a statement can speak of; a wrong century does not."""
    if day is None:
        return None
    if not limits.as_of.year - limits.years_back_max <= day.year <= limits.as_of.year + limits.years_ahead_max:
        raise Refused("DATE", place, f"{day} lies too far from {limits.as_of}, the day of reading: a wrong century?")
    return day
