"""Anchors: what the ledger looked like, kept outside the database, so that rows rewritten or cut off later are noticed.

One file a database, ``FUNDWATCH_HOME/anchors/DATABASE.jsonl``, one line an anchor, each with the hash of the line before it. An
anchor holds the heads of the chains (movements, holds, changes) and, for every append-only table that no chain binds, digests of
the rows that came since the anchor before: 250 rows a digest, over the columns that the table had then. Tables that
only migrations write are digested whole and compared while the schema is the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from domain.errors import BadInput, Failed, ServiceMissing
from transactional.verify_checks import Check

ROWS_A_DIGEST = 250
PATIENCE_S, PAUSE_S = 60.0, 0.02
SCHEMAS = ("audit", "files", "ledger", "limits", "loans", "outbox", "outside", "payments", "registry", "work")
# append-only by grants, without a trigger
WITHOUT_TRIGGER = ("registry.platform", "registry.account", "registry.payment_company_platform", "api.answer")
# the chains bind these, or `verify_checks` computes every column of them anew
PROVED = (
    "ledger.movement",
    "ledger.entry",
    "ledger.seal",
    "ledger.seal_block",
    "ledger.day_balance",
    "ledger.hold_to_expire",
    "ledger.hold_block",
    "audit.change",
)
# only migrations write them
WHOLE = (
    "ledger.clock",
    "registry.account_role",
    "ledger.allowed_movement",
    "ledger.allowed_order",
    "loans.allowed_status",
    "loans.told",
    "registry.allowed_status",
    "registry.subject",
    "work.kind",
    "work.adjustment_reason",
    "work.adjustment_transition",
    "work.break_transition",
)
# columns of a table digested whole that the service changes, and that no digest holds
MOVING = {"ledger.clock": ("now_at",)}
# numbered in the order of their commits, though not by an identity column
NUMBERED = {"ledger.trade_order": "order_id", "audit.block": "block_no"}
# times of the machine, not of the service's clock
MACHINE_TIMES = ("answered_at", "noticed_at", "sealed_at")
TIMES = (
    *("recorded_at", "decided_at", "answered_at", "closed_at", "requested_at", "issued_at", "assigned_at", "proposed_at", "at"),
    "noticed_at",
)

_TABLES = """
SELECT format('%%s.%%s', n.nspname, c.relname) AS name,
       (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1 AND a.attidentity <> '') AS identity,
       (SELECT array_agg(a.attname::text) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.atttypid = 'timestamptz'::regtype AND a.attnotnull AND NOT a.attisdropped) AS times,
       EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
               WHERE t.tgrelid = c.oid AND p.proname = 'refuse_change') AS is_append_only
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (n.nspname = ANY(%(schemas)s) OR format('%%s.%%s', n.nspname, c.relname) = ANY(%(named)s))
ORDER BY 1"""


@dataclass(frozen=True)
class Range:
    """Rows of one table after one value of a column up to another: digests of each 250 of them, in the order of the column.

    `by` is empty for a table that is digested whole. A number's end is included, a time's end is not: more may come at that time.
    """

    table: str
    columns: tuple[str, ...]
    by: str
    after: str | None
    to: str | None
    rows: int
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Anchor:
    """One line of the file."""

    at: str
    # the service's clock, which never goes back behind it
    clock: str
    schema: str
    block_no: int
    hash: str | None
    audit_block_no: int
    audit_hash: str | None
    ranges: tuple[Range, ...]
    # the chain over holds; lines of before it have none
    hold_block_no: int = 0
    hold_hash: str | None = None


@dataclass(frozen=True)
class Anchors:
    """The anchors of one installation."""

    folder: Path

    def read(self, connection: psycopg.Connection) -> list[Anchor]:
        """Anchors of the connection's database, oldest first; BadInput when a line is not what was written."""
        path = self.path(connection)
        if not path.exists():
            return []
        before, found = "", []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                content = json.loads(line)
                if content.pop("previous") != before:
                    raise BadInput(f"line {number} of {path} does not follow the line before it: the anchors were changed")
                ranges = tuple(
                    Range(**{**each, "columns": tuple(each["columns"]), "digests": tuple(each["digests"])})
                    for each in content.pop("ranges")
                )
                found.append(Anchor(**content, ranges=ranges))
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"line {number} of {path} is not an anchor: {error}") from None
            before = sha256(line.encode()).hexdigest()
        return found

    def keep(self, database_url: str) -> Anchor:
        """Append an anchor of all that is committed now; the role must read every schema.

        Only ever called on a ledger just verified: an anchor vouches for what it digests.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _connect(database_url) as connection, self._locked(connection) as path:
            kept = self.read(connection)
            anchor = _anchor(connection, kept)
            before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            previous = sha256(before[-1].encode()).hexdigest() if before else ""
            line = json.dumps(asdict(anchor) | {"previous": previous}, ensure_ascii=False, separators=(",", ":"))
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        return anchor

    def path(self, connection: psycopg.Connection) -> Path:
        """The file of the connection's database."""
        return self.folder / f"{connection.info.dbname}.jsonl"

    @contextmanager
    def _locked(self, connection: psycopg.Connection) -> Iterator[Path]:
        """Alone with the file: two verifications at once keep two anchors, one after the other."""
        path = self.path(connection)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path


