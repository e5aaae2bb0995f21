"""Taking a dropped file over safely: one gzip stream that does not grow without end, or a zip that holds exactly one such file.

Hostile input is refused with a reason; damaged gzip streams are taken as they are, for file control to judge.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO

from ingest.stream import BLOCK_BYTES, FileFault, Readable

UNPACKED_BYTES_MAX = 64 * 1024**3
"""What a file may hold unpacked."""
RATIO_MAX = 200
"""How many times its packed size a file may grow, beyond `RATIO_FROM_BYTES`: lines of figures pack 5 to 30 times."""
RATIO_FROM_BYTES = 64 * 1024**2
_GZIP = 16 + zlib.MAX_WBITS
_ENCRYPTED = 0x1


class GzipGuard:
    """Watches gzip bytes go by and raises FileFault("BOMB") when what they unpack to grows without measure."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP)
        self._packed = self._unpacked = 0
        self._is_over = False

    def see(self, data: bytes) -> None:
        """Unpack a block, keep nothing of it, and count. Damage ends the watch: what cannot be unpacked cannot grow."""
        self._packed += len(data)
        while data and not self._is_over:
            try:
                self._unpacked += len(self._inflater.decompress(data, BLOCK_BYTES))
            except zlib.error:
                self._is_over = True
                return
            self._check()
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                # another gzip stream may follow the first
                data, self._inflater = self._inflater.unused_data, zlib.decompressobj(_GZIP)

    def _check(self) -> None:
        too_steep = self._unpacked > RATIO_FROM_BYTES and self._unpacked > RATIO_MAX * self._packed
        if too_steep or self._unpacked > UNPACKED_BYTES_MAX:
            raise FileFault("BOMB", f"{self._packed} bytes unpack to more than {self._unpacked}: it is not unpacked any further")


def copy_checked(source: Readable, target: BinaryIO) -> str:
    """Copy a gzip file, watched by `GzipGuard`; gives the sha256 of its bytes. FileFault: BOMB."""
    guard, digest = GzipGuard(), hashlib.sha256()
    while block := source.read(BLOCK_BYTES):
        guard.see(block)
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


def copy_only_member(archive: Path, name: str, target: BinaryIO) -> str:
    """Copy the one file that a zip holds, which must be called `name` and be gzip; gives its sha256.

    FileFault: ZIP (damaged, encrypted, none or several members, another name, a folder or link), BOMB.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            member = _only(packed, name)
            with packed.open(member) as source:
                return copy_checked(_Limited(source, member), target)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, OSError) as error:
        raise FileFault("ZIP", f"the zip cannot be read ({error})") from None


def _only(packed: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    members = packed.infolist()
    if len(members) != 1:
        raise FileFault("ZIP", f"the zip holds {len(members)} members, it must hold {name} alone")
    member = members[0]
    if member.filename != name or "\0" in member.orig_filename:
        raise FileFault("ZIP", f"the zip holds {member.filename[:100]!r}, it must hold {name}")
    if member.flag_bits & _ENCRYPTED:
        raise FileFault("ZIP", "the zip is encrypted")
    file_type = (member.external_attr >> 16) & 0o170000
    if member.is_dir() or file_type not in (0, 0o100000):
        raise FileFault("ZIP", f"the zip's member {name} is no plain file")
    if member.file_size > UNPACKED_BYTES_MAX:
        raise FileFault("BOMB", f"the zip says that it unpacks to {member.file_size} bytes")
    return member


class _Limited:
    """A zip's member that may not grow far beyond what the zip holds: gzip inside a zip does not pack again."""

    def __init__(self, source: IO[bytes], member: zipfile.ZipInfo) -> None:
        self._source, self._packed, self._read = source, member.compress_size, 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._read += len(data)
        if self._read > RATIO_FROM_BYTES and self._read > RATIO_MAX * self._packed:
            raise FileFault("BOMB", f"{self._packed} bytes of the zip unpack to more than {self._read}")
        return data
