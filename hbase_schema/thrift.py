"""A Thrift connection to HBase (framed, binary) with a time limit on every call, and what its errors mean."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import happybase
from thriftpy2.thrift import TApplicationException, TException
from thriftpy2.transport import TTransportException

from domain.errors import Failed, FundwatchError, ServiceMissing

# happybase registers its compiled interface under this name when it is imported
from Hbase_thrift import BatchMutation, IllegalArgument, IOError, Mutation, TScan  # type: ignore[import-not-found]  # isort: skip

CONNECTION_LOST = (TTransportException, OSError, EOFError, struct.error, IllegalArgument)
"""A dropped socket, a timeout, a torn frame, or a scanner that a restarted server does not know."""

_ABSENT = ("TableNotFoundException", "UnknownTable", "TableNotEnabled")


def connect(host: str, port: int, timeout_seconds: float) -> Any:
    """An open happybase connection; every socket operation of it is bounded by `timeout_seconds`."""
    connection = happybase.Connection(
        host, port, timeout=max(1, int(timeout_seconds * 1000)), transport="framed", protocol="binary", autoconnect=False
    )
    connection.open()
    return connection


def close(connection: Any) -> None:
    """Close a connection that may be broken already."""
    with suppress(OSError, TException):
        connection.close()


def meaning(error: Exception, host: str, port: int) -> FundwatchError:
    """The error that people see for one that Thrift or the socket raised."""
    if isinstance(error, IOError):
        message = error.message.decode(errors="replace") if isinstance(error.message, bytes) else str(error.message)
        text = message.strip().partition("\n")[0][:300]
        if any(name in text for name in _ABSENT):
            return ServiceMissing(f"an HBase table is missing: run `fundwatch hbase apply` ({text})")
        return Failed(f"HBase refused a call: {text}")
    if isinstance(error, TApplicationException):
        return Failed(f"HBase Thrift at {host}:{port} speaks another interface: {error}")
    return ServiceMissing(f"HBase Thrift at {host}:{port} does not answer: {type(error).__name__} {error}".strip())


def mutations(rows: Sequence[tuple[bytes, bytes | None]], column: bytes) -> list[Any]:
    """A Thrift batch of one cell a row; None deletes the cell (all versions up to the batch's timestamp)."""
    return [
        BatchMutation(row, [Mutation(isDelete=value is None, column=column, value=value, writeToWAL=True)]) for row, value in rows
    ]


def scan(start: bytes, stop: bytes, column: bytes, caching: int, before_timestamp: int | None, reverse: bool = False) -> Any:
    """A Thrift scan of one column over [start, stop), of cells older than `before_timestamp`."""
    options = {"reversed": True} if reverse else {}
    return TScan(startRow=start, stopRow=stop, timestamp=before_timestamp, columns=[column], caching=caching, **options)


def column_of(wanted: Any) -> bytes:
    """The one column that a scan made by `scan` asks for."""
    return bytes(wanted.columns[0])


def refusal(frame: bytes) -> Exception:
    """The error that a raw `scannerGetList` reply holds: IllegalArgument for a scanner that is not known, else Failed."""
    text = frame[:500].decode("utf-8", errors="replace")
    if "scanner ID is invalid" in text:
        return IllegalArgument(message=text)
    return Failed(f"HBase refused to go on with a scan: {text}")
