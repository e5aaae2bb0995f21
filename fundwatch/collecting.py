"""`fundwatch files collect`: dropped files go into the landing folder, or into quarantine with a reason (contracts section 3).

Each file is copied first and judged by the copy, so that nobody changes it afterwards; it leaves the drop folder last. Killed
anywhere and run again, the outcome and the time of arrival are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import psycopg

from domain.errors import BadInput, Failed
from fundwatch.settings import Settings
from ingest import side_file
from ingest.atomic_file import sync_folder, whole
from ingest.drop import Dropped, Named, date_in, identity, look, parse_name
from ingest.manifest import FILE_NAME
from ingest.outbound import sha256_of
from ingest.stream import BLOCK_BYTES, FileFault
from ingest.unpack import copy_checked, copy_only_member
from lake import registry
from lake.postgres import connection

Database = psycopg.Connection[Any]
_ONE_COLLECTOR = 0x46574E_44524F50  # "FWNDROP": one process collects at a time
_ARRIVE = "select files.arrive(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"


class AlreadyCollecting(Failed):
    """Another process takes files out of the drop folders."""


class _Unstable(Exception):
    """The file changed while it was looked at: it is left for the next time."""


@dataclass
class _Told:
    """What was collected, refused and left waiting."""

    collected: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Site:
    """The installation a collection works in: who may send, since when each platform is there, and the time."""

    settings: Settings
    database: Database
    senders: frozenset[str]
    onboarded_on: dict[str, date]
    now: datetime

    @property
    def work(self) -> Path:
        """Copies that are being judged; on the landing folder's file system, so that a rename is enough."""
        return self.settings.landing_dir / ".collecting"


def collect(settings: Settings) -> dict[str, Any]:
    """Take every complete file out of the drop folders.

    ``{"collected": [{sender_id, name, business_date, file_name, arrived_at, outcome NEW | SAME | REPLACES}], "refused":
    [{sender_id, name, reason_code, reason}], "waiting": [{sender_id, name, why}]}``. BadInput: no platform is registered. Failed:
    another process is collecting.
    """
    told = _Told()
    with _collecting(settings) as site:
        for sender_id in sorted(site.senders):
            (settings.drop_dir / sender_id).mkdir(parents=True, exist_ok=True)
        for folder in sorted(settings.drop_dir.iterdir()):
            _collect_folder(site, folder, told)
    return {**vars(told), "skipped": not (told.collected or told.refused)}


def collect_if_any(settings: Settings) -> dict[str, int] | None:
    """Collect before a night looks at its files: `{"collected": n, "refused": n, "waiting": n}`.

    None when nobody has dropped anything, or when another process is at it: what it takes is seen by the next look.
    """
    if not any(path for folder in settings.drop_dir.glob("*") if folder.is_dir() for path in folder.iterdir()):
        return None
    try:
        told = collect(settings)
    except AlreadyCollecting:
        return None
    return {name: len(told[name]) for name in ("collected", "refused", "waiting")}


@contextmanager
def _collecting(settings: Settings) -> Iterator[_Site]:
    with connection(settings, autocommit=True) as database:
        row = database.execute("select pg_try_advisory_lock(%s), ledger.clock_now()", [_ONE_COLLECTOR]).fetchone()
        if row is None or not row[0]:
            raise AlreadyCollecting("another process is collecting files: wait for it and try again")
        onboarded_on = registry.platforms(database)
        if not onboarded_on:
            raise BadInput("no platform is registered yet")
        companies = (paycom for of_platform in registry.payment_companies(database).values() for paycom in of_platform)
        senders = frozenset((*onboarded_on, *companies, settings.bank_id, settings.bureau_id))
        site = _Site(settings, database, senders, onboarded_on, row[1])
        shutil.rmtree(site.work, ignore_errors=True)
        site.work.mkdir(parents=True)
        try:
            yield site
        finally:
            shutil.rmtree(site.work, ignore_errors=True)


