"""Spark's data source `fundwatch_hbase`: a table of the history store as the columns ``row binary, p binary``.

Options: `host`, `port`, `table` (full name, prefix included); for reading `prefix` or `start` and `stop` (hex), `run_bound`
(cells of later runs are hidden), `batch_rows`; for writing `timestamp` (the run id), and for writing many tables at once
`table_prefix` instead of `table`, the rows then being ``table string, row binary, p binary``, where `table` is a tag (a table for
its cell `d:p`, ``TABLE:QUALIFIER`` for another cell). `timeout_seconds` bounds every
socket operation. Register it once a session: ``spark.dataSource.register(HistorySource)``; over Connect the server's `PYTHONPATH`
must have the project. Reading takes one task a region. Writing puts a cell a row, or deletes it where `p` is null; it may be
repeated at will, because row keys and timestamp are given: a task that is tried again leaves the same rows. One row of every
Arrow batch is read back as a page would read it.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.datasource import DataSource, DataSourceArrowWriter, DataSourceReader, InputPartition, WriterCommitMessage
from pyspark.sql.types import StructType

from domain.errors import Failed, FundwatchError, ServiceMissing, WrongUse
from fundwatch.settings import Settings
from hbase_schema import frames, thrift
from hbase_schema.client import HistoryClient, after_prefix

NAME = "fundwatch_hbase"
SCHEMA = "row binary, p binary"
_COLUMN = b"d:p"
_OURS = re.compile(r"domain\.errors\.(?P<kind>\w+): (?P<sentence>[^\n]+)")


@dataclass
class Region(InputPartition):
    """The part of a scan that lies in one region: [start, stop), empty = open."""

    start: bytes
    stop: bytes


@dataclass
class Written(WriterCommitMessage):
    """What one write task put and deleted."""

    rows: int


class HistorySource(DataSource):
    """Registered as `fundwatch_hbase`; see the module for options."""

    @classmethod
    def name(cls) -> str:
        """Format name for `spark.read.format` and `DataFrame.write.format`."""
        return NAME

    def schema(self) -> str:
        """Row key and packed cell."""
        return SCHEMA

    def reader(self, schema: StructType) -> DataSourceReader:
        """Reader of a table, one task a region."""
        return _Reader(_Options(self.options))

    def writer(self, schema: StructType, overwrite: bool) -> DataSourceArrowWriter:
        """Writer at an explicit timestamp; overwrite is refused, since a table holds many runs."""
        if overwrite:
            raise WrongUse("fundwatch_hbase is written with mode append: rows of other runs must stay")
        options = _Options(self.options)
        wanted = ["row", "p"] if options.table else ["table", "row", "p"]
        if schema.names != wanted:
            raise WrongUse(f"fundwatch_hbase is written with the columns {', '.join(wanted)}, not {', '.join(schema.names)}")
        return _Writer(options)


class _Options:
    """The source's options, read once and checked; plain values, so that tasks can be given them."""

    def __init__(self, options: Mapping[str, str]) -> None:
        missing = [name for name in ("host", "port") if not options.get(name)]
        if not options.get("table") and "table_prefix" not in options:
            missing.append("table")
        if missing:
            raise WrongUse(f"fundwatch_hbase needs the options {', '.join(missing)}")
        self.host, self.port, self.table = options["host"], int(options["port"]), options.get("table", "")
        self.table_prefix = "" if self.table else options["table_prefix"]
        self.timeout_seconds = float(options.get("timeout_seconds", "60"))
        self.batch_rows = int(options.get("batch_rows", "5000"))
        bound, timestamp = options.get("run_bound"), options.get("timestamp")
        self.before_timestamp = int(bound) + 1 if bound else None
        self.timestamp = int(timestamp) if timestamp else None
        prefix = bytes.fromhex(options.get("prefix", ""))
        self.start = prefix or bytes.fromhex(options.get("start", ""))
        self.stop = after_prefix(prefix) if prefix else bytes.fromhex(options.get("stop", ""))

    @property
    def target(self) -> str:
        """What is written, for people: a table, or all with a prefix."""
        return self.table or f"tables {self.table_prefix}*"

    def client(self) -> HistoryClient:
        """A client for one task; `table` has its prefix already, the tables that rows name have not."""
        return HistoryClient(self.host, self.port, self.table_prefix, self.timeout_seconds)


