"""Replies of HBase's `scannerGetList` read from raw Thrift frames into Arrow, without an object a row.

Rows of one width and one cell lie at a fixed stride: a matrix view over the frame, of which every constant byte is verified.
A reply whose rows are not uniform is read by the slice parser instead; both give the same columns.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from thriftpy2.protocol import TBinaryProtocol
from thriftpy2.thrift import TClient
from thriftpy2.transport import TFramedTransport, TSocket

from domain.errors import Failed
from hbase_schema import thrift
from hbase_schema.fields import fixed_binary

from Hbase_thrift import Hbase  # type: ignore[import-not-found]  # isort: skip

NAMES = ["row", "p"]
_INT32 = struct.Struct("!i")
_METHOD = b"scannerGetList"
# strict binary protocol: version and type of a reply, method name, sequence number, field 0 of type list, of structs
_REPLY = b"\x80\x01\x00\x02" + _INT32.pack(len(_METHOD)) + _METHOD + bytes(4) + b"\x0f\x00\x00\x0c"
_ROW_FIELD, _MAP_FIELD = b"\x0b\x00\x01", b"\x0d\x00\x02\x0b\x0c"
_VALUE_FIELD, _TIME_FIELD = b"\x0b\x00\x01", b"\x0a\x00\x02"


class TornFrame(EOFError):
    """The connection ended inside a reply."""


def scan(
    address: tuple[str, int], table: bytes, wanted: Any, rows_per_reply: int, timeout_seconds: float
) -> Iterator[pa.RecordBatch]:
    """Record batches (row binary, p binary) of a Thrift scan, on a connection of its own, until the server says that it ended."""
    with socket.create_connection(address, timeout_seconds) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handle = TSocket()
        handle.set_handle(plain)
        client = TClient(Hbase, TBinaryProtocol(TFramedTransport(handle), decode_response=False))
        scanner = client.scannerOpenWithScan(table, wanted, {})
        request = _request(scanner, rows_per_reply)
        while True:
            plain.sendall(request)
            batch = decode(_frame(plain), thrift.column_of(wanted))
            if batch is None:
                break
            yield batch
        client.scannerClose(scanner)


def decode(frame: bytes | bytearray, column: bytes) -> pa.RecordBatch | None:
    """Rows of one reply, or None when it says that the scan has ended; rows without `column` are left out."""
    if not frame.startswith(_REPLY):
        raise thrift.refusal(bytes(frame))
    at = len(_REPLY)
    (rows,) = _INT32.unpack_from(frame, at)
    if rows == 0:
        return None
    at += 4
    return _uniform(frame, at, rows, column) or _sliced(frame, at, rows, column)


def _request(scanner: int, rows: int) -> bytes:
    call = b"\x80\x01\x00\x01" + _INT32.pack(len(_METHOD)) + _METHOD + bytes(4)
    call += b"\x08\x00\x01" + _INT32.pack(scanner) + b"\x08\x00\x02" + _INT32.pack(rows) + b"\x00"
    return _INT32.pack(len(call)) + call


def _frame(plain: socket.socket) -> bytearray:
    (length,) = _INT32.unpack(_receive(plain, 4))
    return _receive(plain, length)


def _receive(plain: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view, at = memoryview(data), 0
    while at < length:
        got = plain.recv_into(view[at:], length - at)
        if got == 0:
            raise TornFrame(f"{at} of {length} bytes came")
        at += got
    return data


def _uniform(frame: bytes | bytearray, at: int, rows: int, column: bytes) -> pa.RecordBatch | None:
    """Rows at a fixed stride, or None when a length, a qualifier or a type tag of any row is not as in the first."""
    stride, rest = divmod(len(frame) - at - 1, rows)
    (key_width,) = _INT32.unpack_from(frame, at + 3)
    middle = _MAP_FIELD + _INT32.pack(1) + _INT32.pack(len(column)) + column + _VALUE_FIELD
    key_at = 7
    middle_at = key_at + key_width
    value_at = middle_at + len(middle) + 4
    if rest or stride <= value_at or frame[at : at + 3] != _ROW_FIELD:
        return None
    if frame[at + middle_at : at + middle_at + len(middle)] != middle:
        return None
    (value_width,) = _INT32.unpack_from(frame, at + value_at - 4)
    tail_at = value_at + value_width
    if stride != tail_at + len(_TIME_FIELD) + 8 + 2:
        return None
    matrix = np.frombuffer(frame, np.uint8, rows * stride, at).reshape(rows, stride)
    constant = np.ones(stride, bool)
    constant[key_at:middle_at] = False
    constant[value_at:tail_at] = False
    constant[tail_at + len(_TIME_FIELD) : tail_at + len(_TIME_FIELD) + 8] = False
    if frame[at + tail_at : at + tail_at + 3] != _TIME_FIELD or bytes(matrix[0, -2:]) != b"\0\0":
        return None
    if not bool((matrix[:, constant] == matrix[0, constant]).all()):
        return None
    columns = [fixed_binary(matrix[:, key_at:middle_at]), fixed_binary(matrix[:, value_at:tail_at])]
    return pa.RecordBatch.from_arrays(columns, names=NAMES)


def _sliced(frame: bytes | bytearray, at: int, rows: int, column: bytes) -> pa.RecordBatch:
    """Rows of any width and any number of cells, by walking the frame."""
    data, keys, values = bytes(frame), [], []
    for _ in range(rows):
        key, at = _bytes_field(data, at, _ROW_FIELD)
        if data[at : at + 5] != _MAP_FIELD:
            raise Failed("HBase sent a row without its map of cells")
        (cells,) = _INT32.unpack_from(data, at + 5)
        at += 9
        for _ in range(cells):
            name, at = _bytes_field(data, at, b"")
            value, at = _bytes_field(data, at, _VALUE_FIELD)
            if data[at : at + 3] != _TIME_FIELD or data[at + 11] != 0:
                raise Failed("HBase sent a cell without its timestamp")
            at += 12
            if name == column:
                keys.append(key)
                values.append(value)
        if data[at] != 0:
            raise Failed("HBase sent a row with a field that is not known")
        at += 1
    if at != len(data) - 1:
        raise Failed(f"HBase's reply has {len(data) - 1 - at} bytes that are not rows")
    return pa.RecordBatch.from_arrays([pa.array(keys, pa.binary()), pa.array(values, pa.binary())], names=NAMES)


def _bytes_field(data: bytes, at: int, tag: bytes) -> tuple[bytes, int]:
    start = at + len(tag)
    if data[at:start] != tag:
        raise Failed("HBase's reply is not a list of rows")
    (length,) = _INT32.unpack_from(data, start)
    return data[start + 4 : start + 4 + length], start + 4 + length
