"""Packed cells: ``version(1) | null bits | field | field …``, every cell of a kind equally long (architecture section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import BadInput
from hbase_schema.fields import Field, fixed_binary, matrix_of


@dataclass(frozen=True)
class Cell:
    """One packed cell: version byte, then a bit a field that is set when the field is null, then the fields.

    A change of the fields takes a new version number; a reader refuses a version that it does not know.
    """

    version: int
    fields: tuple[Field, ...]

    @property
    def null_width(self) -> int:
        """Bytes of the null bits."""
        return (len(self.fields) + 7) // 8

    @property
    def width(self) -> int:
        """Bytes of the cell."""
        return 1 + self.null_width + sum(field.width for field in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that a frame must have to build this cell."""
        return tuple(field.name for field in self.fields)

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """One cell from values by field name; None is null, a missing name is an error (BadInput)."""
        missing = [name for name in self.names if name not in values]
        if missing:
            raise BadInput(f"packed cell lacks {', '.join(missing)}")
        nulls, parts = 0, []
        for index, field in enumerate(self.fields):
            value = values[field.name]
            if value is None:
                nulls |= 1 << (8 * self.null_width - 1 - index)
            parts.append(bytes(field.width) if value is None else field.encode(value))
        return bytes((self.version,)) + nulls.to_bytes(self.null_width, "big") + b"".join(parts)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Values of a cell by field name; BadInput when version or length are not this cell's."""
        if len(data) != self.width or data[0] != self.version:
            raise BadInput(f"not a packed cell of version {self.version} and {self.width} bytes: {data[:16].hex()}…")
        nulls = int.from_bytes(data[1 : 1 + self.null_width], "big")
        values: dict[str, Any] = {}
        at = 1 + self.null_width
        for index, field in enumerate(self.fields):
            is_null = nulls >> (8 * self.null_width - 1 - index) & 1
            values[field.name] = None if is_null else field.decode(data[at : at + field.width])
            at += field.width
        return values

    def encode_columns(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        """Cells of many rows as a binary column, from one column a field."""
        parts = [field.encode_column(columns[field.name]) for field in self.fields]
        nulls = np.stack([columns[name].is_null().to_numpy(zero_copy_only=False) for name in self.names], axis=1)
        version = np.full((len(nulls), 1), self.version, np.uint8)
        return fixed_binary(np.concatenate([version, np.packbits(nulls, axis=1), *parts], axis=1))

    def decode_columns(self, cells: pa.Array) -> dict[str, pa.Array]:
        """The reverse of `encode_columns`; BadInput when a cell is of another version."""
        matrix = matrix_of(cells, self.width)
        if bool((matrix[:, 0] != self.version).any()):
            raise BadInput(f"a packed cell is not of version {self.version}")
        nulls = np.unpackbits(matrix[:, 1 : 1 + self.null_width], axis=1, count=len(self.fields)).astype(bool)
        columns, at = {}, 1 + self.null_width
        for index, field in enumerate(self.fields):
            plain = field.decode_column(matrix[:, at : at + field.width])
            at += field.width
            columns[field.name] = pc.if_else(pa.array(nulls[:, index]), pa.scalar(None, plain.type), plain)
        return columns
