"""Row keys of fixed width: ``salt(1) | layout(1) | entity | …`` (architecture section 5).

The salt is crc32 of the entity's bytes modulo 16 and never changes; within an entity, keys sort as their tuples do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from domain.errors import BadInput
from hbase_schema.fields import Field, fixed_binary, matrix_of

SALTS = 16


def salt(entity: bytes) -> int:
    """Bucket 0–15 of an entity: the first byte of its keys, so that entities spread over the regions."""
    return crc32(entity) % SALTS


def _crc_table() -> np.ndarray[Any, Any]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1).astype(np.uint32)
    return table


_CRC_TABLE = _crc_table()


def salt_column(entities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`salt` of every row of a matrix (rows, bytes of the entity)."""
    state = np.full(len(entities), 0xFFFFFFFF, np.uint32)
    for position in range(entities.shape[1]):
        state = (state >> np.uint32(8)) ^ _CRC_TABLE[(state ^ entities[:, position]) & np.uint32(0xFF)]
    return ((state ^ np.uint32(0xFFFFFFFF)) % SALTS).astype(np.uint8)


@dataclass(frozen=True)
class RowKey:
    """The key of one table: layout number and fields, the first of which is the entity.

    The layout number is in every key, so that an old and a new form can lie in one table while data moves over.
    """

    layout: int
    fields: tuple[Field, ...]

    @property
    def width(self) -> int:
        """Bytes of a key, salt and layout included."""
        return 2 + sum(field.width for field in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that a frame must have to build this key."""
        return tuple(field.name for field in self.fields)

    def prefix(self, *values: Any) -> bytes:
        """Start of all keys whose first fields have these values (at least the entity)."""
        if not 0 < len(values) <= len(self.fields):
            raise BadInput(f"a key has 1 to {len(self.fields)} values, not {len(values)}")
        parts = [field.encode(value) for field, value in zip(self.fields, values, strict=False)]
        return bytes((salt(parts[0]), self.layout)) + b"".join(parts)

    def encode(self, *values: Any) -> bytes:
        """The key of one row; one value a field."""
        if len(values) != len(self.fields):
            raise BadInput(f"a key has {len(self.fields)} values, not {len(values)}")
        return self.prefix(*values)

    def decode(self, key: bytes) -> dict[str, Any]:
        """Values of a key by field name; BadInput when it is not a key of this layout."""
        if len(key) != self.width or key[1] != self.layout:
            raise BadInput(f"{key.hex()} is not a key of layout {self.layout}")
        values, at = {}, 2
        for field in self.fields:
            values[field.name] = field.decode(key[at : at + field.width])
            at += field.width
        return values

    def encode_columns(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """Keys of many rows as a binary column, from one column a field; none may be null."""
        for name in self.names:
            if columns[name].null_count:
                raise BadInput(f"key field {name} is null")
        parts = [field.encode_column(columns[field.name]) for field in self.fields]
        rows = len(parts[0])
        front = np.empty((rows, 2), np.uint8)
        front[:, 0] = salt_column(parts[0])
        front[:, 1] = self.layout
        return fixed_binary(np.concatenate([front, *parts], axis=1))

    def decode_columns(self, keys: pa.Array) -> dict[str, pa.Array]:
        """The reverse of `encode_columns`; BadInput when a key is of another layout."""
        matrix = matrix_of(keys, self.width)
        if bool((matrix[:, 1] != self.layout).any()):
            raise BadInput(f"a key is not of layout {self.layout}")
        columns, at = {}, 2
        for field in self.fields:
            columns[field.name] = field.decode_column(matrix[:, at : at + field.width])
            at += field.width
        return columns
