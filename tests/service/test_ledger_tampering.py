"""Every column of every table that the
  money's meaning rests on is changed in SQL by the owner, triggers off: each change is noticed.

Columns come from the catalogue, so a new column without protection fails here. What notices is `ledger verify` (checks, hash
chains, the anchors kept outside the database) or a constraint that the owner cannot pass either.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from fundwatch.services import postgres
from transactional import verify_anchors
from transactional.verify import SESSION, Verdict, examine, ranged_query, tasks, verify
from transactional.verify_anchors import Anchors
from transactional.verify_checks import Start

LENDER, OTHER, BORROWER, CHANNEL = "P01-L-000001", "P01-L-000002", "P01-B-000001", "P01-X-CHANNEL-PC01"
SCHEMAS = ("ledger", "audit", "work", "limits", "outside", "files")
# no table of these decides about money or is evidence of it
ELSEWHERE = {
    "api": "keys; its answers are in NAMED",
    "auth": "people and their sessions, audited",
    "catalog": "where the lake's files are; the manifests have their hashes",
    "credit": "models are files with hashes; decisions on them are audited",
    "live": "what is told of book V during the day: the night compares the files anew",
    "mart": "copies of lake tables, whose hashes are in the manifest",
    "night": "views",
    "ops": "controls of the night, audited",
    "public": "migrations; their names are in every anchor",
    "run": "the manifest of a run, signed with its reports, says the same",
}
# tables without an anchor in the schemas that have them
UNBOUND = {
    "loans.plan_row": "the audit chain was told every row (loans.untold)",
    "outside.cursor": "where the expansion of the outbox stands",
    "outside.delivery": "a queue that changes with every try: outside.delivery_faults",
    "registry.customer": "an identity; what counts of it are version rows, anchored",
    "registry.party": "an identity; what counts of it are version rows, anchored, and erasure takes the rest",
    "registry.party_duplicate": "an identity",
    "registry.party_identity": "an identity",
    "registry.payment_company": "an identity; its terms are version rows, anchored",
}
NAMED = ("registry.account", "registry.account_role", "registry.platform", "registry.payment_company_platform", "api.answer")
# A change that nothing can tell from one the service may make itself, with its reason.
LEGAL = {
    (
        "ledger.clock",
        "now_at",
        "later",
    ): "POST /v1/clock moves a simulated clock forward; a system clock is compared with the time"
}
# what a queue says of itself decides nothing; what may still go out of it must be what the outbox says
QUEUE = ("outside.cursor", "outside.delivery")
SENT = ("target", "event_id", "part", "topic", "platform_id", "subject", "payload", "recorded_at")
# verify computes every column of these anew; each other table is bound by a chain or digested in an anchor
DERIVED = ("ledger.balance", "ledger.clock")
WORDS = {
    "event_type": ("PLACE", "RELEASE", "CAPTURE", "EXPIRE"),
    "component": ("P", "I"),
    "mode": ("system",),
    "action": ("SOMETHING_ELSE",),
    "kind": ("SOMETHING_ELSE",),
    "state": ("OPEN", "LOCKED", "CLOSED"),
}
_COLUMNS = """
SELECT format('%%s.%%s', c.table_schema, c.table_name), c.column_name, c.udt_name, c.identity_generation
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER'
  AND (c.table_schema = ANY(%s) OR format('%%s.%%s', c.table_schema, c.table_name) = ANY(%s)) ORDER BY 1, c.ordinal_position"""
# every table that nobody has said to be elsewhere: a new one has to be classified
_EVERYWHERE = """
SELECT format('%%s.%%s', c.table_schema, c.table_name), c.column_name
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
  AND (c.table_schema <> ALL(%s) OR format('%%s.%%s', c.table_schema, c.table_name) = ANY(%s)) ORDER BY 1, c.ordinal_position"""
# values to try, by type; what a constraint refuses is noticed by it, what it accepts must be noticed by verify
_OTHERS: dict[str, tuple[str, ...]] = {
    "int8": ("{c} + 1", "{c} - 1", "{c} + 1000003"),
    "int4": ("{c} + 1", "{c} - 1"),
    "numeric": ("{c} + 1", "{c} - 1"),
    "text": ("{c} || 'x'", "'A' || {c}"),
    "bool": ("NOT {c}",),
    "date": ("{c} + 1", "{c} - 1"),
    "timestamptz": ("{c} + interval '1 microsecond'", "{c} - interval '1 microsecond'"),
    "bytea": ("{c} || '\\x01'", "sha256({c})"),
    "jsonb": ("{c} || '{{\"x\": 1}}'", "'{{\"x\": 1}}'"),
    "json": ("'{{\"x\": 1}}'",),
    "_text": ("{c} || '{{x}}'::text[]", "'{{}}'"),
    "regproc": ("'pg_catalog.now'::regproc",),
    "time": ("{c} + interval '1 minute'",),
    "interval": ("{c} + interval '1 minute'",),
    "uuid": ("gen_random_uuid()",),
    "xid8": ("'1'::xid8",),
}
_FROM_NULL = {
    "int8": "1",
    "int4": "1",
    "text": "'x'",
    "bytea": "'\\x00'",
    "jsonb": "'{}'",
    "timestamptz": "'2026-01-01Z'",
    "numeric": "1",
    "regproc": "'pg_catalog.now'",
}
KIND = """
CREATE FUNCTION public.do_it(asked work.approval, checker text) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('n',
  1) $$;
