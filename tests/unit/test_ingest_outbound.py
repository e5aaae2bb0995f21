"""Outbound files and acknowledgements: whatever the values, the same rows give the same bytes, and our own reader reads them."""

from __future__ import annotations

import csv
import hashlib
import re
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BadInput
from ingest.acknowledgement import read_acknowledgement
from ingest.outbound import OUTBOUND_KINDS, Sent, folder_of, write_body, write_file, write_manifest
from ingest.stream import GzipLines

DAY = date(2026, 8, 31)
KIND = OUTBOUND_KINDS["confirmation"]
INTEGERS = ("row_count", "control_sum", "sequence_no")
SCHEMA = pa.schema([(name, pa.int64() if name in INTEGERS else pa.string()) for name in KIND.columns])
_texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
_rows = st.lists(
    st.fixed_dictionaries({name: st.integers(-(2**62), 2**62) if name in INTEGERS else _texts for name in KIND.columns}),
    max_size=6,
)


def made(folder: Path, rows: list[dict[str, Any]]) -> tuple[Sent, Path]:
    """A confirmation of the rows, written under a folder."""
    with duckdb.connect(":memory:") as connection:
        connection.register("told", pa.Table.from_pylist(rows, SCHEMA))
        body = write_body(connection, KIND.kind, "select * from told", folder / "scratch")
    sent = Sent("BANK", "P01", "P01", KIND.kind, DAY, 7, 3, body.row_count, body.control_sum)
    write_file(folder, sent, body)
    return sent, folder_of(folder, "P01", DAY) / sent.file_name


@settings(deadline=None, max_examples=25)
@given(_rows, st.randoms())
def test_the_same_rows_in_any_order_give_the_same_bytes_that_our_reader_reads(rows: list[dict[str, Any]], random: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sent, path = made(folder, rows)
        content = path.read_bytes()
        shuffled = random.sample(rows, len(rows))
        assert made(folder, shuffled)[1].read_bytes() == content
        with GzipLines(path) as lines:
            assert lines.line(1) == "#FUNDWATCH,1,BANK,P01,confirmation,2026-08-31,7,3"
            assert lines.line(2) == ",".join(KIND.columns)
            text = b"".join(block for _, block in lines.blocks())
            assert lines.last_line == f"#TRAILER,{len(rows)},{sum(row['control_sum'] for row in rows)}"
            assert lines.sha256() == hashlib.sha256(content).hexdigest()
    found = sorted(csv.reader(text.decode().split("\n")[:-1], strict=True))
    assert found == sorted([["" if value is None else as_cell(value) for value in map(row.get, KIND.columns)] for row in rows])
    assert sent.row_count == len(rows)


def as_cell(value: object) -> str:
    """What a value looks like in a file: line breaks and NUL in a row are one blank."""
    return re.sub("[\r\n\0]+", " ", str(value))


def test_a_manifest_is_written_once_and_strangers_files_stay(tmp_path: Path) -> None:
    sent, path = made(tmp_path, [])
    (path.parent / "P01.results.000001.csv.gz").write_bytes(b"left over")
    (path.parent / "README").write_bytes(b"a person's")
    manifest = write_manifest(tmp_path, "P01", DAY, [sent])
    written = manifest.stat().st_mtime_ns, manifest.stat().st_ino
    assert write_manifest(tmp_path, "P01", DAY, [sent]) == manifest
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino) == written
    assert sorted(found.name for found in path.parent.iterdir()) == ["P01.confirmation.000007.csv.gz", "README", "manifest.csv"]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_at_all_crash_the_reader_of_acknowledgements(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ack.csv"
        path.write_bytes(content)
        with pytest.raises(BadInput):
            read_acknowledgement(path)


def test_a_wrong_acknowledgement_is_refused_with_the_line_and_what_is_wrong(tmp_path: Path) -> None:
    path, sha, head = tmp_path / "ack.csv", "ab" * 32, "#ACKNOWLEDGEMENT,1,P01\nfile_name,sha256,verdict,reason\n"
    path.write_text(f"{head}a,{sha},ACKNOWLEDGED,\nb,{sha},REJECTED,no room\n")
    assert [(each.line_no, each.verdict, each.reason) for each in read_acknowledgement(path).answers] == [
        (3, "ACKNOWLEDGED", None),
        (4, "REJECTED", "no room"),
    ]
    for text, sentence in (
        ("", "line 1 is not"),
        ("#ACKNOWLEDGEMENT,2,P01\n", "line 1 is not"),
        ("#ACKNOWLEDGEMENT,1,\n", "line 1 is not"),
        (head, "line 2 is not .* with a line a file behind it"),
        (head + "a,b\n", "line 3 has 2 fields"),
        (head + "a,ABC,ACKNOWLEDGED,\n", "is not a sha256"),
        (head + f"a,{sha},PERHAPS,\n", "the verdict is ACKNOWLEDGED or REJECTED"),
        (head + f"a,{sha},REJECTED, \n", "rejected without a reason"),
        (head + f"a,{sha},REJECTED,{'x' * 501}\n", "longer than 500"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=sentence):
            read_acknowledgement(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_acknowledgement(tmp_path / "none")
    with pytest.raises(BadInput, match="is not a file"):
        read_acknowledgement(tmp_path)
