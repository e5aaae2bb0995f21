"""The history store for pages and tests: small, bounded reads and idempotent writes over Thrift.

Every call is bounded in time and tried once more on a fresh connection (all calls are idempotent); the end of a scan is
proven by a second, empty scan from behind its last row. `run_bound` hides cells of later runs: pass the newest run that is
wholly projected (`run.projected`), so that a projection under way is never seen (architecture section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from itertools import pairwise
from operator import methodcaller
from types import TracebackType
from typing import Any, Self, TypeVar

from thriftpy2.thrift import TException

from domain.errors import Failed, WrongUse
from fundwatch.settings import Settings
from hbase_schema import thrift
from hbase_schema.tables import FAMILY, TABLES

T = TypeVar("T")
Row = tuple[bytes, bytes]

MAX_BATCH_ROWS = 1000
MAX_BATCH_BYTES = 1_000_000
MAX_SCAN_ROWS = 100_000
_PARTS = {"profile": "p", "industry": "i", "reputation": "n", "score": "s"}


def batches(rows: Iterable[tuple[bytes, bytes | None]]) -> Iterable[list[tuple[bytes, bytes | None]]]:
    """Rows cut into batches of at most 1,000 rows and 1 MB: a framed server refuses what is too large without a message."""
    batch: list[tuple[bytes, bytes | None]] = []
    size = 0
    for row, value in rows:
        length = len(row) + len(value or b"")
        if batch and (len(batch) >= MAX_BATCH_ROWS or size + length > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((row, value))
        size += length
    if batch:
        yield batch


class HistoryClient:
    """One connection to HBase's Thrift server, opened at the first call; use it as a context manager, in one thread.

    Raises ServiceMissing when HBase does not answer within two attempts of `timeout_seconds` each, Failed when it refuses.
    """

    def __init__(self, host: str, port: int, prefix: str = "", timeout_seconds: float = 5.0) -> None:
        self.host, self.port, self.prefix, self.timeout_seconds = host, port, prefix, timeout_seconds
        self._connection: Any = None

    @classmethod
    def of(cls, settings: Settings, timeout_seconds: float = 5.0) -> Self:
        """A client of the installation's HBase and table prefix."""
        host, port = settings.hbase_address()
        return cls(host, port, settings.hbase_table_prefix, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._connection is not None:
            thrift.close(self._connection)
            self._connection = None

    def put_many(self, table: str, rows: Iterable[tuple[bytes, bytes | None]], timestamp: int, qualifier: str = "p") -> int:
        """Write one cell a row at an explicit timestamp (the run id) and return the rows written; None deletes the cell."""
        name, column, written = self._name(table), _column(qualifier), 0
        for batch in batches(rows):
            mutations = thrift.mutations(batch, column)
            self._call(methodcaller("mutateRowsTs", name, mutations, timestamp, {}))
            written += len(batch)
        return written

    def get(self, table: str, row: bytes, run_bound: int | None = None, qualifier: str = "p") -> bytes | None:
        """The cell of one row as the runs up to `run_bound` left it, or None."""
        name, columns = self._name(table), [_column(qualifier)]
        if run_bound is None:
            found = self._call(lambda client: client.getRowWithColumns(name, row, columns, {}))
        else:
            found = self._call(lambda client: client.getRowWithColumnsTs(name, row, columns, run_bound + 1, {}))
        return found[0].columns[columns[0]].value if found else None

    def scan_prefix(self, table: str, prefix: bytes, limit: int, run_bound: int | None = None) -> list[Row]:
        """The first `limit` rows whose key starts with `prefix`, in key order; fewer only if there are no more."""
        return self.scan(table, prefix, after_prefix(prefix), limit, run_bound)

    def scan(
        self, table: str, start: bytes, stop: bytes, limit: int, run_bound: int | None = None, reverse: bool = False
    ) -> list[Row]:
        """The first `limit` rows from `start` (inclusive) to `stop` (exclusive); `reverse` walks down from `start`."""
        if not 0 < limit <= MAX_SCAN_ROWS:
            raise WrongUse(f"a scan takes 1 to {MAX_SCAN_ROWS} rows, not {limit}")
        name = self._name(table)
        rows: list[Row] = []
        while len(rows) < limit:
            part = partial(
                self._scan, name=name, start=start, stop=stop, limit=limit - len(rows), run_bound=run_bound, reverse=reverse
            )
            found = self._call(part)
            _assert_ordered(rows[-1:] + found, reverse)
            if not found:
                break
            rows += found
            last = found[-1][0]
            # A reverse scan includes its start: the greatest key before `last` is where the rest begins
            start = _before(last) if reverse else last + b"\0"
        return rows

    def movements(
        self, account_id: int, limit: int, run_bound: int | None = None, after: bytes | None = None
    ) -> list[dict[str, Any]]:
        """Movements of an account, newest first, as values of table `mv`; each has its row key as `key`.

        For the next page pass the `key` of the last row as `after`. Amounts are minor units; `side` C adds to the account.
        """
        table = TABLES["mv"]
        prefix = table.key.prefix(account_id)
        if after is not None and not after.startswith(prefix):
            raise WrongUse(f"{after.hex()} is not a movement of account {account_id}")
        start = after + b"\0" if after is not None else prefix
        rows = self.scan("mv", start, after_prefix(prefix), limit, run_bound)
        return [{"key": key, **table.decode(key, packed)} for key, packed in rows]

    def balance_on(self, account_id: int, on: date, run_bound: int | None = None) -> dict[str, Any] | None:
        """The newest balance row of an account dated on or before `on`: `acct_bal` has rows on dates of change only.

        None means that the account had no balance and no movement up to that date. The row's `closing_minor` and
        `held_minor` hold on `on` too.
        """
        table = TABLES["acct_bal"]
        start, prefix = table.key.encode(account_id, on), table.key.prefix(account_id)
        rows = self.scan("acct_bal", start, _before(prefix), 1, run_bound, reverse=True)
        return table.decode(*rows[0]) if rows else None

    def loan_days(
        self, loan_id: int, limit: int, run_bound: int | None = None, before: date | None = None
    ) -> list[dict[str, Any]]:
        """Days of a loan, newest first, as values of table `loan_snap`; with `before` only days earlier than that.

        Amounts are minor units. For the next page pass the `business_date` of the last row as `before`.
        """
        table = TABLES["loan_snap"]
        prefix = table.key.prefix(loan_id)
        start = _before(table.key.encode(loan_id, before)) if before is not None else _before(after_prefix(prefix))
        rows = self.scan("loan_snap", start, _before(prefix), limit, run_bound, reverse=True)
        return [table.decode(key, packed) for key, packed in rows]

    def person(self, party_key: int, run_bound: int | None = None) -> dict[str, dict[str, Any] | None]:
        """What is kept of one person (`cust_360`): `profile`, `industry`, `reputation`, `score`, each None where there is none.

        `party_key` is ``domain.ids.entity_id`` of the person's `id_hash`. Every part has the date it is of; `…_millionths` and
        `pd_billionths` are whole numbers.
        """
        table = TABLES["cust_360"]
        name, row, columns = self._name(table.name), table.key.encode(party_key), [_column(one) for one in _PARTS.values()]
        if run_bound is None:
            found = self._call(lambda client: client.getRowWithColumns(name, row, columns, {}))
        else:
            found = self._call(lambda client: client.getRowWithColumnsTs(name, row, columns, run_bound + 1, {}))
        cells = found[0].columns if found else {}
        return {
            part: table.cells[qualifier].decode(cells[_column(qualifier)].value) if _column(qualifier) in cells else None
            for part, qualifier in _PARTS.items()
        }

    def count(self, table: str) -> int:
        """Rows of a whole table that have the cell `d:p`; for tests and small tables."""
        total, start = 0, b""
        while found := self.scan(table, start, b"", 10_000):
            total += len(found)
            start = found[-1][0] + b"\0"
        return total

    def regions(self, table: str) -> list[tuple[bytes, bytes]]:
        """Start and end key of every region of a table, in order."""
        found = self._call(lambda client: client.getTableRegions(self._name(table)))
        return sorted((region.startKey, region.endKey) for region in found)

    def _scan(
        self, client: Any, name: bytes, start: bytes, stop: bytes, limit: int, run_bound: int | None, reverse: bool
    ) -> list[Row]:
        """One pass of a scan; a broken one is repeated from its start by `_call`."""
        column = _column("p")
        before = None if run_bound is None else run_bound + 1
        wanted = thrift.scan(start, stop, column, min(limit, MAX_BATCH_ROWS), before, reverse)
        scanner = client.scannerOpenWithScan(name, wanted, {})
        rows: list[Row] = []
        while len(rows) < limit:
            found = client.scannerGetList(scanner, min(limit - len(rows), MAX_BATCH_ROWS))
            if not found:
                break
            rows += [(result.row, result.columns[column].value) for result in found]
        client.scannerClose(scanner)
        return rows

    def _call(self, work: Callable[[Any], T]) -> T:
        """Do `work` with the Thrift client; once more on a fresh connection when the connection is lost."""
        for is_last in (False, True):
            try:
                if self._connection is None:
                    self._connection = thrift.connect(self.host, self.port, self.timeout_seconds)
                return work(self._connection.client)
            except thrift.CONNECTION_LOST as error:
                self.close()
                if is_last:
                    raise thrift.meaning(error, self.host, self.port) from error
            except TException as error:
                self.close()
                raise thrift.meaning(error, self.host, self.port) from error
        raise AssertionError("both attempts either return or raise")

    def _name(self, table: str) -> bytes:
        return (self.prefix + table).encode()


def _column(qualifier: str) -> bytes:
    return f"{FAMILY}:{qualifier}".encode()


def after_prefix(prefix: bytes) -> bytes:
    """The smallest key behind all keys that start with `prefix`; empty (the table's end) when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b""


def _before(key: bytes) -> bytes:
    """A key smaller than `key` with no key of ours between: ours are of one width and never end in 16 more 0xff bytes."""
    stripped = key.rstrip(b"\0")
    if not stripped:
        return b"\0"
    return stripped[:-1] + bytes((stripped[-1] - 1,)) + b"\xff" * (len(key) - len(stripped) + 16)


def _assert_ordered(rows: Sequence[Row], reverse: bool) -> None:
    """Rows of a scan rise (or fall) strictly; anything else would mean rows lost or doubled on the way."""
    keys = [row for row, _ in rows]
    if any((left <= right) if reverse else (left >= right) for left, right in pairwise(keys)):
        raise Failed("HBase returned rows of a scan out of order")