INSERT INTO work.kind VALUES ('RAISE_LIMIT', '{officer}', '{checker}', NULL, 'public.do_it', 72);
"""


FILE_DEADLINE = {"days_after": 1, "counts_working_days": True, "due_time": "05:00", "valid_from": "2026-08-20"}
SENT_OUT = (
    *("SELECT outside.fan_out(1000, 'Asia/Shanghai')",) * 5,
    """INSERT INTO outside.delivery_attempt (delivery_id, target, event_id, part, outcome, worker)
       SELECT delivery_id, target, event_id, part, 'WAIT', 'test' FROM outside.delivery""",
    "INSERT INTO outside.notice SELECT target, topic, subject, '2026-08-01', event_id, part FROM outside.delivery",
    """INSERT INTO run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
       VALUES ('2026-07-31', '2026-07-31', 0, '{}', 'x', 'PUBLISHED', '2026-08-01Z')""",
    "SELECT files.put_down('P01', 'P01', 'results', '2026-07-31', 1, 1, 'x.csv', repeat('a', 64), repeat('b', 64), 1, 1, 'jobs')",
    """SELECT files.arrive('P01', 'y.csv', repeat('a', 64), '2026-08-01Z', '2026-08-01Z', 10, 'LANDED', '2026-07-31', 'y.csv',
       NULL, NULL)""",
)


class Tampered:
    """The database as its superuser changes it, inside one transaction that is never committed."""

    def __init__(self, connection: psycopg.Connection, anchors: Anchors) -> None:
        self.connection, self.anchors = connection, anchors
        self.tasks = tasks(connection, anchors.read(connection), Start())

    def columns(self) -> list[tuple[str, str, str]]:
        """(table, column, type) of everything under test."""
        rows = self.connection.execute(_COLUMNS, [list(SCHEMAS), list(NAMED)]).fetchall()
        for table, column, _, identity in rows:
            if identity == "ALWAYS":
                self.connection.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET GENERATED BY DEFAULT".encode())
        return [(table, column, kind) for table, column, kind, _ in rows]

    def verdict(self) -> Verdict:
        """What verify says of the state now."""
        return examine([self.connection], self.anchors)

    def has_fault(self, table: str) -> bool:
        """Whether verify finds a fault; its checks of a table come first, so that most questions need one of them."""
        for task, part in sorted(self.tasks, key=lambda task: table not in task[0].query):
            query = task.query if part is None else ranged_query(self.connection, task.query, part)
            if self.connection.execute(f"SELECT 1 FROM ({query}) fault LIMIT 1".encode()).fetchone():
                return True
        return bool(self.verdict().faults)

    def noticed(self, *statements: str) -> bool:
        """Do the statements, ask, take them back. True when a constraint refuses one or verify names a fault; they must do
        something."""
        self.connection.execute("SAVEPOINT before")
        try:
            for statement in statements:
                assert self.connection.execute(statement.encode()).rowcount > 0, statement
            return self.has_fault(statements[0].split()[2 if statements[0][0] in "DI" else 1])
        except errors.IntegrityError:
            return True
        finally:
            self.connection.execute("ROLLBACK TO SAVEPOINT before")

    def rows(self, table: str, condition: str) -> list[str]:
        """Up to three rows of a table by their place: the first, one in the middle, the last."""
        found = [row[0] for row in self.connection.execute(f"SELECT ctid::text FROM {table} WHERE {condition}".encode())]
        return list(dict.fromkeys(found[at] for at in (0, len(found) // 2, -1))) if found else []


@pytest.fixture
def tampered(api: Any, database: Any, tmp_path: Path) -> Iterator[Tampered]:
    """A ledger with every kind of row, a closed day, decided approvals; sealed, verified clean, anchored; triggers off."""
    _history(api)
    anchors = Anchors(tmp_path / "anchors")
    assert verify(api.admin_url, anchors).faults == ()
    anchors.keep(api.admin_url)
    with psycopg.connect(postgres.superuser_url(database.settings, database.name)) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(SESSION.encode())
        yield Tampered(connection, anchors)
        connection.rollback()


def _history(api: Any) -> None:
    with psycopg.connect(api.admin_url) as owner:
        owner.execute(KIND.encode())
    first = api.recharge(LENDER, 1000, simulated_at="2026-08-01T10:00:00Z")
    api.recharge(OTHER, 70, effective_at="2026-07-31T09:00:00Z")
    _posted(api, "TENDER", place_holds=[{"hold_no": "H", "account": LENDER, "amount_minor": 300}])
    movements = (("TENDER", LENDER, BORROWER, 300), ("COMMISSION", BORROWER, "P01-F-INCOME", 3))
    _posted(api, "DISBURSE", *movements, release_holds=["H"])
    repaid = api.order("REPAYMENT", ("PRINCIPAL", BORROWER, LENDER, 10), ("INTEREST", BORROWER, LENDER, 2))
    for movement, component in zip(repaid["movements"], "PI", strict=True):
        movement.update(loan_no="LN-1", issue_no=1, component=component, claim_no="CL-1")
    assert api.post(repaid).status_code == 201
    _posted(api, "RECHARGE", ("RECHARGE", LENDER, CHANNEL, 1000), reverses_request_no=api.recharge(LENDER, 1000)["request_no"])
    _posted(api, "TENDER", place_holds=[{"hold_no": "H2", "account": LENDER, "amount_minor": 5}])
    if api.rows("SELECT to_regclass('ledger.hold_to_expire')::text") != [(None,)]:
        for number, expires_at in enumerate(("2026-08-20T10:00:00Z", "2026-08-30T10:00:00Z"), 3):
            _posted(
                api,
                "TENDER",
                place_holds=[{"hold_no": f"H{number}", "account": LENDER, "amount_minor": 6, "expires_at": expires_at}],
            )
        movement = ("TENDER", LENDER, BORROWER, 2)
        _posted(api, "DISBURSE", movement, capture_holds=[{"hold_no": "H3", "amount_minor": 2}])
        for state in ("LOCKED", "OPEN", "LOCKED"):
            api.rows(
                f"SELECT ledger.set_account_state(account_id, '{state}') FROM registry.account WHERE account_no = '{BORROWER}'"
            )
    approval = {"payload": {"limit": 5}, "by": api.staff("ann", "officer"), "platform_id": "P01"}
    for subject, approve in (("A", True), ("B", False)):
        asked = api.put_down("RAISE_LIMIT", subject, **approval)
        assert asked.status_code == 201, asked.text
        assert api.decide(asked.json(), by=api.staff("ben", "checker"), approve=approve).status_code == 201
    assert api.put_down("RAISE_LIMIT", "C", **approval).status_code == 201
    _send_out(api)
    api.client.post("/v1/clock", json={"now": "2026-08-02T10:00:00Z"})
    api.rows("SELECT ledger.seal_pending(10)")
    headers = api.staff("ann", "officer") | {"Idempotency-Key": "close"}
    closed = api.client.post(f"/v1/days/{first['business_date']}/close", headers=headers, content=b"{}")
    assert closed.status_code == 201, closed.text
    api.recharge(OTHER, 7)
    api.client.post("/v1/clock", json={"now": "2026-08-03T10:00:00Z"})
    api.rows("SELECT ledger.seal_pending(10), ledger.seal_holds(10)")
    while api.rows("SELECT audit.seal_pending(1000)") != [(0,)]:
        pass


def _send_out(api: Any) -> None:
    """A payment told to core banking, a notice, a file for a platform, one that was dropped, a deadline: as they are written."""
    endpoint = {
        "adapter": "core-banking",
        "endpoint": "https://bank.test/in",
        "secret_names": ["outside_x"],
        "topics": ["payment.*"],
    }
    api.approved("OUTSIDE_TARGET", "core", {**endpoint, "is_enabled": True, "settings": {}})
    api.approved("FILE_DEADLINE", "*/orders", FILE_DEADLINE)
    _posted(api, "WITHDRAW", ("WITHDRAW", LENDER, "P01-X-WITHDRAWAL", 4))
    with psycopg.connect(api.admin_url, autocommit=True) as owner:
        for statement in SENT_OUT:
            owner.execute(statement.encode())
    assert api.rows("SELECT topic, state FROM outside.delivery") == [("payment.created", "PENDING")]


def _posted(api: Any, *words: Any, **more: Any) -> None:
    answer = api.post(api.order(*words, **more))
    assert answer.status_code == 201, answer.text


def _changes(tampered: Tampered, table: str, column: str, kind: str) -> Iterator[tuple[str, str]]:
    """(name, statement) of each change of one value of a column."""
    for row in tampered.rows(table, f"{column} IS NOT NULL"):
        others = [f"'{word}'" for word in WORDS[column]] if column in WORDS else [each.format(c=column) for each in _OTHERS[kind]]
        for number, other in enumerate(others):
            name = "later" if "+" in other else "earlier" if "-" in other else str(number)
            yield (
                name,
                f"UPDATE {table} SET {column} = {other} WHERE ctid = '{row}' AND {column}::text IS DISTINCT FROM ({other})::text",
            )
    for row in tampered.rows(table, f"{column} IS NULL"):
        word = f"'{WORDS[column][0]}'" if column in WORDS else _FROM_NULL[kind]
        yield "from null", f"UPDATE {table} SET {column} = {word} WHERE ctid = '{row}'"


@pytest.mark.timeout(120)
def test_a_change_of_any_column_is_noticed(tampered: Tampered) -> None:
    assert not tampered.has_fault("ledger.movement")
    unnoticed, tried = [], 0
    for table, column, kind in tampered.columns():
        if table in QUEUE and (table != "outside.delivery" or column not in SENT):
            continue
        for name, statement in _changes(tampered, table, column, kind):
            if (table, column, name) in LEGAL or not _does_something(tampered, statement):
                continue
            tried += 1
            if not tampered.noticed(statement):
                unnoticed.append(statement)
    assert not unnoticed, f"{len(unnoticed)} of {tried}: " + "\n".join(unnoticed)
    assert tried > 400


def _does_something(tampered: Tampered, statement: str) -> bool:
    """Whether the change changes a row (a word may be there already); one that a constraint refuses counts as well."""
    tampered.connection.execute("SAVEPOINT tried")
    try:
        return tampered.connection.execute(statement.encode()).rowcount > 0
    except errors.IntegrityError:
        return True
    finally:
        tampered.connection.execute("ROLLBACK TO SAVEPOINT tried")


def test_every_table_is_derived_chained_or_anchored_whole(tampered: Tampered) -> None:
    anchored = {table: set(columns) for table, columns, _ in verify_anchors.anchored(tampered.connection)}
    there = tampered.connection.execute(_EVERYWHERE.encode(), [list(ELSEWHERE), list(NAMED)]).fetchall()
    naked = [
        (table, column)
        for table, column in there
        if table not in (*verify_anchors.PROVED, *DERIVED, *UNBOUND) and column not in anchored.get(table, ())
    ]
    assert naked == [], "anchor it, or say in UNBOUND or ELSEWHERE why not"
    assert set(UNBOUND) <= {table for table, _ in there}


ROWS = (
    "ledger.trade_order",
    "ledger.movement",
    "ledger.entry",
    "ledger.hold_event",
    "ledger.seal",
    "ledger.seal_block",
    "ledger.hold_block",
    "ledger.balance",
    "ledger.day_close",
    "ledger.day_balance",
    "audit.change",
    "audit.block",
    "work.approval",
    "work.decision",
    "registry.account",
    "api.answer",
)


def test_a_row_that_is_gone_is_noticed(tampered: Tampered) -> None:
    for table in ROWS:
        rows = tampered.rows(table, "true")
        assert rows, table
        for row in rows:
            assert tampered.noticed(f"DELETE FROM {table} WHERE ctid = '{row}'"), (table, row)


def test_an_order_that_only_sets_money_aside_is_bound_without_anchors(tampered: Tampered) -> None:
    (order,) = tampered.rows("ledger.trade_order", "order_id = (SELECT order_id FROM ledger.hold_event WHERE hold_no = 'H2')")
    event = tampered.rows("ledger.hold_event", "hold_no = 'H2'")[0]
    assert examine([tampered.connection]).faults == ()
    for change in (
        f"UPDATE ledger.trade_order SET entered_by = 'key:P02' WHERE ctid = '{order}'",
        f"UPDATE ledger.trade_order SET effective_at = effective_at - interval '1 day' WHERE ctid = '{order}'",
        f"UPDATE ledger.hold_event SET expires_at = '2026-09-01Z' WHERE ctid = '{event}'",
        "UPDATE ledger.hold_block SET previous_hash = sha256('x') WHERE block_no = 1",
    ):
        with tampered.connection.transaction(force_rollback=True):
            assert tampered.connection.execute(change.encode()).rowcount == 1
            assert "the chain of holds holds" in {fault.check for fault in examine([tampered.connection]).faults}, change


INSERTIONS = (
    "INSERT INTO ledger.movement SELECT (m).* FROM (SELECT m FROM ledger.movement m ORDER BY movement_id LIMIT 1) x, "
    "LATERAL (SELECT (jsonb_populate_record(x.m, '{\"movement_id\": 9999}')).*) m",
    "INSERT INTO ledger.entry SELECT account_id, max(account_version) + 1, 9999, 5, 5 FROM ledger.entry "
    "GROUP BY account_id LIMIT 1",
    "INSERT INTO ledger.seal SELECT max(ledger_no) + 1, 9999, max(block_no) FROM ledger.seal",
    "INSERT INTO ledger.balance (account_id, is_control) VALUES (9999, false)",
    "INSERT INTO ledger.day_balance SELECT 9999, business_date, 0, 0, 0, 0, 1 FROM ledger.day_close",
    "INSERT INTO work.decision SELECT approval_id, maker, true, '', proposed_at, NULL FROM work.approval WHERE subject = 'C'",
    "INSERT INTO ledger.allowed_movement VALUES ('PRINCIPAL', 'INVESTOR', 'BORROWERS')",
    "INSERT INTO ledger.hold_event (platform_id, hold_no, event_type, account_id, amount_minor, order_id, recorded_at, "
    "business_date) "
    "SELECT platform_id, 'H9', 'PLACE', account_id, 1, order_id, recorded_at, business_date FROM ledger.hold_event LIMIT 1",
)


def test_a_row_that_never_was_is_noticed(tampered: Tampered) -> None:
    for insertion in INSERTIONS:
        assert tampered.noticed(insertion), insertion


def _swap(tampered: Tampered, table: str, key: str, column: str) -> str:
    """Statement that gives two rows each other's value."""
    words = f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1"
    rows = tampered.connection.execute(words.encode()).fetchall()
    first = rows[0]
    second = next(row for row in rows if row[1] != first[1] and row[0] != first[0])
    other = f"CASE kept.{key} WHEN {first[0]} THEN {second[0]} ELSE {first[0]} END"
    value = f"(SELECT {column} FROM {table} WHERE {key} = {other} LIMIT 1)"
    return f"UPDATE {table} kept SET {column} = {value} WHERE {key} IN ({first[0]}, {second[0]})"


