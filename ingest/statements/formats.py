"""Which format a file has, by what it holds, and the reader of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from domain.errors import WrongUse
from ingest.statements import bai2, camt, delimited, feed, mt, ofx
from ingest.statements.layout import Layout, packaged
from ingest.statements.model import Event
from ingest.statements.refusal import Refused
from ingest.statements.source import Content

AUTO = "auto"
_HEAD_BYTES = 64 * 1024
_MT = re.compile(r"(?m)^(?:\{1:[^\r\n]*\{4:|:20:)")
_MT_NEXT = re.compile(r"(?m)^:(?:25P?|28C?|60[FM]|34F):")
_BAI2 = re.compile(r"01,[^,\r\n]*,[^,\r\n]*,[0-9]{6},")


@dataclass(frozen=True)
class Format:
    """A name and the reader that goes with it; `layout` of delimited files."""

    name: str
    read: Callable[[Content], Iterator[Event]]
    layout: Layout | None = None


def names() -> list[str]:
    """What may be named: the formats and the packaged layouts."""
    return [AUTO, "mt940", "mt942", "camt", "bai2", "ofx", "feed", *(layout.layout for layout in packaged())]


def chosen(name: str, layout: Layout | None, encoding: str | None) -> Callable[[Content], Format]:
    """How the format of each file is found: a named one, that of a layout, or by what it holds."""
    if name not in names():
        raise WrongUse(f"the format {name!r} is not known; known are {', '.join(names())}")
    if layout is not None:
        return lambda _: _by_layout(layout)
    if name != AUTO:
        return lambda _: _named(name, encoding)
    return lambda content: detect(content, encoding)


def detect(content: Content, encoding: str | None = None) -> Format:
    """The format of a file by its first bytes, then by its name; refuses with BINARY or UNKNOWN_FORMAT."""
    data = content.head(_HEAD_BYTES)
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    head = data.decode("utf-16" if utf16 else "latin-1", "ignore").removeprefix("ï»¿").lstrip()
    if head.startswith("<") and ("camt.05" in head or "BkToCstmr" in head):
        return _named("camt", encoding)
    if not utf16 and b"\0" in data:
        raise Refused("BINARY", content.place, "the file holds NUL bytes: this is no text")
    if re.match(r"OFXHEADER\s*:", head) or re.match(r"<(\?[^>]*\?>\s*<)*\??OFX\b", head):
        return _named("ofx", encoding)
    if head.startswith("{") and not head.startswith("{1:") and "dataList" in head:
        return _named("feed", encoding)
    if _BAI2.match(head):
        return _named("bai2", encoding)
    if _MT.search(head) and _MT_NEXT.search(head):
        return _named("mt942" if re.search(r"(?m)^:34F:", head) else "mt940", encoding)
    for layout in packaged():
        if _fits(layout, content, data):
            return _by_layout(layout)
    raise Refused("UNKNOWN_FORMAT", content.place, "the file has no format that is known; a layout can say what its lines mean")


def _fits(layout: Layout, content: Content, data: bytes) -> bool:
    """Whether the file's name or its line of column names is the layout's."""
    if layout.file_name and re.search(layout.file_name, content.file_name.rpartition("!")[2].rpartition("/")[2]):
        return True
    if not layout.names:
        return False
    lines = data.decode(layout.encoding, "ignore").removeprefix("\ufeff").splitlines()
    at = layout.skip_lines + (layout.header is not None)
    declared = [column.name for column in layout.columns]
    return len(lines) > at and [name.strip() for name in lines[at].split(layout.delimiter)][: len(declared)] == declared


def _by_layout(layout: Layout) -> Format:
    return Format(layout.layout, lambda content: delimited.read(content, layout), layout)


def _named(name: str, encoding: str | None) -> Format:
    if name in {"mt940", "mt942"}:
        return Format(name, lambda content: mt.read(content, encoding or "utf-8"))
    if name == "camt":
        return Format(name, camt.read)
    if name == "bai2":
        return Format(name, lambda content: bai2.read(content, encoding or "utf-8"))
    if name == "ofx":
        return Format(name, lambda content: ofx.read(content, encoding))
    if name == "feed":
        return Format(name, feed.read)
    return _by_layout(next(layout for layout in packaged() if layout.layout == name))
