"""Fields of fixed width: how one value becomes bytes that sort as the value does, one at a time and by the column.

Numbers are big-endian and moved by half their range, so that negative ones sort first; text is UTF-8 padded with NUL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import BadInput

_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Kind(StrEnum):
    """What a field holds; the width follows from it, except for TEXT and RAW."""

    ID = "ID"
    INT64 = "INT64"
    INT32 = "INT32"
    DATE = "DATE"
    INSTANT = "INSTANT"
    INSTANT_DESCENDING = "INSTANT_DESCENDING"
    FLAG = "FLAG"
    TEXT = "TEXT"
    RAW = "RAW"


_WIDTHS = {
    Kind.ID: 8,
    Kind.INT64: 8,
    Kind.INT32: 4,
    Kind.DATE: 4,
    Kind.INSTANT: 8,
    Kind.INSTANT_DESCENDING: 8,
    Kind.FLAG: 1,
}
_ARROW = {
    Kind.ID: pa.int64(),
    Kind.INT64: pa.int64(),
    Kind.INT32: pa.int32(),
    Kind.DATE: pa.date32(),
    Kind.INSTANT: pa.timestamp("us", "UTC"),
    Kind.INSTANT_DESCENDING: pa.timestamp("us", "UTC"),
    Kind.FLAG: pa.bool_(),
    Kind.TEXT: pa.string(),
    Kind.RAW: pa.binary(),
}


@dataclass(frozen=True)
class Field:
    """One field: its name, kind and width in bytes.

    `ID` is a whole number ≥ 0; `INSTANT` a UTC time to the microsecond; `INSTANT_DESCENDING` sorts the newest first
    (Long.MAX − µs, architecture section 5). Values are never null here: `packing.Cell` keeps nulls beside its fields.

    >>> Field("n", Kind.INT32).encode(-1) < Field("n", Kind.INT32).encode(0)
    True
    """

    name: str
    kind: Kind
    size: int = 0

    @property
    def width(self) -> int:
        """Bytes that every value of this field takes."""
        return _WIDTHS.get(self.kind, self.size)

    @property
    def arrow_type(self) -> pa.DataType:
        """Arrow type of a column of this field."""
        return _ARROW[self.kind]

    @property
    def mask(self) -> int:
        """What a two's complement number is XORed with so that its unsigned bytes sort as meant."""
        if self.kind in (Kind.ID, Kind.FLAG):
            return 0
        if self.kind is Kind.INSTANT_DESCENDING:
            return (1 << 63) - 1
        return 1 << (8 * self.width - 1)

    def encode(self, value: Any) -> bytes:
        """Bytes of one value; BadInput when it does not fit."""
        if self.kind in (Kind.TEXT, Kind.RAW):
            return self._encode_bytes(value)
        number = self._number(value)
        bits = 8 * self.width
        low = 0 if self.kind in (Kind.ID, Kind.FLAG) else -(1 << (bits - 1))
        if not low <= number < 1 << (bits - 1):
            raise BadInput(f"{self.name}: {value!r} does not fit into {self.kind}")
        return ((number & ((1 << bits) - 1)) ^ self.mask).to_bytes(self.width, "big")

    def decode(self, data: bytes) -> Any:
        """The value whose `encode` gave these bytes."""
        if self.kind is Kind.TEXT:
            return data.rstrip(b"\0").decode()
        if self.kind is Kind.RAW:
            return data
        bits = 8 * self.width
        number = int.from_bytes(data, "big") ^ self.mask
        if number >> (bits - 1):
            number -= 1 << bits
        if self.kind is Kind.DATE:
            return _EPOCH_DAY + timedelta(days=number)
        if self.kind in (Kind.INSTANT, Kind.INSTANT_DESCENDING):
            return _EPOCH + timedelta(microseconds=number)
        return bool(number) if self.kind is Kind.FLAG else number

    def encode_column(self, column: pa.Array) -> np.ndarray[Any, Any]:
        """The same bytes for a whole column: a matrix (rows, width) of uint8; the rows of nulls are zero bytes."""
        if self.kind in (Kind.TEXT, Kind.RAW):
            return self._encode_bytes_column(column)
        array = column.cast(self.arrow_type)
        if self.kind in (Kind.DATE, Kind.FLAG):
            array = array.cast(pa.int32())
        numbers = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        if self.kind is Kind.ID and bool((numbers < 0).any()):
            raise BadInput(f"{self.name}: a negative number does not fit into {self.kind}")
        unsigned = np.dtype(f"u{self.width}")
        coded = (numbers.astype(unsigned) ^ unsigned.type(self.mask)).astype(unsigned.newbyteorder(">"))
        matrix = coded.view(np.uint8).reshape(len(column), self.width)
        return _blank_nulls(matrix, column)

    def decode_column(self, matrix: np.ndarray[Any, Any]) -> pa.Array:
        """The column whose `encode_column` gave this matrix (rows, width) of uint8."""
        block = np.ascontiguousarray(matrix)
        if self.kind is Kind.RAW:
            return fixed_binary(block)
        if self.kind is Kind.TEXT:
            return pa.array(block.view(f"S{self.width}").ravel().tolist(), pa.binary()).cast(pa.string())
        unsigned = np.dtype(f"u{self.width}")
        plain = block.view(unsigned.newbyteorder(">")).ravel().astype(unsigned) ^ unsigned.type(self.mask)
        numbers = pa.array(plain.view(f"i{self.width}"))
        if self.kind is Kind.FLAG:
            return numbers.cast(pa.bool_())
        return numbers.cast(self.arrow_type)

    def _number(self, value: Any) -> int:
        if self.kind is Kind.DATE:
            if type(value) is not date:
                raise BadInput(f"{self.name}: {value!r} is not a date")
            return (value - _EPOCH_DAY).days
        if self.kind in (Kind.INSTANT, Kind.INSTANT_DESCENDING):
            if not isinstance(value, datetime) or value.tzinfo is None:
                raise BadInput(f"{self.name}: {value!r} is not a time with an offset")
            return (value - _EPOCH) // _MICROSECOND
        if type(value) is not (bool if self.kind is Kind.FLAG else int):
            raise BadInput(f"{self.name}: {value!r} is not of kind {self.kind}")
        return int(value)

    def _encode_bytes(self, value: Any) -> bytes:
        data = value.encode() if isinstance(value, str) else value
        if not isinstance(data, bytes) or len(data) > self.width or (self.kind is Kind.RAW and len(data) != self.width):
            raise BadInput(f"{self.name}: {value!r} does not fit into {self.width} bytes")
        if self.kind is Kind.TEXT and b"\0" in data:
            raise BadInput(f"{self.name}: text must not hold a NUL character")
        return data.ljust(self.width, b"\0")

    def _encode_bytes_column(self, column: pa.Array) -> np.ndarray[Any, Any]:
        array = column.cast(self.arrow_type)
        rows = len(array)
        matrix = np.zeros((rows, self.width), np.uint8)
        _, offset_buffer, data_buffer = array.buffers()
        if rows == 0 or data_buffer is None:
            lengths, data = np.zeros(rows, np.int32), np.zeros(0, np.uint8)
        else:
            offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + rows + 1]
            lengths = np.diff(offsets)
            data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
            starts = np.repeat(offsets[:-1] - offsets[0], lengths)
            if bool((lengths > self.width).any()):
                raise BadInput(f"{self.name}: a value is longer than {self.width} bytes")
            matrix[np.repeat(np.arange(rows), lengths), np.arange(len(data)) - starts] = data
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        if self.kind is Kind.RAW and bool((lengths[valid] != self.width).any()):
            raise BadInput(f"{self.name}: a value is not {self.width} bytes long")
        if self.kind is Kind.TEXT and not bool(data.all()):
            raise BadInput(f"{self.name}: text must not hold a NUL character")
        return _blank_nulls(matrix, array)


def _blank_nulls(matrix: np.ndarray[Any, Any], column: pa.Array) -> np.ndarray[Any, Any]:
    """Zero bytes where the column is null: equal rows must have equal bytes."""
    if column.null_count:
        matrix[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return matrix


def fixed_binary(matrix: np.ndarray[Any, Any]) -> pa.Array:
    """A binary Arrow column over the rows of a matrix (rows, width) of uint8, without a copy where it is contiguous."""
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.BinaryArray.from_buffers(
        pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(matrix))]
    )


def matrix_of(column: pa.Array, width: int) -> np.ndarray[Any, Any]:
    """The reverse of `fixed_binary`; BadInput when a value is null or has another width."""
    array = column.cast(pa.binary())
    if array.null_count:
        raise BadInput(f"a key or packed cell of {width} bytes is null")
    if len(array) == 0:
        return np.zeros((0, width), np.uint8)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    if bool((np.diff(offsets) != width).any()):
        raise BadInput(f"a key or packed cell is not {width} bytes long")
    return np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]].reshape(len(array), width)
