"""Every hard file of tests/data/statements reads as its expectation says, or is refused with its code and place."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ingest.statements import formats
from ingest.statements.land import REFUSED, Target, land
from ingest.statements.source import Limits

CORPORA = Path(__file__).parent.parent / "data" / "statements"
AS_OF = date(2026, 9, 1)
TABLES = ("entries", "parts", "records", "bad_rows")
UNSAID = {"stmt_id", "file_sha256", "file_name"}
FILES = sorted(path for path in CORPORA.glob("*/*") if not path.name.endswith((".expected.json", ".md")))


def told(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value


def found(path: Path, out: Path) -> dict[str, Any]:
    """What landing one file alone gives: its verdict, its statements and all rows, empty values left out."""
    (verdict,) = land([path], formats.chosen("auto", None, None), Target(out), Limits(AS_OF))
    if verdict.state == REFUSED:
        return {
            "state": REFUSED,
            "code": verdict.code,
            "line_no": verdict.line_no,
            "column_no": verdict.column_no,
            "reason": verdict.reason,
        }
    result: dict[str, Any] = {"state": verdict.state, "format": verdict.format}
    result["statements"] = [{k: v for k, v in row.items() if v is not None and k not in UNSAID} for row in verdict.statements]
    for name in TABLES:
        table = out / str(verdict.folder) / f"{name}.parquet"
        if table.exists():
            rows = pq.read_table(table).to_pylist()
            result[name] = [{k: told(v) for k, v in row.items() if v is not None and k not in UNSAID} for row in rows]
    return result


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_hard_file_reads_as_expected(path: Path, tmp_path: Path) -> None:
    expected = json.loads(path.with_name(path.name + ".expected.json").read_text(encoding="utf-8"))
    assert found(path, tmp_path) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_is_refused_leaves_nothing_but_the_reason(path: Path, tmp_path: Path) -> None:
    (verdict,) = land([path], formats.chosen("auto", None, None), Target(tmp_path), Limits(AS_OF))
    landed = [entry.name for entry in tmp_path.iterdir() if entry.name not in {"refused", ".lock"}]
    assert (verdict.state == REFUSED) == path.name.startswith("refused_")
    assert landed == ([] if verdict.state == REFUSED else [verdict.folder])


def test_every_format_has_its_corpus() -> None:
    assert {path.parent.name for path in FILES} == {"mt940", "mt942", "camt", "bai2", "ofx", "csv", "checkfiles", "feed"}
