"""Text lines of a file: its encoding found or named, Windows or Unix ends, nothing binary, no line without end."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import numpy as np

from ingest.statements.refusal import Refused
from ingest.statements.source import CHUNK_BYTES, Content
from ingest.stream import Readable

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_CONTROLS = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\r")
CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
UTF8_BOM = codecs.BOM_UTF8
_OTHER_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def lines(content: Content, stream: Readable, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; refuses with ENCODING, BINARY or SIZE and the place."""
    for first, block in blocks(content, stream):
        for number, line in enumerate(block.removesuffix(b"\n").split(b"\n"), start=first):
            text = _decoded(content, number, line.removesuffix(b"\r"), encoding)
            found = _CONTROL.search(text)
            if found:
                raise Refused(
                    "BINARY", content.at(number, found.start() + 1), f"the line holds the control character {found[0]!r}"
                )
            yield number, text


def blocks(content: Content, stream: Readable, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, bytes]]:
    """The file in blocks of whole lines (bytes as they are, without a BOM) with the number of each one's first line."""
    carry, number, most = b"", 1, content.limits.line_bytes_max
    is_first = True
    while chunk := stream.read(chunk_bytes):
        carry += chunk
        if is_first and len(carry) < 4:
            continue
        if is_first:
            carry, is_first = _without_bom(content, carry), False
        cut = carry.rfind(b"\n") + 1
        if len(carry) - cut > most:
            raise Refused("SIZE", content.at(number + carry.count(b"\n", 0, cut)), f"the line is longer than {most} bytes")
        if cut:
            block, carry = carry[:cut], carry[cut:]
            _check(content, number, block)
            yield number, block
            number += block.count(b"\n")
    if carry:
        carry = _without_bom(content, carry) if is_first else carry
        _check(content, number, carry)
        yield number, carry


def _without_bom(content: Content, data: bytes) -> bytes:
    if data.startswith(_OTHER_BOMS):
        raise Refused("ENCODING", content.at(1), "the file is UTF-16; lines are read as UTF-8 or a named single encoding")
    return data.removeprefix(UTF8_BOM)


def _check(content: Content, number: int, block: bytes) -> None:
    _check_lengths(content, number, block)
    # translate runs at a gigabyte a second, the pattern at a tenth of it: the pattern only finds the place
    if len(block.translate(None, _CONTROLS)) == len(block):
        return
    found = CONTROL_BYTES.search(block)
    if found:
        line = number + block.count(b"\n", 0, found.start())
        column = found.start() - block.rfind(b"\n", 0, found.start())
        name = "a NUL byte" if found[0] == b"\0" else f"the control byte {found[0][0]:#04x}"
        raise Refused("BINARY", content.at(line, column), f"the line holds {name}: this is no text")


def _check_lengths(content: Content, number: int, block: bytes) -> None:
    """No line is longer than allowed; while every window of half that size holds an end of line, none can be."""
    most = content.limits.line_bytes_max
    window = most // 2
    if all(block.find(b"\n", at, at + window) >= 0 for at in range(0, len(block) - window, window)):
        return
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10)
    lengths = np.diff(ends, prepend=-1, append=len(block))
    if lengths.max() > most + 2:
        raise Refused("SIZE", content.at(number + int(lengths.argmax())), f"the line is longer than {most} bytes")


def _decoded(content: Content, number: int, line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        raise Refused(
            "ENCODING",
            content.at(number, error.start + 1),
            f"the bytes are not {encoding.upper()}; another encoding must be named",
        ) from None
