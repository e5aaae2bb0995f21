"""A file as content to read: plain, gzip, or the members of a zip, in one pass, with every size bounded."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

from ingest import side_file
from ingest.statements.refusal import Place, Refused
from ingest.stream import FileFault, Readable

CHUNK_BYTES = 1024 * 1024
_ZIP, _GZIP = b"PK", b"\x1f\x8b"
_EOCD = struct.Struct("<4s4H2LH")
_EOCD_SEARCH = _EOCD.size + 0xFFFF


@dataclass(frozen=True)
class Limits:
    """How much a file may ask of its reader, and the day it is read on (no date may lie far behind it)."""

    as_of: date
    line_bytes_max: int = 64 * 1024
    content_bytes_max: int = 20 * 1024**3
    ratio_max: int = 200
    ratio_free_bytes: int = 64 * 1024**2
    members_max: int = 1000
    directory_bytes_max: int = 4 * 1024**2
    years_ahead_max: int = 2
    years_back_max: int = 60


@dataclass(frozen=True)
class Content:
    """One file, or one member of an archive: its name, the SHA-256 of its uncompressed bytes, and how to read them."""

    file_name: str
    sha256: str
    size_bytes: int
    opened: Callable[[], AbstractContextManager[Readable]]
    limits: Limits

    @property
    def place(self) -> Place:
        """The file as a whole."""
        return Place(self.file_name)

    def at(self, line_no: int, column_no: int = 0) -> Place:
        """A place in the file."""
        return Place(self.file_name, line_no, column_no)

    def head(self, size: int = 4096) -> bytes:
        """The first bytes."""
        with self.opened() as stream:
            return _exactly(stream, size)


def contents(path: Path, limits: Limits) -> Iterator[Content | Refused]:
    """What a path holds: itself, or each member of a zip; a member that cannot be read stands as its refusal.

    Raises Refused (ARCHIVE, EMPTY, SIZE, TRUNCATED) when nothing of the path may be read.
    """
    place = Place(path.name)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Refused("SCHEMA", place, f"the file cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise Refused("SCHEMA", place, "this is no regular file")
    _check_beside(path)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == _ZIP:
        yield from _members(path, limits)
    else:
        yield _hashed(path.name, lambda: _plain(path, limits, magic[:2] == _GZIP), limits)


def _check_beside(path: Path) -> None:
    """A file ``NAME.md5`` or ``NAME.sha256`` beside the file must hold the hash of its bytes."""
    for suffix in side_file.CHECKSUMS:
        beside = path.with_name(f"{path.name}{suffix}")
        if not beside.is_file():
            continue
        with beside.open("rb") as file:
            side = file.read(side_file.BYTES_MAX)
        try:
            side_file.check_sum(path, side, suffix, path.name)
        except FileFault as fault:
            raise Refused("HASH", Place(path.name), fault.sentence) from None


def _hashed(name: str, opened: Callable[[], AbstractContextManager[Readable]], limits: Limits) -> Content:
    digest, size = hashlib.sha256(), 0
    with opened() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    if not size:
        raise Refused("EMPTY", Place(name), "the file is empty")
    return Content(name, digest.hexdigest(), size, opened, limits)


class _Bounded:
    """A stream that stops at a size and speaks of faults of compression as refusals."""

    def __init__(self, stream: Readable, place: Place, bytes_max: int) -> None:
        self._stream, self._place, self._max, self._count = stream, place, bytes_max, 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; refuses once there are more than allowed."""
        try:
            data = self._stream.read(size)
        except EOFError:
            raise Refused("TRUNCATED", self._place, "the compressed stream ends early: the file was cut off") from None
        except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
            raise Refused("TRUNCATED", self._place, f"the compressed stream is damaged ({error})") from None
        self._count += len(data)
        if self._count > self._max:
            raise Refused("SIZE", self._place, f"the content is larger than {self._max} bytes, the most this file may hold")
        return data


@contextmanager
def _plain(path: Path, limits: Limits, is_gzip: bool) -> Iterator[Readable]:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        most = _content_max(before.st_size, limits) if is_gzip else limits.content_bytes_max
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if is_gzip else file  # type: ignore[assignment]
        yield _Bounded(stream, Place(path.name), most)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Refused("HASH", Place(path.name), "the file changed while it was read")


def _content_max(compressed_bytes: int, limits: Limits) -> int:
    return min(limits.content_bytes_max, max(limits.ratio_free_bytes, limits.ratio_max * compressed_bytes))


def _members(path: Path, limits: Limits) -> Iterator[Content | Refused]:
    place = Place(path.name)
    _check_directory(path, place, limits)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise Refused("ARCHIVE", place, f"the archive cannot be read ({error})") from None
    _check_members(infos, place, limits, path.stat().st_size)
    for info in infos:
        try:
            yield _one(path, info, limits)
        except Refused as refused:
            yield refused


def _one(path: Path, info: zipfile.ZipInfo, limits: Limits) -> Content:
    name = f"{path.name}!{info.filename}"
    content = _hashed(name, lambda: _member(path, info, limits), limits)
    if content.head(4)[:2] in (_ZIP, _GZIP):
        raise Refused("ARCHIVE", Place(name), "an archive inside an archive is not read")
    return content


@contextmanager
def _member(path: Path, info: zipfile.ZipInfo, limits: Limits) -> Iterator[Readable]:
    place = Place(f"{path.name}!{info.filename}")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(info) as stream:
            yield _Bounded(stream, place, _content_max(info.compress_size, limits))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise Refused("ARCHIVE", place, f"the member cannot be read ({error})") from None


def _check_directory(path: Path, place: Place, limits: Limits) -> None:
    """The size of the directory before it is read into memory."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _EOCD_SEARCH))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _EOCD.size > len(tail):
        raise Refused("TRUNCATED", place, "the zip has no directory at its end: the file was cut off")
    _, _, _, _, count, directory_bytes, _, _ = _EOCD.unpack_from(tail, at)
    if count > limits.members_max or directory_bytes > limits.directory_bytes_max:
        raise Refused("ARCHIVE", place, f"the archive has more than {limits.members_max} members or a directory too large")


def _check_members(infos: list[zipfile.ZipInfo], place: Place, limits: Limits, archive_bytes: int) -> None:
    if not infos:
        raise Refused("EMPTY", place, "the archive holds no file")
    if len(infos) > limits.members_max:
        raise Refused("ARCHIVE", place, f"the archive has more than {limits.members_max} members")
    seen: set[str] = set()
    for info in infos:
        fault = _member_fault(info)
        if fault is None and info.filename.lower() in seen:
            fault = "comes twice"
        if fault:
            raise Refused("ARCHIVE", place, f"the member {info.filename[:80]!r} {fault}")
        seen.add(info.filename.lower())
    total = sum(info.file_size for info in infos)
    if total > _content_max(archive_bytes, limits):
        raise Refused("SIZE", place, f"the archive's {archive_bytes} bytes unpack to {total}: more than a file may hold")


def _member_fault(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        return "leads out of the archive"
    if any(ord(letter) < 32 for letter in name) or "\\" in name:
        return "has a name with control characters or backslashes"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & 1:
        return "is encrypted"
    return None


def _exactly(stream: Readable, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := stream.read(size - len(data))):
        data += chunk
    return data