class _Reader(DataSourceReader):
    def __init__(self, options: _Options) -> None:
        self.options = options

    def partitions(self) -> Sequence[InputPartition]:
        """Regions that the wanted range touches, cut to it."""
        if not self.options.table:
            raise WrongUse("fundwatch_hbase reads one table: give the option table")
        with self.options.client() as client:
            regions = client.regions(self.options.table)
        if not regions:
            raise ServiceMissing(f"HBase table {self.options.table} is missing: run `fundwatch hbase apply`")
        return clip(regions, self.options.start, self.options.stop)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Rows of one region; a lost connection or scanner is replaced once a reply, from behind the last row that came."""
        assert isinstance(partition, Region)
        gc.disable()
        options, start, is_retry = self.options, partition.start, False
        while True:
            wanted = thrift.scan(start, partition.stop, _COLUMN, options.batch_rows, options.before_timestamp)
            address = (options.host, options.port)
            try:
                for batch in frames.scan(address, options.table.encode(), wanted, options.batch_rows, options.timeout_seconds):
                    is_retry = False
                    if batch.num_rows:
                        start = batch.column(0)[batch.num_rows - 1].as_py() + b"\0"
                        yield batch
            except thrift.CONNECTION_LOST as error:
                if is_retry:
                    raise thrift.meaning(error, options.host, options.port) from error
                is_retry = True
            else:
                return


class _Writer(DataSourceArrowWriter):
    def __init__(self, options: _Options) -> None:
        if options.timestamp is None:
            raise WrongUse("fundwatch_hbase needs the option timestamp (the run id) to write")
        self.options, self.timestamp = options, options.timestamp

    def write(self, iterator: Iterator[pa.RecordBatch]) -> WriterCommitMessage:
        """Put the rows of one task in bounded batches, and read one row of each Arrow batch back."""
        gc.disable()
        rows = 0
        with self.options.client() as client:
            for batch in iterator:
                for table, part in self._by_table(batch):
                    keys, cells = part.column("row").to_pylist(), part.column("p").to_pylist()
                    name, _, qualifier = table.partition(":")
                    rows += client.put_many(name, zip(keys, cells, strict=True), self.timestamp, qualifier or "p")
                    if client.get(name, keys[0], self.timestamp, qualifier or "p") != cells[0]:
                        raise Failed(f"HBase table {table} does not give back row {keys[0].hex()} of run {self.timestamp}")
        return Written(rows)

    def _by_table(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        if self.options.table:
            names = [self.options.table] if batch.num_rows else []
        else:
            names = pc.unique(batch.column("table")).to_pylist()
        for name in names:
            yield name, batch if len(names) == 1 else batch.filter(pc.equal(batch.column("table"), name))

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        """All tasks are done: say how many rows were written."""
        if any(message is None for message in messages):
            raise Failed(f"a task of the write to {self.options.target} gave no count")
        rows = sum(message.rows for message in messages if isinstance(message, Written))
        logging.getLogger(NAME).info("%s: %d rows at timestamp %d", self.options.target, rows, self.timestamp)

    def abort(self, messages: list[WriterCommitMessage | None]) -> None:
        """Rows already put stay: the next attempt writes the same keys at the same timestamp."""
        logging.getLogger(NAME).warning("%s: write at timestamp %d was broken off", self.options.target, self.timestamp)


def clip(regions: Sequence[tuple[bytes, bytes]], start: bytes, stop: bytes) -> list[Region]:
    """The part of [start, stop) that lies in each region; an empty stop means the table's end."""
    parts = []
    for low, high in regions:
        first = max(low, start)
        last = min((end for end in (high, stop) if end), default=b"")
        if not last or first < last:
            parts.append(Region(first, last))
    return parts


def cause(error: Exception) -> FundwatchError | None:
    """The error of ours that a task or the planner raised, out of the text in which Spark (or its server) wraps it."""
    found = _OURS.search(str(error))
    if found is None:
        return None
    kind = next((kind for kind in FundwatchError.__subclasses__() if kind.__name__ == found["kind"]), Failed)
    return kind(found["sentence"].strip())


def options(settings: Settings, table: str) -> dict[str, str]:
    """Options of the source for one of our tables: address and full table name."""
    host, port = settings.hbase_address()
    return {"host": host, "port": str(port), "table": settings.hbase_table_prefix + table}


def options_of_all(settings: Settings) -> dict[str, str]:
    """Options for writing rows that name their table, one of ours."""
    host, port = settings.hbase_address()
    return {"host": host, "port": str(port), "table_prefix": settings.hbase_table_prefix}
