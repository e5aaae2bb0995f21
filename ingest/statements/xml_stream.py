"""XML as a stream of finished elements, hardened: no DTD, no entities of its own, bounded depth, text and size of an element.

The parser is expat of the standard library. It never opens a file or an address; what it is told here is to refuse any DOCTYPE,
without which there is neither an external entity nor a billion laughs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from ingest.statements.refusal import Refused
from ingest.statements.source import Content
from ingest.stream import Readable

DEPTH_MAX, TEXT_MAX, CHILDREN_MAX, NAME_MAX, ATTRIBUTES_MAX = 64, 64 * 1024, 4096, 256, 64
FED_BYTES, TOKEN_BYTES_MAX = 64 * 1024, 1024 * 1024
# what may be held at once of all open elements: elements and their text together
HELD_MAX = 16 * 1024 * 1024
_NODE_COST = 256


@dataclass(slots=True)
class Node:
    """An element without its namespace; `line_no` is where it begins."""

    name: str
    attributes: dict[str, str]
    line_no: int
    column_no: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def one(self, *path: str) -> Node | None:
        """The first element at a path of names."""
        node: Node | None = self
        for name in path:
            node = next((child for child in node.children if child.name == name), None) if node else None
        return node

    def all(self, name: str) -> list[Node]:
        """The children of a name."""
        return [child for child in self.children if child.name == name]

    def said(self, *path: str) -> str | None:
        """The text at a path; None when it is absent or blank."""
        node = self.one(*path)
        return (node.text.strip() or None) if node else None


@dataclass(frozen=True)
class Event:
    """An element that begins (`is_end` false, without children yet) or ends (with what was kept of it)."""

    is_end: bool
    path: tuple[str, ...]
    node: Node
    namespace: str


def events(content: Content, stream: Readable, dropped: frozenset[str]) -> Iterator[Event]:
    """Begin and end of every element, in order.

    Elements named in `dropped` are not kept in their parents once they ended: their number is not bounded by memory.
    """
    reader = _Reader(content, dropped)
    while True:
        data = stream.read(FED_BYTES)
        reader.feed(data)
        yield from reader.drain()
        if not data:
            return


class _Reader:
    def __init__(self, content: Content, dropped: frozenset[str]) -> None:
        self.content, self.dropped = content, dropped
        self.parser: Any = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.EntityDeclHandler = self._doctype
        self.parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.stack: list[Node] = []
        self.path: tuple[str, ...] = ()
        self.found: list[Event] = []
        self.fed = self.held = 0
        self.held_before: list[int] = []

    def feed(self, data: bytes) -> None:
        self.fed += len(data)
        try:
            self.parser.Parse(data, not data)
        except expat.ExpatError as error:
            code = "TRUNCATED" if not data else "SCHEMA"
            raise Refused(
                code,
                self.content.at(error.lineno, error.offset + 1),
                f"this is not well-formed XML ({expat.ErrorString(error.code)})",
            ) from None
        except (LookupError, ValueError) as error:
            raise Refused("ENCODING", self.content.at(1), f"the encoding of the XML is not read ({error})") from None
        if data and self.fed - max(self.parser.CurrentByteIndex, 0) > TOKEN_BYTES_MAX:
            raise self._refused("SIZE", f"one token of the XML is longer than {TOKEN_BYTES_MAX} bytes")

    def drain(self) -> Iterator[Event]:
        found, self.found = self.found, []
        yield from found

    def _refused(self, code: str, reason: str) -> Refused:
        place = self.content.at(self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1)
        return Refused(code, place, reason)

    def _doctype(self, *_: object) -> None:
        raise self._refused("HOSTILE", "the file declares a DTD or an entity; statements have neither")

    def _start(self, qualified: str, attributes: dict[str, str]) -> None:
        namespace, _, name = qualified.rpartition(" ")
        if len(self.stack) >= DEPTH_MAX:
            raise self._refused("HOSTILE", f"elements lie more than {DEPTH_MAX} deep in each other")
        if len(name) > NAME_MAX or len(attributes) > ATTRIBUTES_MAX:
            raise self._refused("HOSTILE", "an element has a name or a list of attributes beyond reason")
        node = Node(name, attributes, self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1)
        self.held_before.append(self.held)
        self._hold(_NODE_COST + sum(map(len, attributes.values())))
        self.stack.append(node)
        self.path = (*self.path, name)
        self.found.append(Event(False, self.path, node, namespace))

    def _end(self, qualified: str) -> None:
        node = self.stack.pop()
        self.found.append(Event(True, self.path, node, qualified.rpartition(" ")[0]))
        self.path = self.path[:-1]
        held_before = self.held_before.pop()
        if node.name in self.dropped:
            self.held = held_before
        if self.stack and node.name not in self.dropped:
            parent = self.stack[-1]
            if len(parent.children) >= CHILDREN_MAX:
                raise self._refused("HOSTILE", f"the element {parent.name} has more than {CHILDREN_MAX} children")
            parent.children.append(node)

    def _text(self, data: str) -> None:
        if self.stack:
            node = self.stack[-1]
            if len(node.text) + len(data) > TEXT_MAX:
                if not data.strip():
                    return
                raise self._refused("SIZE", f"the text of the element {node.name} is longer than {TEXT_MAX} characters")
            node.text += data
            self._hold(len(data))

    def _hold(self, size: int) -> None:
        self.held += size
        if self.held > HELD_MAX:
            raise self._refused("SIZE", "one element holds more than is read into memory at once")
