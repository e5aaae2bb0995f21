"""One gzip file as a stream: the hash of its bytes, its first two lines, its rows in blocks of whole lines, its last line."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

BLOCK_BYTES = 4 * 1024 * 1024
LINE_BYTES_MAX = 64 * 1024
_LF = b"\n"


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        ...


class FileFault(Exception):
    """A fault of the whole file: a B24 reason code and one sentence (spec 07 section 7.4)."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class _Hashing:
    """A binary file that hashes what is read from it; its reads are large, whatever the decompressor asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data

    def finish(self) -> str:
        """Read what the decompressor left and give the hash of the whole file."""
        while self.read(BLOCK_BYTES):
            pass
        return self.digest.hexdigest()


class GzipLines:
    """A file opened for one pass over its lines; use as a context manager.

    First `line()` twice (header and column names), then `blocks()` yields (number of the first line, whole lines) of the rows;
    after them `last_line` is the line behind the rows and `sha256()` the hash of the file's bytes.
    Faults of the file are raised as FileFault.
    """

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb", buffering=1024 * 1024)
        self._hashing = _Hashing(self._raw)
        self._gzip = gzip.GzipFile(fileobj=self._hashing, mode="rb")  # type: ignore[call-overload]
        self.last_line = ""

    def __enter__(self) -> GzipLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._gzip.close()
        self._raw.close()

    def sha256(self) -> str:
        """Hash of the file's bytes, in hexadecimal; reads the file to its end."""
        return self._hashing.finish()

    def line(self, number: int) -> str:
        """The next line as text, without its end; empty at the end of the file."""
        try:
            data = self._gzip.readline(LINE_BYTES_MAX + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise _damaged(error) from None
        return _text(_checked(data, number).removesuffix(b"\n"), number)

    def blocks(self, first_line: int = 3) -> Iterator[tuple[int, bytes]]:
        """The rows in blocks of whole lines with the number of each block's first line; the last line is kept back."""
        carry, number = b"", first_line
        while chunk := self._read():
            carry += chunk
            cut = carry.rfind(b"\n", 0, max(carry.rfind(b"\n"), 0)) + 1
            if cut:
                block, carry = carry[:cut], carry[cut:]
                yield number, _checked(block, number)
                number += block.count(b"\n")
            if len(carry) > BLOCK_BYTES + 2 * LINE_BYTES_MAX:
                raise FileFault("SCHEMA", f"line {number} is longer than {LINE_BYTES_MAX} bytes")
        body, _, last = carry.removesuffix(b"\n").rpartition(b"\n")
        if body:
            yield number, _checked(body + b"\n", number)
            number += body.count(b"\n") + 1
        self.last_line = _text(_checked(last, number), number)

    def _read(self) -> bytes:
        try:
            return self._gzip.read(BLOCK_BYTES)
        except (EOFError, OSError, zlib.error) as error:
            raise _damaged(error) from None


def _damaged(error: Exception) -> FileFault:
    if isinstance(error, EOFError):
        return FileFault("TRUNCATED", "the gzip stream ends early: the file was cut off")
    if isinstance(error, gzip.BadGzipFile) and "Not a gzipped file" in str(error):
        return FileFault("ENCODING", "the file is not gzip, or bytes follow its gzip stream")
    if isinstance(error, (gzip.BadGzipFile, zlib.error)):
        return FileFault("TRUNCATED", f"the gzip stream is damaged ({error})")
    raise error


def _checked(data: bytes, number: int) -> bytes:
    """The data when lines end in LF alone and hold no NUL."""
    for byte, name in ((b"\r", "a carriage return (lines end in LF)"), (b"\0", "a NUL byte")):
        at = data.find(byte)
        if at >= 0:
            raise FileFault("SCHEMA", f"line {number + data.count(_LF, 0, at)} holds {name}")
    try:
        # the decoded text is dropped: this asks only whether the block is UTF-8, and where not
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFault("ENCODING", f"line {number + data.count(_LF, 0, error.start)} is not UTF-8") from None
    return data


def _text(data: bytes, number: int) -> str:
    if len(data) > LINE_BYTES_MAX:
        raise FileFault("SCHEMA", f"line {number} is longer than {LINE_BYTES_MAX} bytes")
    return data.decode("utf-8")
