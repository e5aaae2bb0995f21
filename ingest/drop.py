"""The drop folder of a sender: which names are files to be taken, which wait, and which are refused (contracts section 3).

A sender uploads under ``NAME.part`` and renames. Nothing here follows a link or opens what is not a plain file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from ingest.kinds import KINDS
from ingest.manifest import FILE_NAME
from ingest.side_file import base_of
from ingest.stream import FileFault, GzipLines

PARTIAL = (".part", ".filepart", ".tmp")
_NAME = re.compile(r"(?:(\d{4}-\d{2}-\d{2})\.)?([A-Za-z0-9_-]{1,64})\.([a-z]{1,32})\.(csv\.gz|zip)")
_MANIFEST = re.compile(rf"(\d{{4}}-\d{{2}}-\d{{2}})\.{re.escape(FILE_NAME)}")


@dataclass(frozen=True)
class Dropped:
    """Something in a drop folder; `fault` says why it cannot be a file that is taken (code, sentence).

    `changed_at` is when the system last saw its content or its name change: a sender can set a file's time, but not this one.
    """

    sender_id: str
    name: str
    path: Path
    size_bytes: int
    changed_at: datetime
    identity: tuple[int, int, int, int, int]
    fault: tuple[str, str] | None = None


@dataclass(frozen=True)
class Named:
    """What a name says: the business date where it names one, platform and kind (empty for a manifest), the name in landing."""

    business_date: date | None
    platform_id: str
    kind: str
    file_name: str
    is_zip: bool = False


def look(folder: Path, sender_id: str) -> Iterator[Dropped]:
    """Everything that lies in a sender's folder, by name, but for names still being uploaded and hidden ones."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda found: os.fsencode(found.name)):
        is_hidden = entry.name.startswith(".") and not entry.name.startswith("..")
        if is_hidden or entry.name.endswith(PARTIAL):
            continue
        try:
            found = _dropped(sender_id, folder / entry.name, entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            continue
        yield found


def identity(state: os.stat_result) -> tuple[int, int, int, int, int]:
    """What stays the same while nobody touches a file."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def parse_name(name: str) -> Named:
    """What the name of a dropped file says; FileFault NAME or DATE when it is none of ours."""
    manifest = _MANIFEST.fullmatch(name)
    if manifest:
        return Named(_date(manifest[1]), "", "", FILE_NAME)
    found = _NAME.fullmatch(name)
    if found is None or found[3] not in KINDS:
        asked = f"[YYYY-MM-DD.]PLATFORM.KIND.csv.gz or .zip of a known kind, nor YYYY-MM-DD.{FILE_NAME}"
        raise FileFault("NAME", f"{name[:100]!r} is not {asked}")
    day = None if found[1] is None else _date(found[1])
    return Named(day, found[2], found[3], f"{found[2]}.{found[3]}.csv.gz", found[4] == "zip")


def date_in(path: Path) -> date:
    """The business date that the header of a gzip file names; FileFault HEADER when it names none."""
    with GzipLines(path) as lines:
        fields = lines.line(1).split(",")
    if fields[0] != "#FUNDWATCH" or len(fields) < 6:
        raise FileFault("HEADER", "neither its name nor its first line says of which business date it is")
    return _date(fields[5])


def _dropped(sender_id: str, path: Path, state: os.stat_result) -> Dropped:
    fault = None
    if stat.S_ISLNK(state.st_mode):
        fault = ("LINK", f"it is a symbolic link to {str(path.readlink())[:200]!r}")
    elif stat.S_ISDIR(state.st_mode):
        fault = ("FOLDER", "it is a folder: files lie directly in the drop folder")
    elif not stat.S_ISREG(state.st_mode):
        fault = ("DEVICE", "it is a device, a pipe or a socket, not a file")
    elif state.st_nlink > 1:
        fault = ("LINK", f"it has {state.st_nlink} names: a file that is taken has one")
    elif base_of(path.name) is None:
        try:
            parse_name(path.name)
        except FileFault as found:
            fault = (found.code, found.sentence)
    changed_at = datetime.fromtimestamp(state.st_ctime_ns // 1000 / 1_000_000, UTC)
    return Dropped(sender_id, path.name, path, state.st_size, changed_at, identity(state), fault)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FileFault("DATE", f"{text[:40]!r} is not a date") from None
