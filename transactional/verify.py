"""`fundwatch ledger verify`: recompute everything derived from the movements and compare, both ways (architecture section 6.6).

The checks of `verify_checks` and the ranges kept by `verify_anchors` are shared out to two connections that read one snapshot.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from domain.errors import ServiceMissing, WrongUse
from transactional.loans_checks import CHECKS as LOANS_CHECKS
from transactional.verify_anchors import Anchor, Anchors, anchored_tasks, last_block_fault
from transactional.verify_checks import CHECKS, CHECKS_OF_A_FAULTY_LEDGER, ORDERS, PARTS, Check, Part, Start, block_check, within

FAULTS_SHOWN_MAX = 20
DESK_CHECKS = (
    Check(
        "adjustments and legal holds are what their orders did",
        "SELECT subject, fault FROM work.desk_faults()",
        "work.adjustment",
    ),
    Check(
        "receipts and bank items are what their orders did", "SELECT row_name, what FROM payments.faults()", "payments.receipt"
    ),
    Check(
        "recharges are what their orders did",
        "SELECT row_name, what FROM payments.recharge_faults()",
        "payments.recharge_outcome",
    ),
    Check(
        "deliveries say what the outbox does and end as their tries did",
        "SELECT row_name, what FROM outside.delivery_faults('-infinity')",
        "outside.notice_time",
        # what was settled long ago was looked at when it was
        since="SELECT row_name, what FROM outside.delivery_faults(now() - interval '2 days')",
    ),
)
CONNECTIONS = 2
CONNECT_TIMEOUT_S = 10
# Dates as text are compared with those of an anchor; sorts and hashes of a large ledger stay in memory where they can.
SESSION = """
SET search_path = pg_catalog, pg_temp; SET timezone = 'UTC';
SET datestyle = 'ISO, YMD'; SET bytea_output = 'hex';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = 1; SET work_mem = '128MB';
SET hash_mem_multiplier = 2; SET jit = off; SET max_parallel_workers_per_gather = 0;"""


@dataclass(frozen=True)
class Fault:
    """One row that is not what the movements say."""

    check: str
    row: str
    what: str


@dataclass(frozen=True)
class Verdict:
    """What a verification looked at and found; `head` is the hash of the last block, to compare with one kept outside.

    `since` is the block behind which rows were looked at (0: all), `anchor` the block of the newest anchor compared with;
    `ledger_no` is the last number of the last block (0: nothing is sealed).
    """

    movements: int
    sealed: int
    unsealed: int
    blocks: int
    head: str | None
    faults: tuple[Fault, ...]
    since: int = 0
    anchor: int | None = None
    ledger_no: int = 0


@dataclass
class _Work:
    """Checks still to do and what they found, shared by the connections."""

    waiting: deque[tuple[Check, Part | None]]
    faults: list[Fault] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def do(self, connection: psycopg.Connection) -> None:
        """Take checks until none is left; an error of the database ends the work of all."""
        while self.waiting and not self.errors:
            try:
                check, part = self.waiting.popleft()
            except IndexError:  # the other connection took the last one
                return
            try:
                # materialized: a plan for all rows, not for the first few, which would walk indexes row by row
                query = check.query if part is None else ranged_query(connection, check.query, part)
                words = f"WITH fault AS MATERIALIZED ({query}) SELECT * FROM fault LIMIT {FAULTS_SHOWN_MAX}"
                rows = connection.execute(words.encode()).fetchall()
            except psycopg.Error as error:
                self.errors.append(error)
                return
            self.faults += [Fault(check.name, str(row), str(what)) for row, what in rows]


def verify(database_url: str, anchors: Anchors | None = None, since: int = 0) -> Verdict:
    """Check the whole ledger, or what came after block `since`, in one read-only snapshot; at most 20 faults a check are listed.

    With `anchors` also compare every kept range of rows and the kept heads; that needs a role that may read every schema.
    Raises ServiceMissing when the database does not answer, WrongUse when there is no block `since`.
    """
    with ExitStack() as stack:
        first = stack.enter_context(_reader(database_url, None))
        snapshot = str(_value(first, "SELECT pg_export_snapshot()"))
        others = [stack.enter_context(_reader(database_url, snapshot)) for _ in range(CONNECTIONS - 1)]
        return examine([first, *others], anchors, since)


def examine(connections: Sequence[psycopg.Connection], anchors: Anchors | None = None, since: int = 0) -> Verdict:
    """What `verify` does, over connections that see one state of the database."""
    first = connections[0]
    start = _start(first, since)
    counts = first.execute(
        """SELECT (SELECT count(*) FROM ledger.movement), (SELECT count(*) FROM ledger.seal),
                  (SELECT coalesce(max(block_no), 0) FROM ledger.seal_block),
                  (SELECT encode(hash, 'hex') FROM ledger.seal_block ORDER BY block_no DESC LIMIT 1),
                  (SELECT coalesce(max(last_ledger_no), 0) FROM ledger.seal_block)"""
    ).fetchone()
    assert counts is not None
    movements, sealed, blocks, head, ledger_no = counts
    kept = anchors.read(first) if anchors is not None else []
    work = _Work(deque(tasks(first, kept, start)))
    if kept and (fault := last_block_fault(first, kept)):
        work.faults.append(Fault("the chain holds what was anchored", *fault))
    threads = [threading.Thread(target=work.do, args=(other,)) for other in connections[1:]]
    for thread in threads:
        thread.start()
    work.do(first)
    for thread in threads:
        thread.join()
    if work.faults:
        work.waiting.extend((Check(check.name, check.text(start)), None) for check in CHECKS_OF_A_FAULTY_LEDGER)
        work.do(first)
    if work.errors:
        raise work.errors[0]
    found = tuple(sorted(work.faults, key=lambda fault: (fault.check, fault.row)))
    compared = kept[-1].block_no if kept else None
    return Verdict(movements, sealed, movements - sealed, blocks, head, found, since, compared, ledger_no)


def ranged_query(connection: psycopg.Connection, query: str, part: Part) -> str:
    """The query of a check by range over the movements of a part and over the orders that these name."""
    orders = connection.execute(within(ORDERS, part).encode()).fetchone()
    return within(query, part, None if orders is None or orders[0] is None else (orders[0], orders[1]))


def parts(connection: psycopg.Connection, start: Start) -> list[Part]:
    """The movements behind a start in ranges of some blocks each, and a last one of those not sealed yet."""
    after, found = start.movement_id, []
    for first, last, first_no, last_no, movement_to in connection.execute(
        PARTS.replace(":block_no", str(start.block_no)).encode()
    ).fetchall():
        found.append(Part(first, last, first_no, last_no, after, movement_to))
        after = max(after, movement_to)
    return [*found, Part(0, -1, 0, -1, after, None)]


def tasks(connection: psycopg.Connection, kept: Sequence[Anchor], start: Start) -> list[tuple[Check, Part | None]]:
    """Everything to look at; a check by range comes once a part, and the parts come last: they are equal and even out."""
    joined = [*CHECKS, *(Check(name, query, "loans.loan") for name, query in LOANS_CHECKS.items()), *DESK_CHECKS]
    there = [
        check
        for check in joined
        if _value(connection, f"SELECT to_regclass('{check.needs}') IS NOT NULL AND to_regclass('{check.lacks}') IS NULL")
    ]
    at_once = [Check(check.name, check.text(start)) for check in there if not check.by_range]
    ranges = parts(connection, start)
    ranged: list[tuple[Check, Part | None]] = []
    for part in ranges:
        if part.movement_to is not None:
            ranged.append((block_check(part), part))
        ranged += [(check, part) for check in there if check.by_range]
    return [*((check, None) for check in (*at_once, *anchored_tasks(connection, kept, start.block_no))), *ranged]


def newest_anchored_block(database_url: str, anchors: Anchors) -> int:
    """Block of the chain that the newest anchor holds; 0 when none was kept yet."""
    with _reader(database_url, None) as connection:
        kept = anchors.read(connection)
    return kept[-1].block_no if kept else 0


@contextmanager
def _reader(database_url: str, snapshot: str | None) -> Iterator[psycopg.Connection]:
    """A connection that reads one snapshot: a new one, or that of another connection."""
    try:
        connection = psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    with connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        if snapshot is not None:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        connection.execute(SESSION.encode())
        yield connection


def _start(connection: psycopg.Connection, block_no: int) -> Start:
    """Where a verification from a block on begins."""
    if block_no == 0:
        return Start()
    row = connection.execute(
        """SELECT b.block_no, b.last_ledger_no, b.last_movement_id, m.order_id FROM ledger.seal_block b
           JOIN ledger.movement m ON m.movement_id = b.last_movement_id WHERE b.block_no = %s""",
        [block_no],
    ).fetchone()
    if row is None:
        raise WrongUse(f"there is no block {block_no} of the ledger's chain")
    return Start(*row)


def _value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
