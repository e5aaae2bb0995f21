"""Bank statements of any format as a side of `fundwatch recon run`: a spec's side says `format: statement`.

Each file is read and controlled as `fundwatch ingest` does, in a temporary folder; a file that is refused stops the run with its
sentence, its bad rows go to the side's quarantine. Columns are those of `ingest.statements.model.Entry` and the statement's
`account`, `stmt_ref`, `seq_no`; amounts are minor units, and ``sign: {column: dr_cr, negative: [D]}`` says which way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.errors import BadInput
from ingest.statements import formats
from ingest.statements.land import REFUSED, Target, land
from ingest.statements.source import Limits
from recon.sources import BATCH_ROWS, RAW_MAX, READERS, Block, RowFault
from recon.spec import SourceSpec

FORMAT = "statement"
_OF_STATEMENT = ("account", "stmt_ref", "seq_no")


def register() -> None:
    """Let specs name the format."""
    READERS[FORMAT] = read_statement


def read_statement(path: Path, source: SourceSpec, wanted: tuple[str, ...]) -> Iterator[Block]:
    """Entries of one file of statements as blocks; BadInput when the file is refused or a column is none of an entry."""
    with tempfile.TemporaryDirectory(prefix="fundwatch-statement-") as folder:
        target = Target(Path(folder))
        find = formats.chosen("auto", None, None)
        for verdict in list(land([path], find, target, Limits(datetime.now(UTC).date()))):
            if verdict.state == REFUSED:
                raise BadInput(f"{path.name} is refused, {verdict.code}: {verdict.reason}")
            assert verdict.folder is not None
            yield from _blocks(path, Path(folder) / verdict.folder, wanted)


def _blocks(path: Path, landed: Path, wanted: tuple[str, ...]) -> Iterator[Block]:
    if not (landed / "entries.parquet").exists():
        raise BadInput(f"{path.name} holds no entries of statements")
    entries = pq.ParquetFile(landed / "entries.parquet")
    known = (*entries.schema_arrow.names, *_OF_STATEMENT)
    if unknown := [name for name in wanted if name not in known]:
        raise BadInput(f"{path.name}: an entry has no column {', '.join(unknown)}; it has {', '.join(known)}")
    statements = pq.read_table(landed / "statements.parquet", columns=["stmt_id", *_OF_STATEMENT])
    broken = _broken(path, landed)
    for batch in entries.iter_batches(batch_size=BATCH_ROWS):
        table = pa.Table.from_batches([batch])
        places = pc.index_in(table["stmt_id"], statements["stmt_id"].combine_chunks())
        for name in _OF_STATEMENT:
            table = table.append_column(name, statements[name].take(places))
        lines, table = table["line_no"].combine_chunks().cast(pa.int64()), table.select(list(wanted))
        yield Block(table, lines, lambda index, table=table: str(table.slice(index, 1).to_pylist()[0])[:RAW_MAX], broken)  # type: ignore[misc]
        broken = []
    if broken:
        yield Block(entries.schema_arrow.empty_table().select([]), pa.array([], pa.int64()), str, broken)


def _broken(path: Path, landed: Path) -> list[RowFault]:
    if not (landed / "bad_rows.parquet").exists():
        return []
    rows = pq.read_table(landed / "bad_rows.parquet").to_pylist()
    return [
        RowFault(
            path.name,
            row["line_no"],
            row["column_name"] or "*",
            row["reason"],
            f"对账单该行未通过校验:{row['reason']}",
            row["raw"] or "",
        )
        for row in rows
    ]
