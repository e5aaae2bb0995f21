"""File control: what was promised, what came and what was found become one verdict a file (spec 07 section 7.6, R9, B24)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from ingest.kinds import KINDS
from ingest.landing import Landing
from ingest.manifest import Manifest, Promise
from ingest.records import ACCEPTED, MISSING, REFUSED, WAIVED, Arrived, Expected, Found, Verdict

# the fault that explains most comes first: a copied file also has a wrong date, a cut file also a wrong hash
_PRIORITY = (
    "DUPLICATE",
    "TRUNCATED",
    "ENCODING",
    "HASH",
    "MISSING",
    "HEADER",
    "SCHEMA",
    "FUTURE",
    "TRAILER",
    "ROW_COUNT",
    "CONTROL_TOTAL",
    "SEQUENCE",
)
Stream = tuple[str, str, str]


@dataclass
class History:
    """What was accepted before: per (sender, platform, kind) the last date and sequence number, and the hashes of all files."""

    last: dict[Stream, tuple[date, int]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def knows(self, sender_id: str, platform_id: str) -> bool:
        """Whether a file of a sender about a platform was ever accepted."""
        return any((sender, platform) == (sender_id, platform_id) for sender, platform, _ in self.last)


def judge(
    possible: Mapping[Expected, bool],
    landing: Landing,
    found: Mapping[Path, Found],
    history: History,
) -> list[Verdict]:
    """One verdict for every file that had to come and for every file that came, dates in order.

    `possible` says which files may come and which must; one that only informs must come once one of its sender was accepted.
    `found` holds what `inspect` found in every arrived file.
    `history` is extended by what is accepted here, so that later dates of the run are judged after earlier ones.
    """
    arrived = {file.key: file for file in landing.files if file.key}
    verdicts: list[Verdict] = []
    for expected in sorted(possible):
        manifest = landing.manifests.get((expected.business_date, expected.sender_id))
        promised = expected.file_name in manifest.promises if manifest else False
        file = arrived.get(expected)
        informs = KINDS[expected.kind].is_advisory and history.knows(expected.sender_id, expected.platform_id)
        is_due = possible[expected] or promised or informs
        if file is not None and manifest is not None and not is_due:
            verdicts.append(_unexpected(file, found[file.path], history))
        elif file is not None:
            verdicts.append(_judge_file(expected, file, found[file.path], manifest, history))
        elif is_due:
            verdicts.append(_missing(expected, manifest))
    verdicts.extend(_unexpected(file, found[file.path], history) for file in landing.files if file.key not in possible)
    return verdicts


def waive(verdicts: Sequence[Verdict], waived: Mapping[Expected, str]) -> list[Verdict]:
    """The verdicts, those on files that operators go on without turned into WAIVED; an accepted file stays accepted.

    `waived` gives the sentence that names the decision. The reason code still says what was wrong with the file.
    """
    return [_waived(verdict, waived) for verdict in verdicts]


def _waived(verdict: Verdict, waived: Mapping[Expected, str]) -> Verdict:
    expected = Expected(verdict.business_date, verdict.sender_id, verdict.platform_id, verdict.file_kind)
    # a copy under another name is not the file that is waited for
    if verdict.state == ACCEPTED or expected not in waived or verdict.file_name != expected.file_name:
        return verdict
    return replace(verdict, state=WAIVED, reason=f"{waived[expected]} ({verdict.reason})")


def _missing(expected: Expected, manifest: Manifest | None) -> Verdict:
    place = f"{expected.sender_id}/{expected.file_name} of {expected.business_date}"
    told = "nor did the sender's manifest" if manifest is None else "though the sender's manifest came"
    return Verdict(
        expected.business_date,
        expected.platform_id,
        expected.sender_id,
        expected.kind,
        expected.file_name,
        MISSING,
        "MISSING",
        f"{place} did not come, {told}",
    )


def _judge_file(expected: Expected, file: Arrived, found: Found, manifest: Manifest | None, history: History) -> Verdict:
    stream = (expected.sender_id, expected.platform_id, expected.kind)
    faults = [
        *_duplicate(found, history),
        *found.faults,
        *_against_manifest(expected, found, manifest),
        *_sequence(expected.business_date, found, history.last.get(stream)),
    ]
    faults.sort(key=lambda fault: _PRIORITY.index(fault[0]))
    if not faults and found.sequence_no is not None:
        history.last[stream] = (expected.business_date, found.sequence_no)
        history.hashes[found.sha256] = f"{expected.sender_id}/{expected.file_name} of {expected.business_date}"
    unproved = f"the control sum is not proved: {found.amounts_unreadable} amounts cannot be read"
    return Verdict(
        expected.business_date,
        expected.platform_id,
        expected.sender_id,
        expected.kind,
        expected.file_name,
        REFUSED if faults else ACCEPTED,
        faults[0][0] if faults else None,
        "; ".join(sentence for _, sentence in faults) or (unproved if found.amounts_unreadable else None),
        found.sha256,
        file.received_at,
        found.sequence_no,
        found.row_count,
        found.control_sum,
        0 if faults else found.rows_quarantined,
        file.path,
    )


def _duplicate(found: Found, history: History) -> Iterator[tuple[str, str]]:
    if found.sha256 in history.hashes:
        yield "DUPLICATE", f"the file has the same bytes as {history.hashes[found.sha256]}"


def _against_manifest(expected: Expected, found: Found, manifest: Manifest | None) -> Iterator[tuple[str, str]]:
    """The hash always; counts and sums only where the file itself could be read to its end."""
    if manifest is None:
        yield "MISSING", f"the manifest of {expected.sender_id} did not come"
        return
    if manifest.fault:
        yield "SCHEMA", manifest.fault
        return
    promise = manifest.promises.get(expected.file_name)
    if promise is None:
        yield "MISSING", f"the manifest of {expected.sender_id} does not name {expected.file_name}"
        return
    if promise.sha256 != found.sha256:
        yield "HASH", f"the manifest says sha256 {promise.sha256}, the file has {found.sha256}"
    if not found.faults:
        yield from _figures(promise, expected, found)


def _figures(promise: Promise, expected: Expected, found: Found) -> Iterator[tuple[str, str]]:
    if (promise.platform_id, promise.kind) != (expected.platform_id, expected.kind):
        yield "HEADER", f"the manifest names it as {promise.kind} of {promise.platform_id}"
    if promise.row_count != found.row_count:
        yield "ROW_COUNT", f"the manifest says {promise.row_count} rows, the file has {found.row_count}"
    if promise.control_sum != found.control_sum:
        yield "CONTROL_TOTAL", f"the manifest says {promise.control_sum}, the file {found.control_sum}"
    if promise.sequence_no != found.sequence_no:
        yield "SEQUENCE", f"the manifest says sequence number {promise.sequence_no}, the file {found.sequence_no}"


def _sequence(day: date, found: Found, last: tuple[date, int] | None) -> Iterator[tuple[str, str]]:
    """The number rises by one a business date; the first file of a stream may begin anywhere."""
    if found.sequence_no is None or last is None:
        return
    due = last[1] + (day - last[0]).days
    if found.sequence_no != due:
        yield "SEQUENCE", f"sequence number {found.sequence_no} came, {due} was due ({last[1]} was accepted for {last[0]})"


def _unexpected(file: Arrived, found: Found, history: History) -> Verdict:
    """Verdict of a file that neither registry nor manifest asks for: it stays out and nobody waits for it."""
    nobody = ("UNEXPECTED", f"nobody expects {file.file_name} of {file.business_date} from {file.sender_id}")
    # under a proper name it would look like the file that this platform and kind wait for
    faults = [nobody] if file.is_proper else [*_duplicate(found, history), nobody]
    return Verdict(
        file.business_date,
        file.platform_id,
        file.sender_id,
        file.kind,
        file.file_name,
        REFUSED,
        faults[0][0],
        faults[0][1],
        found.sha256,
        file.received_at,
        path=file.path,
    )