def _collect_folder(site: _Site, folder: Path, told: _Told) -> None:
    items = list(look(folder, folder.name))
    names = {item.name for item in items}
    # manifests last: what a manifest names is there before it
    for item in sorted(items, key=lambda found: (found.name.endswith(FILE_NAME), found.name)):
        base = side_file.base_of(item.name)
        if item.fault is None and base is not None:
            if base not in names:
                told.waiting.append({"sender_id": item.sender_id, "name": item.name, "why": f"{base} is not there yet"})
            continue
        if time.time() - item.changed_at.timestamp() < site.settings.drop_quiet_s:
            told.waiting.append({"sender_id": item.sender_id, "name": item.name, "why": "it has just come"})
            continue
        try:
            _collect_one(site, item, told)
        except FileNotFoundError:
            # one sender who takes his file back does not keep the others waiting
            told.waiting.append({"sender_id": item.sender_id, "name": _printable(item.name), "why": "it went away"})


def _collect_one(site: _Site, item: Dropped, told: _Told) -> None:
    sha256 = hashlib.sha256(f"{item.name}\0{item.fault}".encode(errors="surrogateescape")).hexdigest()
    try:
        if item.sender_id not in site.senders:
            raise FileFault("UNKNOWN_SENDER", f"nobody of the name {item.sender_id[:64]!r} sends files")
        if item.fault is not None:
            raise FileFault(*item.fault)
        named = parse_name(item.name)
        copy = site.work / "dropped"
        fault, sha256 = _copied(item, copy, is_gzip=not named.is_zip and bool(named.kind))
        if fault:
            raise fault
        _check_sides(site, item, copy)
        landed = _unpacked(copy, named) if named.is_zip else copy
        day = named.business_date or date_in(landed)
        _check_place(site, named, day)
    except FileFault as found:
        told.refused.append(_refuse(site, item, sha256, found))
    except _Unstable:
        told.waiting.append({"sender_id": item.sender_id, "name": item.name, "why": "it is still changing"})
    else:
        told.collected.append(_land(site, item, sha256, landed, day, named.file_name))


def _copied(item: Dropped, copy: Path, is_gzip: bool) -> tuple[FileFault | None, str]:
    """Copy a file as it lies there; a fault of its bytes beside their hash. _Unstable when it changes meanwhile."""
    fault: FileFault | None = None
    with _opened(item) as source:
        try:
            with copy.open("wb") as target:
                sha256 = copy_checked(source, target) if is_gzip else _hashed_copy(source, target)
        except FileFault as found:
            fault, sha256 = found, hashlib.sha256(f"{item.name}\0{item.identity}".encode()).hexdigest()
        if identity(os.fstat(source.fileno())) != item.identity:
            raise _Unstable
    return fault, sha256


