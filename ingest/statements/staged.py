"""Tables of one file, written where nobody looks until the whole file is found good."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.statements.model import BAD_ROWS, ENTRIES, BadRows, Ended, Entries, Event, Parts, Records, Statement, statement_table
from ingest.statements.refusal import Refused
from ingest.statements.source import Content

ROW_GROUP_ROWS = 128 * 1024
_MEMORY = "512MB"
_REPEATING = (
    *("stmt_id", "dr_cr", "currency", "status", "book_date", "value_date", "type_code", "type_family", "reversal_flag"),
    *("file_sha256", "platform_no", "biz_type", "pay_company_code"),
)
_UTC = "%Y-%m-%dT%H:%M:%S.%fZ"
_SAME = (
    "stmt_id, bank_ref, cust_ref, e2e_id, dr_cr, amount_minor, book_date, value_date, reversal_flag, status, type_code, "
    "counterparty_name, counterparty_acct, remittance"
)


class _Table:
    """One Parquet file, in row groups of a good size whatever comes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        # a dictionary of values that hardly repeat costs more than all the rest of the writing
        repeating = [name for name in _REPEATING if name in schema.names]
        rising = {name: "DELTA_BINARY_PACKED" for name in ("entry_no", "line_no") if name in schema.names}
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=repeating,
            column_encoding=rising,
            write_statistics=repeating,
        )
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self._held_rows += len(batch)
        self.rows += len(batch)
        if self._held_rows >= ROW_GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held, self._schema), row_group_size=2 * ROW_GROUP_ROWS)
        self._held, self._held_rows = [], 0

    def close(self) -> None:
        self.flush()
        self._writer.close()


class Staged:
    """The tables of one file in a folder: `entries`, `parts`, `records`, `bad_rows`, `statements`; use as a context manager."""

    def __init__(self, folder: Path, content: Content) -> None:
        self.folder, self.content = folder, content
        self.statements: list[Statement] = []
        self.tables: dict[str, _Table] = {}
        self.bad_row_cnt = 0

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Finish the files; they may be read now."""
        for table in self.tables.values():
            table.close()
        self.tables = {}

    def add(self, event: Event) -> None:
        """What a reader gave."""
        if isinstance(event, Ended):
            self.statements.append(event.statement)
            return
        name, schema = _table_of(event)
        if name not in self.tables:
            self.tables[name] = _Table(self.folder / f"{name}.parquet", schema)
        self.tables[name].add(event.batch)
        if isinstance(event, BadRows):
            # one row may have several faults, and lies in one batch
            self.bad_row_cnt += len(event.batch.column("line_no").unique())

    def rows(self, name: str) -> int:
        """Rows of a table so far; ask before `finish`."""
        return self.tables[name].rows if name in self.tables else 0

    def finish(self) -> None:
        """Write the statements and close all."""
        if self.statements:
            pq.write_table(statement_table(self.statements), self.folder / "statements.parquet")
            self.tables.setdefault(
                "entries", _Table(self.folder / "entries.parquet", ENTRIES)
            ) if "entries" not in self.tables else None
        self.close()

    def refuse_repeats(self, form: str, unique: list[str]) -> None:
        """Refuse a file in which a key comes twice; after `finish`.

        The keys are the layout's; the bank's own id in OFX; elsewhere two entries alike in everything with a bank reference, in
        statements that no balance proves. With a proving balance two rows alike are two bookings.
        """
        if unique:
            table = "records" if (self.folder / "records.parquet").exists() else "entries"
            scope = ["stmt_id"] if table == "entries" else []
            self._refuse_repeat(table, ", ".join([*scope, *(f'"{name}"' for name in unique)]), f'"{unique[0]}" IS NOT NULL')
        elif form == "ofx":
            self._refuse_repeat("entries", "stmt_id, bank_ref", "bank_ref IS NOT NULL")
        elif form in {"camt", "mt942", "bai2", "mt940"}:
            unproved = [statement.stmt_id for statement in self.statements if statement.proof != "BALANCE"]
            if unproved:
                self._refuse_repeat("entries", _SAME, "bank_ref IS NOT NULL AND list_contains(?, stmt_id)", unproved)

    def refuse_overlap(self, landed: list[Path]) -> None:
        """Refuse a file with a booking that landed before, by account, currency and the bank's own id; after `finish`.

        OFX downloads overlap as their user likes, and neither number nor balance would tell.
        """
        paths = [path for path in landed if (path.parent / "statements.parquet").exists()]
        if not paths:
            return
        of = "SELECT e.line_no, e.bank_ref, e.currency, s.account FROM read_parquet(?) e JOIN read_parquet(?) s USING (stmt_id)"
        with duckdb.connect(
            config={"threads": 1, "memory_limit": _MEMORY, "temp_directory": str(self.folder / "spill")}
        ) as engine:
            found = engine.execute(
                f"SELECT min(n.line_no) FROM ({of}) n JOIN ({of} WHERE s.format = 'OFX') o USING (account, currency, bank_ref)",
                [
                    *(str(self.folder / f"{name}.parquet") for name in ("entries", "statements")),
                    *([str(path.parent / f"{name}.parquet") for path in paths] for name in ("entries", "statements")),
                ],
            ).fetchone()
        if found and found[0] is not None:
            raise Refused(
                "DUPLICATE", self.content.at(found[0]), "the booking landed before: the bank's id is known for the account"
            )

    def _refuse_repeat(self, table: str, keys: str, where: str, *arguments: object) -> None:
        path = self.folder / f"{table}.parquet"
        if not path.exists():
            return
        with duckdb.connect(
            config={"threads": 1, "memory_limit": _MEMORY, "temp_directory": str(self.folder / "spill")}
        ) as engine:
            # hashes first: most files have no repeat, and grouping integers costs a third of grouping texts
            hashed = f"SELECT 1 FROM read_parquet(?) WHERE {where} GROUP BY hash({keys}) HAVING count(*) > 1 LIMIT 1"
            if engine.execute(hashed, [str(path), *arguments]).fetchone() is None:
                return
            found = engine.execute(
                f"SELECT min(line_no), max(line_no) FROM read_parquet(?) WHERE {where} "
                f"GROUP BY {keys} HAVING count(*) > 1 ORDER BY 2 LIMIT 1",
                [str(path), *arguments],
            ).fetchone()
        if found:
            raise Refused("DUPLICATE", self.content.at(found[1]), f"the row has the key of line {found[0]} ({keys})")


def as_json(folder: Path) -> None:
    """Each Parquet table of a folder as JSON Lines beside it, streamed."""
    with duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY, "temp_directory": str(folder / "spill")}) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        for path in sorted(folder.glob("*.parquet")):
            target = path.with_suffix(".jsonl")
            rows = f"SELECT * FROM read_parquet('{_quoted(path)}')"
            engine.execute(f"COPY ({rows}) TO '{_quoted(target)}' (FORMAT json, TIMESTAMPFORMAT '{_UTC}')")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _table_of(event: Entries | Parts | Records | BadRows) -> tuple[str, pa.Schema]:
    if isinstance(event, Entries):
        return "entries", ENTRIES
    if isinstance(event, Parts):
        return "parts", ENTRIES
    if isinstance(event, BadRows):
        return "bad_rows", BAD_ROWS
    return "records", event.batch.schema
