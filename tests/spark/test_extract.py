"""Extract: book B becomes lake tables and daily balances, the same in one pass or date by date; then it is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from domain.errors import Failed
from fundwatch.settings import Settings
from lake import reader, runs, store
from lake.content import contents
from lake.reader import row_counts
from lake.runs import Run
from lake.steps import StepContext
from spark_jobs import extract
from transactional import controls

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = date(2026, 3, 2)
DAYS = [FIRST + timedelta(days=number) for number in range(4)]
T0 = datetime(2026, 1, 1, tzinfo=UTC)
WHY = {"ACCEPTED": (None, None), "REFUSED": ("HASH", "wrong hash")}
EXTRACTED = ("ledger_movement", "ledger_order", "ledger_hold_event", "ledger_balance")
BALANCE = ("account_no", "business_date", "opening_minor", "debit_minor", "credit_minor", "closing_minor", "held_minor")


@dataclass
class Book:
    """Book B of one platform of this test, filled past the posting engine."""

    settings: Settings
    spark: SparkSession
    platform_id: str

    def execute(self, statement: str, values: Any = None) -> Any:
        with psycopg.connect(self.settings.database_url("migrator"), autocommit=True) as connection:
            done = connection.execute(statement, values)
            return done.fetchone() if done.description else None

    def account(self, name: str, role: str, customer_opened_on: date | None = None) -> str:
        number = f"{self.platform_id}-{name}"
        customer = None
        if customer_opened_on is not None:
            customer = f"{self.platform_id}-C-{name}"
            party = self.execute(
                """insert into registry.party (party_ref, party_type, id_hash, name_masked, recorded_at)
                   values (%s, 'PERSON', %s, 'n', %s) returning party_id""",
                [customer, customer, T0],
            )
            self.execute(
                "insert into registry.customer values (%s, %s, %s, '{LENDER}', %s, %s)",
                [self.platform_id, customer, party[0], customer_opened_on, T0],
            )
        self.execute(
            """insert into registry.account
                 (account_no, platform_id, account_role, is_control, currency, customer_no, recorded_at)
               values (%s, %s, %s, %s, 'CNY', %s, %s)""",
            [number, self.platform_id, role, role == "SPECIAL_ACCOUNT", customer, T0],
        )
        return number

    def post(self, day: date, debit: str, credit: str, amount: int) -> None:
        at = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=4)
        order = self._order(day, at, amount)
        self.execute(
            """insert into ledger.movement (movement_id, order_id, seq, movement_type, debit_account_id, credit_account_id,
                 amount_minor, currency, effective_at, recorded_at, business_date)
               select nextval('ledger.movement_id'), %s, 1, 'OPENING_BALANCE', d.account_id, c.account_id, %s, 'CNY', %s, %s, %s
               from registry.account d, registry.account c where d.account_no = %s and c.account_no = %s""",
            [order, amount, at, at, day, debit, credit],
        )

    def hold(self, day: date, account: str, event: str, amount: int) -> None:
        at = datetime.combine(day, datetime.min.time(), UTC)
        order = self._order(day, at, amount)
        self.execute(
            """insert into ledger.hold_event (platform_id, hold_no, event_type, account_id, amount_minor, order_id, recorded_at,
                 business_date) select %s, 'H1', %s, account_id, %s, %s, %s, %s from registry.account where account_no = %s""",
            [self.platform_id, event, amount, order, at, day, account],
        )

    def _order(self, day: date, at: datetime, amount: int) -> int:
        (order,) = self.execute("select nextval('ledger.order_id')")
        self.execute(
            "insert into ledger.trade_order values (%s, %s, %s, 'OPENING', 'CNY', %s, null, %s, %s, %s)",
            [order, self.platform_id, f"R-{order}", amount, at, at, day],
        )
        return int(order)

    def run(self, first: date, last: date) -> StepContext:
        self.execute("select ledger.seal_pending(1000)")
        (number,) = self.execute("select ledger_no_to from ledger.seal_state()")
        (run_id,) = self.execute(
            """insert into run.run (first_date, last_date, platform_id, ledger_no_to, packs, code_version, state, opened_at)
               values (%s, %s, %s, %s, '{}', 'test', 'OPEN', now()) returning run_id""",
            [first, last, self.platform_id, number],
        )
        return StepContext(Run(run_id, first, last, self.platform_id, None, number), self.settings, self.spark)

    def publish(self, context: StepContext, *days: date, state: str = "COMPLETE") -> None:
        for day in days:
            self.execute(
                """insert into run.published select %s, %s, 1 + count(*), %s, %s, null, now() from run.published
                   where business_date = %s and platform_id = %s""",
                [day, self.platform_id, context.run.run_id, state, day, self.platform_id],
            )

    def balances(self, context: StepContext) -> dict[tuple[str, date], tuple[int, ...]]:
        rows = store.of_run(context, "ledger_balance").select(*BALANCE).collect()
        return {(row[0].removeprefix(f"{self.platform_id}-"), row[1]): tuple(row[2:]) for row in rows}


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(70, 99))


def new_book(settings: Settings, spark: SparkSession, number: int) -> Book:
    """Four dates of a platform: opening balances, a later account, a hold placed and released, a payment."""
    store.ensure_tables(spark)
    book = Book(settings, spark, f"P{number}")
    book.execute("insert into registry.platform values (%s, 'n', 'n', 'CNY', 'CN_2017', %s, %s)", [book.platform_id, FIRST, T0])
    special = book.account("X-SPECIAL", "SPECIAL_ACCOUNT")
    lender = book.account("L-1", "INVESTOR", FIRST)
    late = book.account("L-2", "INVESTOR", DAYS[2])
    book.account("L-3", "INVESTOR", DAYS[3] + timedelta(days=1))
    book.post(DAYS[0], special, lender, 1000)
    book.hold(DAYS[1], lender, "PLACE", 300)
    book.post(DAYS[2], lender, late, 250)
    book.post(DAYS[2], late, lender, 50)
    book.hold(DAYS[3], lender, "RELEASE", 300)
    return book


@pytest.fixture
def book(test_settings: Settings, spark: SparkSession, numbers: Iterator[int]) -> Book:
    return new_book(test_settings, spark, next(numbers))


@dataclass
class Extracted:
    """A platform whose four dates were extracted in one pass: its run, what the step said, what the tables hold."""

    book: Book
    context: StepContext
    tables: dict[str, int]
    content: dict[str, Any]


@pytest.fixture(scope="module")
def whole(test_settings: Settings, spark: SparkSession, numbers: Iterator[int]) -> Extracted:
    book = new_book(test_settings, spark, next(numbers))
    context = book.run(DAYS[0], DAYS[3])
    tables = dict(extract.run(context).tables)
    return Extracted(book, context, tables, contents(context, EXTRACTED))


def test_every_account_has_its_balance_on_every_date_from_its_opening_on(whole: Extracted) -> None:
    assert whole.tables == {"ledger_movement": 3, "ledger_order": 5, "ledger_hold_event": 2, "ledger_balance": 10}
    balances = whole.book.balances(whole.context)
    lender = [balances["L-1", day] for day in DAYS]
    assert lender == [(0, 0, 1000, 1000, 0), (1000, 0, 0, 1000, 300), (1000, 250, 50, 800, 300), (800, 0, 0, 800, 0)]
    assert sorted(day for name, day in balances if name == "L-2") == DAYS[2:]
    assert not [name for name, _ in balances if name == "L-3"]
    assert [balances["X-SPECIAL", day][3] for day in DAYS] == [-1000] * 4


def test_a_rerun_that_reads_in_many_ranges_replaces_what_it_wrote_by_the_same(
    whole: Extracted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "ROWS_A_PARTITION", 1)
    assert extract.run(whole.context).tables == whole.tables
    assert contents(whole.context, EXTRACTED) == whole.content


def test_one_pass_and_date_by_date_have_the_same_content(whole: Extracted) -> None:
    single: dict[str, dict[str, Any]] = {name: {} for name in EXTRACTED}
    for day in DAYS:
        context = whole.book.run(day, day)
        extract.run(context)
        whole.book.publish(context, day, state="INCOMPLETE" if day == DAYS[1] else "COMPLETE")
        for name, found in contents(context, EXTRACTED).items():
            single[name].update(found)
    assert single == whole.content
    assert set(single["ledger_balance"]) == {day.isoformat() for day in DAYS}


def test_a_platform_that_was_never_published_opens_with_all_that_was_posted_before(book: Book) -> None:
    opening = extract.opening_balances(book.run(DAYS[3], DAYS[3])).where(f"account_no = '{book.platform_id}-L-1'").collect()
    assert [tuple(row)[1:] for row in opening] == [(800, 300)]


def test_what_lies_above_the_watermark_is_not_read(book: Book) -> None:
    context = book.run(DAYS[0], DAYS[0])
    book.post(DAYS[0], f"{book.platform_id}-L-1", f"{book.platform_id}-L-2", 7)
    book.execute("select ledger.seal_pending(1000)")
    extract.run(context)
    assert book.balances(context)["L-1", DAYS[0]][3] == 1000


def test_balances_that_do_not_add_up_stop_the_night(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    context = book.run(DAYS[0], DAYS[0])
    opening = extract.opening_balances(context).where("false")
    one_sided = context.spark.createDataFrame([(f"{book.platform_id}-L-1", 5, 0)], opening.schema)
    monkeypatch.setattr(extract, "opening_balances", lambda _: one_sided)
    with pytest.raises(Failed, match="does not add up"):
        extract.run(context)


def _done(book: Book, first: date, last: date, files: list[tuple[date, str, str]]) -> StepContext:
    """A run whose steps wrote one order, and whose file control found `files` (date, kind, state)."""
    context = book.run(first, last)
    book.execute("update ledger.clock set now_at = '2026-03-10T00:00Z' where now_at < '2026-03-10T00:00Z'")
    order = [(first, context.run.run_id, book.platform_id, 1, "R-1", "OPENING", 1000, "CNY", T0)]
    frames = {"ledger_order": context.spark.createDataFrame(order, store.TABLES["ledger_order"].ddl)}
    rows = [
        (
            day,
            context.run.run_id,
            book.platform_id,
            book.platform_id,
            kind,
            f"{kind}.gz",
            state,
            *WHY[state],
            "ab",
            T0,
            1,
            1,
            1,
            0,
        )
        for day, kind, state in files
    ]
    frames["file_control"] = context.spark.createDataFrame(rows, store.TABLES["file_control"].ddl)
    for name, frame in frames.items():
        store.write(context, name, frame)
    hashes = contents(context, list(frames))
    runs.record_step(context.settings, context.run.run_id, "extract", "DONE", 1, 1, 1.0, {"content": hashes})
    return context


def test_publish_makes_versions_marts_and_a_manifest_and_is_done_once(book: Book) -> None:
    files = [(DAYS[0], "orders", "ACCEPTED"), (DAYS[1], "orders", "REFUSED"), (DAYS[1], "postings", "ACCEPTED")]
    context = _done(book, DAYS[0], DAYS[1], files)
    done = runs.publish(context.settings, context.run, ["extract"])
    assert (done.state, done.skipped, done.complete, done.marts["file_control"]) == ("PUBLISHED", False, 1, 3)
    shown = runs.show(context.settings, context.run.run_id)
    assert [(row["business_date"], row["version"], row["state"]) for row in shown["published"]] == [
        (DAYS[0], 1, "COMPLETE"),
        (DAYS[1], 1, "INCOMPLETE"),
    ]
    assert "orders: wrong hash" in shown["published"][1]["reason"]
    manifest = json.loads((context.settings.manifests_dir / f"{context.run.run_id}.json").read_text())
    assert manifest["tables"]["ledger_order"][DAYS[0].isoformat()]["rows"] == 1
    assert [entry["file_kind"] for entry in manifest["inputs"]] == ["orders", "orders", "postings"]
    assert sum(day["rows"] for day in manifest["tables"]["ledger_order"].values()) == row_counts(
        context.settings, context.run.run_id
    ).get("ledger_order")
    assert runs.publish(context.settings, context.run, ["extract"]).skipped is True


def test_a_run_is_published_as_the_next_version_and_an_older_one_no_more(book: Book) -> None:
    files = [(DAYS[0], "orders", "ACCEPTED")]
    old, first, second = (_done(book, DAYS[0], DAYS[0], files) for _ in range(3))
    runs.publish(old.settings, first.run)
    runs.publish(old.settings, second.run)
    (row,) = runs.show(old.settings, second.run.run_id)["published"]
    assert (row["version"], row["state"]) == (2, "COMPLETE")
    with pytest.raises(Failed, match="is older than run"):
        runs.publish(old.settings, old.run)
    assert runs.show(old.settings, old.run.run_id)["published"] == []


def test_a_run_whose_steps_did_not_end_or_whose_rows_changed_is_not_published(book: Book) -> None:
    context = _done(book, DAYS[0], DAYS[0], [(DAYS[0], "orders", "ACCEPTED")])
    with pytest.raises(Failed, match="reconcile did not end well"):
        runs.publish(context.settings, context.run, ["extract", "reconcile"])
    store.write(context, "ledger_order", store.of_run(context, "ledger_order").where("false"))
    with pytest.raises(Failed, match=r"ledger_order \(1 recorded, 0 found\)"):
        runs.publish(context.settings, context.run, ["extract"])
    assert runs.get(context.settings, context.run.run_id).state == "OPEN"


@pytest.fixture
def decided(test_settings: Settings) -> Iterator[Callable[[str], None]]:
    """Propose a control that needs no names and approve it; at the end the night is resumed."""
    with psycopg.connect(test_settings.database_url("service"), autocommit=True) as connection:

        def decide(kind: str) -> None:
            controls.decide(connection, controls.propose(connection, controls.Control(kind, reason="look"), "ann"), "ben", True)

        yield decide
        if controls.held(connection):
            decide("RESUME")


def test_a_held_run_stays_open_and_is_published_once_the_night_is_resumed(book: Book, decided: Callable[[str], None]) -> None:
    context = _done(book, DAYS[0], DAYS[0], [(DAYS[0], "orders", "ACCEPTED")])
    decided("HOLD")
    with pytest.raises(Failed, match=r"stays open until the night is resumed: held by ann \(approved by ben\) since .*: look"):
        runs.publish(context.settings, context.run, ["extract"])
    assert runs.show(context.settings, context.run.run_id)["state"] == "OPEN"
    decided("RESUME")
    assert runs.publish(context.settings, context.run, ["extract"]).state == "PUBLISHED"


def test_a_hold_that_is_approved_while_a_run_is_copied_stops_it_before_the_commit(
    book: Book, decided: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _done(book, DAYS[0], DAYS[0], [(DAYS[0], "orders", "ACCEPTED")])
    counted = reader.row_counts

    def counted_while_held(settings: Settings, run_id: int) -> dict[str, int]:
        decided("HOLD")
        return counted(settings, run_id)

    monkeypatch.setattr(reader, "row_counts", counted_while_held)
    with pytest.raises(Failed, match="held by ann"):
        runs.publish(context.settings, context.run, ["extract"])
    assert runs.show(context.settings, context.run.run_id)["published"] == []
    known = replace(context.run, known_as_of=datetime(2026, 3, 9, tzinfo=UTC))
    monkeypatch.setattr(reader, "row_counts", counted)
    assert runs.publish(context.settings, known).state == "AS_KNOWN"


def test_a_run_as_known_then_enters_no_version(book: Book) -> None:
    context = _done(book, DAYS[0], DAYS[0], [(DAYS[0], "orders", "ACCEPTED")])
    known = replace(context.run, known_as_of=datetime(2026, 3, 9, tzinfo=UTC))
    assert runs.publish(context.settings, known).state == "AS_KNOWN"
    assert runs.show(context.settings, context.run.run_id)["published"] == []