@contextmanager
def _opened(item: Dropped) -> Iterator[BinaryIO]:
    """The file that was looked at and no other: no link is followed, no pipe waited for."""
    try:
        handle = os.open(item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise _Unstable from None
    with os.fdopen(handle, "rb") as source:
        if identity(os.fstat(handle)) != item.identity:
            raise _Unstable
        yield source


def _hashed_copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(BLOCK_BYTES):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


def _unpacked(copy: Path, named: Named) -> Path:
    unpacked = copy.with_name("unpacked")
    with unpacked.open("wb") as target:
        copy_only_member(copy, named.file_name, target)
    return unpacked


def _check_sides(site: _Site, item: Dropped, copy: Path) -> None:
    key_file = site.settings.sender_keys_dir / f"{item.sender_id}.pem"
    for path in _sides(item):
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > side_file.BYTES_MAX:
            raise FileFault("SIDE_FILE", f"{path.name} is not a plain file of at most {side_file.BYTES_MAX} bytes")
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise _Unstable from None
        with os.fdopen(handle, "rb") as side:
            content = side.read(side_file.BYTES_MAX)
        side_file.check(copy, content, path.suffix, key_file, item.name)


def _sides(item: Dropped) -> Sequence[Path]:
    places = (item.path.with_name(item.name + suffix) for suffix in side_file.SUFFIXES)
    return [path for path in places if path.is_symlink() or path.exists()]


def _check_place(site: _Site, named: Named, day: date) -> None:
    """A known platform, and a date that it can have files of."""
    if named.kind and named.platform_id not in site.onboarded_on:
        raise FileFault("UNKNOWN_PLATFORM", f"there is no platform {named.platform_id}")
    first = site.onboarded_on[named.platform_id] if named.kind else min(site.onboarded_on.values())
    last = site.now.astimezone(site.settings.zone).date() + timedelta(days=1)
    if not first <= day <= last:
        raise FileFault("DATE", f"business date {day} does not lie between {first} and {last}")


def _land(site: _Site, item: Dropped, sha256: str, file: Path, day: date, file_name: str) -> dict[str, Any]:
    arrived_at = _arrive(site, item, sha256, day, file_name, None)
    target = site.settings.landing_dir / day.isoformat() / item.sender_id / file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    before, after = sha256_of(target), sha256_of(file)
    if before != after:
        if before is not None:
            _keep_replaced(site, target, day, item.sender_id, before)
        microseconds = int(arrived_at.timestamp() * 1_000_000 + 0.5)
        os.utime(file, ns=(microseconds * 1000, microseconds * 1000))
        with file.open("rb") as written:
            os.fsync(written.fileno())
        file.replace(target)
        sync_folder(target.parent)
    _take_away(item)
    outcome = "NEW" if before is None else "SAME" if before == after else "REPLACES"
    place = {"sender_id": item.sender_id, "name": item.name, "business_date": day.isoformat(), "file_name": file_name}
    return {**place, "arrived_at": arrived_at.isoformat(), "outcome": outcome}


def _arrive(
    site: _Site, item: Dropped, sha256: str, day: date | None, file_name: str | None, fault: FileFault | None
) -> datetime:
    # a simulated clock says what time it is in the world that the files come from
    arrived_at = site.now if site.settings.clock == "simulated" else item.changed_at
    name = _printable(item.name)
    outcome = "LANDED" if fault is None else "QUARANTINED"
    told = (None, None) if fault is None else (fault.code, _printable(fault.sentence))
    values = [
        _printable(item.sender_id),
        name,
        sha256,
        item.changed_at,
        arrived_at,
        item.size_bytes,
        outcome,
        day,
        file_name,
        *told,
    ]
    row = site.database.execute(_ARRIVE, values).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def _keep_replaced(site: _Site, target: Path, day: date, sender_id: str, sha256: str) -> None:
    """The file that a corrected one replaces goes to quarantine: nothing that came is lost."""
    place = site.settings.quarantine_dir / day.isoformat() / sender_id / target.name / sha256[:16]
    why = {"business_date": day.isoformat(), "sender_id": sender_id, "file_name": target.name, "sha256": sha256}
    _reason(place, {**why, "reason_code": "REPLACED", "reason": "its sender sent another file under the same name"})
    kept = place / target.name
    if not kept.exists():
        kept.hardlink_to(target)


def _refuse(site: _Site, item: Dropped, sha256: str, fault: FileFault) -> dict[str, Any]:
    """Move what cannot be taken to quarantine beside the reason; a link or device is described and removed, never kept."""
    day = site.now.astimezone(site.settings.zone).date().isoformat()
    name, sender_id = _safe(item.name), _safe(item.sender_id)
    place = site.settings.quarantine_dir / day / sender_id / name / sha256[:16]
    told = {"sender_id": _printable(item.sender_id), "name": _printable(item.name)}
    told |= {"reason_code": fault.code, "reason": _printable(fault.sentence)}
    _arrive(site, item, sha256, None, None, fault)
    _reason(place, {**told, "sha256": sha256, "dropped_at": item.changed_at.isoformat()})
    if fault.code == "DEVICE" or (fault.code == "LINK" and item.path.is_symlink()):
        item.path.unlink(missing_ok=True)
    else:
        kept = place / name
        if kept.is_dir():
            shutil.rmtree(kept)
        shutil.move(item.path, kept)
        for side in _sides(item):
            side.unlink(missing_ok=True)
    return told


def _reason(place: Path, why: dict[str, Any]) -> None:
    text = json.dumps(why, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    with whole(place / "REASON.json") as file:
        file.write(text.encode())


def _take_away(item: Dropped) -> None:
    """Remove a file that has landed from the drop folder, unless another lies under its name by now."""
    try:
        if identity(item.path.lstat()) == item.identity:
            for side in _sides(item):
                side.unlink(missing_ok=True)
            item.path.unlink()
    except FileNotFoundError:
        return


def _safe(name: str) -> str:
    """A name for a place of ours; two names that look alike in it are told apart by the hash in the place's path."""
    return re.sub(r"[^A-Za-z0-9_-]+(?![A-Za-z0-9])|[^A-Za-z0-9._-]", "_", name).lstrip(".")[:100] or "_"


def _printable(text: str) -> str:
    """Text that a database and a page can hold: bytes that are no UTF-8 and control characters are shown, not kept."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown)[:300]
