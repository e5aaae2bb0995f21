"""Raw Thrift replies: the fast way and the careful way read the same rows, and what is not a reply is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Failed
from hbase_schema import frames
from hbase_schema.client import MAX_BATCH_BYTES, after_prefix, batches
from hbase_schema.spark_source import Region, clip
from hbase_schema.thrift import CONNECTION_LOST

COLUMN = b"d:p"
Cells = dict[bytes, bytes]


def _text(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def _reply(rows: list[tuple[bytes, Cells]]) -> bytes:
    parts = [b"\x80\x01\x00\x02" + _text(b"scannerGetList") + bytes(4) + b"\x0f\x00\x00\x0c" + struct.pack("!i", len(rows))]
    for key, cells in rows:
        parts.append(b"\x0b\x00\x01" + _text(key) + b"\x0d\x00\x02\x0b\x0c" + struct.pack("!i", len(cells)))
        for name, value in cells.items():
            parts.append(_text(name) + b"\x0b\x00\x01" + _text(value) + b"\x0a\x00\x02" + struct.pack("!q", 7) + b"\0")
        parts.append(b"\0")
    return b"".join(parts) + b"\0"


def _read(rows: list[tuple[bytes, Cells]]) -> list[tuple[bytes, bytes]]:
    batch = frames.decode(_reply(rows), COLUMN)
    assert batch is not None
    return list(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), min_size=1, max_size=8))
def test_rows_of_any_widths_are_read_as_they_are(rows: list[tuple[bytes, bytes]]) -> None:
    assert _read([(key, {COLUMN: value}) for key, value in rows]) == rows


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(min_size=3, max_size=3)), min_size=1, max_size=8))
def test_rows_of_one_width_take_the_fast_way(rows: list[tuple[bytes, bytes]]) -> None:
    reply = _reply([(key, {COLUMN: value}) for key, value in rows])
    fast = frames._uniform(reply, len(frames._REPLY) + 4, len(rows), COLUMN)
    assert fast is not None
    assert list(zip(fast.column(0).to_pylist(), fast.column(1).to_pylist(), strict=True)) == rows


def test_rows_with_the_same_total_width_but_other_parts_are_told_apart() -> None:
    rows = [(b"aa", {COLUMN: b"1234"}), (b"aaaa", {COLUMN: b"12"}), (b"aaa", {COLUMN: b"123"})]
    assert _read(rows) == [(key, cells[COLUMN]) for key, cells in rows]


def test_other_columns_are_left_out() -> None:
    rows = [(b"a", {b"d:i": b"no", COLUMN: b"yes"}), (b"b", {b"d:i": b"no"}), (b"c", {COLUMN: b"too"})]
    assert _read(rows) == [(b"a", b"yes"), (b"c", b"too")]


def test_an_empty_reply_is_the_end_of_the_scan() -> None:
    assert frames.decode(_reply([]), COLUMN) is None


def test_a_scanner_that_the_server_forgot_counts_as_a_lost_connection() -> None:
    reply = (
        b"\x80\x01\x00\x02" + _text(b"scannerGetList") + bytes(4) + b"\x0c\x00\x02\x0b\x00\x01" + _text(b"scanner ID is invalid")
    )
    with pytest.raises(CONNECTION_LOST):
        frames.decode(reply, COLUMN)


def test_any_other_answer_is_an_error() -> None:
    with pytest.raises(Failed):
        frames.decode(b"HTTP/1.1 400 Bad Request", COLUMN)


def test_a_reply_with_bytes_left_over_is_an_error() -> None:
    with pytest.raises(Failed):
        frames.decode(_reply([(b"a", {COLUMN: b"1"})])[:-1] + b"xx\0", COLUMN)


def test_a_scan_range_is_cut_to_the_regions_it_touches() -> None:
    regions = [(b"", b"\x01"), (b"\x01", b"\x02"), (b"\x02", b"")]
    assert clip(regions, b"", b"") == [Region(b"", b"\x01"), Region(b"\x01", b"\x02"), Region(b"\x02", b"")]
    assert clip(regions, b"\x01\x05", b"\x01\x06") == [Region(b"\x01\x05", b"\x01\x06")]
    assert clip(regions, b"\x01\x05", b"\x02") == [Region(b"\x01\x05", b"\x02")]
    assert clip(regions, b"\x02\x09", b"") == [Region(b"\x02\x09", b"")]


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=4), st.binary(max_size=4))
def test_the_key_behind_a_prefix_is_behind_all_its_keys(prefix: bytes, rest: bytes) -> None:
    behind = after_prefix(prefix)
    assert behind == b"" or prefix + rest < behind
    assert not behind.startswith(prefix)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300_000), max_size=30))
def test_batches_keep_order_and_stay_below_a_megabyte(lengths: list[int]) -> None:
    rows = [(b"key%d" % index, bytes(length)) for index, length in enumerate(lengths)]
    cut = list(batches(rows))
    assert [row for batch in cut for row in batch] == rows
    assert all(sum(len(k) + len(v or b"") for k, v in batch) <= MAX_BATCH_BYTES for batch in cut)


def test_batches_have_at_most_a_thousand_rows() -> None:
    assert [len(batch) for batch in batches((b"%d" % index, None) for index in range(2500))] == [1000, 1000, 500]