def anchored_tasks(connection: psycopg.Connection, kept: Sequence[Anchor], since_block: int) -> list[Check]:
    """Checks that compare every kept range, those before the first sealed block too; behind a block only those kept after it."""
    if not kept:
        return []
    behind = f"""SELECT 'clock', 'stands before an anchor that was kept at {kept[-1].clock}' FROM ledger.clock
        WHERE CASE mode WHEN 'system' THEN greatest(now_at, clock_timestamp()) ELSE now_at END < '{kept[-1].clock}'"""
    there = {row[0]: set(row[1]) for row in _tables(connection)}
    newest = _schema(connection)
    ranges: dict[tuple[str, tuple[str, ...], str], list[Range]] = {}
    for anchor in kept:
        for each in anchor.ranges:
            if each.by and (anchor.block_no > since_block or since_block == 0):
                ranges.setdefault((each.table, each.columns, each.by), []).append(each)
    whole = [each for each in kept[-1].ranges if not each.by] if kept[-1].schema == newest else []
    checks = [Check("the clock is not behind what was anchored", behind)]
    for (table, columns, by), some in [*ranges.items(), *(((each.table, each.columns, ""), [each]) for each in whole)]:
        if set(columns) <= there.get(table, set()):
            checks.append(Check("rows are as they were anchored", _compared(table, columns, by, some)))
        else:
            text = f"SELECT '{table}', 'the table or a column that was anchored is no longer there'"
            checks.append(Check("rows are as they were anchored", text))
    return checks


def last_block_fault(connection: psycopg.Connection, kept: Sequence[Anchor]) -> tuple[str, str] | None:
    """(row, what) of the first anchored head that is not in its chain any more, or None."""
    schemas = (
        ("ledger.seal_block", [(a.block_no, a.hash) for a in kept]),
        ("audit.block", [(a.audit_block_no, a.audit_hash) for a in kept]),
        ("ledger.hold_block", [(a.hold_block_no, a.hold_hash) for a in kept]),
    )
    for table, heads in schemas:
        wanted = [(number, digest) for number, digest in heads if number and digest]
        if not wanted:
            continue
        lost = connection.execute(
            f"""SELECT w.block_no FROM unnest(%s::bigint[], %s::text[]) w(block_no, hash) LEFT JOIN {table} b USING (block_no)
                WHERE encode(b.hash, 'hex') IS DISTINCT FROM w.hash ORDER BY 1 LIMIT 1""".encode(),
            [[number for number, _ in wanted], [digest for _, digest in wanted]],
        ).fetchone()
        if lost:
            return f"block {lost[0]} of {table}", "it was anchored outside, and is not in the chain with that hash any more"
    return None