SWAPS = (
    ("ledger.movement", "movement_id", "amount_minor"),
    ("ledger.movement", "movement_id", "effective_at"),
    ("ledger.movement", "movement_id", "order_id"),
    ("ledger.trade_order", "order_id", "effective_at"),
    ("ledger.trade_order", "order_id", "amount_minor"),
    ("ledger.entry", "movement_id", "account_id"),
    ("ledger.hold_event", "hold_event_id", "amount_minor"),
    ("ledger.balance", "account_id", "credit_minor"),
    ("ledger.seal_block", "block_no", "hash"),
    ("audit.change", "change_id", "recorded_at"),
    ("registry.account", "account_id", "account_role"),
)


def test_two_rows_that_changed_places_are_noticed(tampered: Tampered) -> None:
    for table, key, column in SWAPS:
        assert tampered.noticed(_swap(tampered, table, key, column)), (table, column)


def test_a_tail_that_was_cut_off_without_a_trace_inside_is_noticed_from_outside(tampered: Tampered) -> None:
    last = "(SELECT max(movement_id) FROM ledger.movement)"
    cut = (
        "CREATE TEMP TABLE cut AS SELECT * FROM ledger.movement WHERE movement_id = " + last,
        "DELETE FROM ledger.seal_block WHERE block_no = (SELECT block_no FROM ledger.seal JOIN cut USING (movement_id))",
        "DELETE FROM ledger.seal WHERE block_no NOT IN (SELECT block_no FROM ledger.seal_block)",
        "DELETE FROM ledger.entry WHERE movement_id IN (SELECT movement_id FROM cut)",
        "DELETE FROM ledger.movement WHERE movement_id IN (SELECT movement_id FROM cut)",
        "DELETE FROM ledger.trade_order WHERE order_id IN (SELECT order_id FROM cut)",
        "UPDATE ledger.balance SET debit_minor = debit_minor - amount_minor, version = version - 1 FROM cut "
        "WHERE account_id = debit_account_id",
        "UPDATE ledger.balance SET credit_minor = credit_minor - amount_minor, version = version - 1 FROM cut "
        "WHERE account_id = credit_account_id",
        "DELETE FROM api.answer WHERE (answer ->> 'order_id')::bigint IN (SELECT order_id FROM cut)",
    )
    for statement in cut:
        assert tampered.connection.execute(statement.encode()).rowcount > 0, statement
    assert examine([tampered.connection]).faults == (), "nothing inside can tell"
    found = {fault.check for fault in tampered.verdict().faults}
    assert found == {"the chain holds what was anchored", "rows are as they were anchored"}


def test_anchors_that_were_changed_themselves_are_refused(tampered: Tampered) -> None:
    path = tampered.anchors.path(tampered.connection)
    path.write_text(path.read_text().replace('"previous":""', '"previous":"00"'), encoding="utf-8")
    with pytest.raises(verify_anchors.BadInput, match="line 1 of"):
        tampered.verdict()
