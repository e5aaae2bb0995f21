"""Where a page of a list ends: opaque text that is good for this list with these filters only."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from transactional.problems import Problem

CURSOR_LENGTH_MAX = 512
MARK_BYTES = 12


def encode(name: str, filters: Mapping[str, Any], key: Sequence[Any]) -> str:
    """The cursor behind the row with `key`, of the list `name` asked with `filters`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([_mark(name, filters), list(key)])).decode()


def decode(cursor: str | None, name: str, filters: Mapping[str, Any], types: Sequence[type]) -> list[Any] | None:
    """The key behind which the next page begins, one value of each of `types`; None for the first page.

    Problems: CURSOR_INVALID for text that is no cursor, CURSOR_OF_OTHER_LIST for one of another list or of other filters.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        mark, values = msgspec.json.decode(raw, type=tuple[str, list[Any]])
        if len(values) != len(types):
            raise ValueError("a cursor of another length")
        key: list[Any] = [
            msgspec.convert(value, kind, strict=kind is not datetime) for value, kind in zip(values, types, strict=True)
        ]
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise Problem("CURSOR_INVALID", "this is no cursor of ours", field="cursor") from None
    if mark != _mark(name, filters):
        raise Problem("CURSOR_OF_OTHER_LIST", "the cursor belongs to another list or to other filters", field="cursor")
    if any(_is_out_of_range(value) for value in key):
        raise Problem("CURSOR_INVALID", "this is no cursor of ours", field="cursor")
    return key


def _is_out_of_range(value: Any) -> bool:
    if isinstance(value, int):
        return not 0 <= value < 2**63
    if isinstance(value, datetime):
        return value.tzinfo is None or not 1970 <= value.year <= 2200
    return "\x00" in value


def _mark(name: str, filters: Mapping[str, Any]) -> str:
    asked = {key: value for key, value in sorted(filters.items()) if value is not None}
    return sha256(msgspec.json.encode([name, asked])).digest()[:MARK_BYTES].hex()