def _connect(database_url: str) -> psycopg.Connection:
    try:
        connection = psycopg.connect(database_url, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {error}") from None
    connection.autocommit = True
    return connection


def _anchor(connection: psycopg.Connection, kept: Sequence[Anchor]) -> Anchor:
    """What is there now, behind every transaction that may still add rows below the ends chosen."""
    connection.execute("SET search_path = pg_catalog, pg_temp; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'")
    connection.execute(
        "SET bytea_output = 'hex'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 1; SET work_mem = '128MB'"
    )
    clock = str(_end(connection, "ledger.clock", "recorded_at"))
    ends = {table: (columns, by, _end(connection, table, by)) for table, columns, by in anchored(connection)}
    _wait_for_writers(connection)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reached = {each.table: each.to for anchor in kept for each in anchor.ranges if each.by}
        ranges = []
        for table, (columns, by, end) in ends.items():
            after = reached.get(table)
            if by and (end is None or end == after):
                continue
            empty = Range(table, tuple(columns), by, after, end, 0, ())
            rows = connection.execute(_digests(empty.table, empty.columns, by, [empty]).encode()).fetchall()
            ranges.append(
                Range(table, tuple(columns), by, after, end, sum(row[3] for row in rows), tuple(row[2] for row in rows))
            )
        (block_no, head), (audit_no, audit_head) = _head(connection, "ledger.seal_block"), _head(connection, "audit.block")
        there = connection.execute("SELECT to_regclass('ledger.hold_block') IS NOT NULL").fetchone()
        holds = _head(connection, "ledger.hold_block") if there == (True,) else (0, None)
        now = datetime.now(UTC).isoformat()
        return Anchor(now, clock, _schema(connection), block_no, head, audit_no, audit_head, tuple(ranges), *holds)


def _head(connection: psycopg.Connection, table: str) -> tuple[int, str | None]:
    """Number and hash of a chain's last block."""
    words = f"SELECT block_no, encode(hash, 'hex') FROM {table} ORDER BY block_no DESC LIMIT 1"
    row = connection.execute(words.encode()).fetchone()
    return (int(row[0]), str(row[1])) if row else (0, None)


def anchored(connection: psycopg.Connection) -> Iterator[tuple[str, list[str], str]]:
    """Tables to digest with their columns and the column that orders them; "" for those digested whole."""
    for name, columns, identity, times, is_append_only in _tables(connection):
        if name in WHOLE:
            yield name, [column for column in columns if column not in MOVING.get(name, ())], ""
        elif (is_append_only or name in WITHOUT_TRIGGER) and name not in PROVED:
            by = NUMBERED.get(name) or identity or next((time for time in TIMES if time in (times or ())), None)
            if by is not None:
                yield name, columns, by


def _tables(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_TABLES.encode(), {"schemas": list(SCHEMAS), "named": list(WITHOUT_TRIGGER)}).fetchall()


def _schema(connection: psycopg.Connection) -> str:
    """All migrations that were applied, as one word."""
    row = connection.execute("SELECT md5(string_agg(name, ' ' ORDER BY name)) FROM public.migration").fetchone()
    return str(row[0]) if row else ""


def _end(connection: psycopg.Connection, table: str, by: str) -> str | None:
    if not by:
        return None
    if by in TIMES:
        query = "SELECT clock_timestamp()::text" if by in MACHINE_TIMES else "SELECT ledger.clock_now()::text"
    else:
        query = f"SELECT max({by})::text FROM {table}"
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _wait_for_writers(connection: psycopg.Connection) -> None:
    """Until every transaction that was open has ended (an id is older than ours): rows below the chosen ends are visible then."""
    open_to = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    assert open_to is not None
    deadline = time.monotonic() + PATIENCE_S
    while connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot()) < %s::text::xid8", open_to).fetchone() == (True,):
        if time.monotonic() > deadline:
            raise Failed(f"a transaction has been open for {PATIENCE_S:.0f} s: no anchor was kept")
        time.sleep(PAUSE_S)


def _digests(table: str, columns: Sequence[str], by: str, ranges: Sequence[Range]) -> str:
    """SQL of (range, part, digest, rows, first, last): every kept row of a table once, in 250s within its range."""
    text = f"ROW({', '.join(columns)})::text"
    if not by:
        place, kept = "1", "true"
    else:
        kind = "timestamptz" if by in TIMES else "bigint"
        # thresholds t: a number n belongs to the first range with n <= t, a time to the first with time < t
        step = "" if by in TIMES else " + 1"
        ends = ", ".join(f"'{each.to}'::{kind}{step}" for each in ranges)
        place = f"width_bucket({by}, ARRAY[{ends}]) + 1"
        compare = "<" if by in TIMES else "<="
        kept = f"{by} {compare} '{ranges[-1].to}'"
        if ranges[0].after is not None:
            kept += f" AND {by} {'>=' if by in TIMES else '>'} '{ranges[0].after}'"
    return f"""
SELECT place, part, left(encode(sha256(convert_to(string_agg(content, E'\\n' ORDER BY n), 'UTF8')), 'hex'), 32), count(*),
       min(key)::text, max(key)::text
FROM (SELECT place, content, key, row_number() OVER w AS n, (row_number() OVER w - 1) / {ROWS_A_DIGEST} AS part
      FROM (SELECT {place} AS place, {text} AS content, {by or "1"} AS key FROM {table} WHERE {kept}) row_of
      WINDOW w AS (PARTITION BY place ORDER BY key, content)) parts
GROUP BY place, part ORDER BY place, part"""


def _compared(table: str, columns: Sequence[str], by: str, ranges: Sequence[Range]) -> str:
    """SQL of a check: the parts whose digest is not the kept one, with the rows they begin and end with."""
    wanted = [(place, part, digest) for place, each in enumerate(ranges, 1) for part, digest in enumerate(each.digests)]
    places, parts, digests = (",".join(str(row[column]) for row in wanted) for column in range(3))
    return f"""
SELECT format('{table} {by or "whole"} %s to %s', coalesce(f.first, '?'), coalesce(f.last, '?')),
       'one of these rows is not as it was anchored, is missing, or is not of that time'
FROM unnest('{{{places}}}'::int[], '{{{parts}}}'::bigint[], '{{{digests}}}'::text[]) w(place, part, digest)
FULL JOIN ({_digests(table, columns, by, ranges)}) f(place, part, digest, rows, first, last) USING (place, part)
WHERE w.digest IS DISTINCT FROM f.digest ORDER BY place, part"""
