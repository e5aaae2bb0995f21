"""Step `land` on Spark and Iceberg: good rows land typed, bad rows and files are kept with their reason, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from domain.vocabulary import FileKind
from fundwatch.services import postgres
from fundwatch.settings import Settings
from ingest.kinds import KINDS
from ingest.landing import Registry
from lake import operators, store
from lake.operators import Waiver
from lake.published import Winner
from lake.steps import Run, StepContext, StepResult
from simulator.file_format import MANIFEST_COLUMNS, Damage, Feed, Row, csv_bytes, render
from spark_jobs import land
from spark_jobs.land import registry
from spark_jobs.positions import complete_dates

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PLATFORM, CHANNEL, FIRST, SECOND, THIRD = "P91", "PC91", date(2031, 3, 3), date(2031, 3, 4), date(2031, 3, 5)
BUREAU_RUN, BUREAU_NEXT_RUN = 910_011, 910_012
RUN, NEXT_RUN, EMPTY_RUN, WAIVED_RUN = 910_001, 910_002, 910_003, 910_004
SENDERS = {"platform": PLATFORM, "payment company": CHANNEL, "bank": "BANK"}


def order(number: int, **changes: str) -> Row:
    row: Row = {
        "request_no": f"P91-R-{number}",
        "order_type": "RECHARGE",
        "account_no": "P91-L-000001",
        "counter_account_no": None,
        "amount_minor": 1250,
        "currency": "CNY",
        "order_status": "SUCCESS",
        "created_at": "2031-03-03T10:00:00.5+08:00",
        "loan_no": None,
    }
    return row | changes


def loan() -> Row:
    values = ("L-1", "C-1", "B-1", None, 10_000, 10_000, "CNY", "0.085", "ANNUITY", 12, None, "2031-03-01", "EDUCATION", "A")
    return dict(zip(KINDS["loans"].names, values, strict=True))


def send(folder: Path, day: date, sequence_no: int, damages: dict[FileKind, Damage], rows: dict[FileKind, list[Row]]) -> None:
    """Write every daily file of a date with its manifests, as the platform, the payment company and the bank would."""
    manifests: dict[str, list[tuple[Any, ...]]] = {}
    for kind in (one for one in KINDS.values() if one.is_daily and not one.is_advisory):
        sender = SENDERS[kind.sender]
        feed = Feed(day, sender, PLATFORM, kind.kind, sequence_no, rows.get(kind.kind, []), damages.get(kind.kind))
        rendered = render(feed)
        place = folder / day.isoformat() / sender
        place.mkdir(parents=True, exist_ok=True)
        manifests.setdefault(sender, [MANIFEST_COLUMNS]).append(rendered.manifest_line)
        if rendered.content is not None:
            (place / feed.file_name).write_bytes(rendered.content)
    for sender, lines in manifests.items():
        (folder / day.isoformat() / sender / "manifest.csv").write_bytes(csv_bytes(lines))


def settings_at(base: Settings, folder: Path) -> Settings:
    """The same installation with landing and quarantine in a folder of the test."""

    class Elsewhere(Settings):
        landing_dir = property(lambda _: folder / "landing")  # type: ignore[assignment]
        quarantine_dir = property(lambda _: folder / "quarantine")  # type: ignore[assignment]

    return Elsewhere(**{one.name: getattr(base, one.name) for one in fields(base)})


class Night:
    """A landing folder and a way to land it under a run."""

    def __init__(self, spark: SparkSession, base: Settings, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.settings = settings_at(base, folder)

    def context(self, run_id: int, first: date, last: date) -> StepContext:
        return StepContext(Run(run_id, first, last, PLATFORM, None, 0), self.settings, self.spark)

    def rows(self, run_id: int, table: str) -> list[Any]:
        return store.of_run(self.context(run_id, FIRST, THIRD), table).orderBy("business_date", "file_name").collect()


@pytest.fixture(scope="module")
def night(spark: SparkSession, test_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    store.ensure_tables(spark)
    made = Night(spark, test_settings, tmp_path_factory.mktemp("land"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(land, "registry", lambda _: Registry({PLATFORM: FIRST}, {PLATFORM: (CHANNEL,)}, "BANK"))
        patch.setattr(store, "winners_before", lambda *_: [])
        yield made


@pytest.fixture(scope="module")
def landed(night: Night) -> StepResult:
    """Two dates: on the first one bad row, on the second a refused and a missing file and a copy."""
    folder = night.folder / "landing"
    bad = order(2, created_at="2031-02-30T10:00:00Z", currency="XXX")
    send(folder, FIRST, 5, {}, {FileKind.ORDERS: [order(1), bad, order(3)], FileKind.LOANS: [loan()]})
    send(
        folder,
        SECOND,
        6,
        {FileKind.POSTINGS: Damage.MISSING, FileKind.CHANNEL: Damage.TRUNCATED},
        {FileKind.ORDERS: [order(4, created_at="2031-03-04T00:00:00Z")]},
    )
    copied = folder / SECOND.isoformat() / PLATFORM / "P91.orders.again.csv.gz"
    copied.write_bytes((folder / SECOND.isoformat() / PLATFORM / "P91.orders.csv.gz").read_bytes())
    received = datetime(2031, 3, 3, 17, 0, tzinfo=UTC).timestamp()
    os.utime(folder / FIRST.isoformat() / PLATFORM / "P91.orders.csv.gz", (received, received))
    return land.run(night.context(RUN, FIRST, SECOND))


def test_good_rows_land_with_their_types_file_and_line(night: Night, landed: StepResult) -> None:
    first, third, fourth = sorted(night.rows(RUN, "platform_order"), key=lambda row: (row.business_date, row.line_no))
    assert (first.request_no, first.amount_minor, first.line_no) == ("P91-R-1", 1250, 3)
    assert first.created_at.astimezone(UTC) == datetime(2031, 3, 3, 2, 0, 0, 500_000, UTC)
    assert (third.request_no, third.line_no, third.file_name, third.sender_id) == ("P91-R-3", 5, "P91.orders.csv.gz", PLATFORM)
    assert (fourth.business_date, fourth.counter_account_no) == (SECOND, None)
    (borrowed,) = night.rows(RUN, "loan")
    assert (borrowed.annual_rate, borrowed.disbursed_on, borrowed.raised_from) == (Decimal("0.085000"), date(2031, 3, 1), None)
    assert landed.tables["platform_order"] == 3


def test_a_bad_row_is_in_quarantine_with_file_line_column_reason_and_text(night: Night, landed: StepResult) -> None:
    faults = {row.column_name: row for row in night.rows(RUN, "quarantine_row")}
    assert set(faults) == {"created_at", "currency"}
    fault = faults["created_at"]
    assert (fault.business_date, fault.file_name, fault.line_no, fault.file_kind) == (FIRST, "P91.orders.csv.gz", 4, "orders")
    assert fault.raw_text.startswith("P91-R-2,RECHARGE,")
    assert "2031-02-30" in fault.reason
    assert landed.detail["rows_quarantined"] == 1


def test_every_file_has_one_verdict_and_a_refused_one_lands_nothing(night: Night, landed: StepResult) -> None:
    rows = night.rows(RUN, "file_control")
    verdicts = {(row.business_date, row.file_kind, row.file_name): (row.state, row.reason_code) for row in rows}
    assert len(rows) == 2 * 12 + 1
    faulty = {key: value for key, value in verdicts.items() if value[0] != "ACCEPTED"}
    assert faulty == {
        (SECOND, "postings", "P91.postings.csv.gz"): ("MISSING", "MISSING"),
        (SECOND, "channel", "P91.channel.csv.gz"): ("REFUSED", "TRUNCATED"),
        (SECOND, "orders", "P91.orders.again.csv.gz"): ("REFUSED", "DUPLICATE"),
    }
    orders = next(row for row in rows if row.file_kind == "orders" and row.business_date == FIRST)
    assert (orders.row_count, orders.control_sum, orders.rows_quarantined, orders.sequence_no) == (3, 3750, 1, 5)
    assert orders.received_at.astimezone(UTC) == datetime(2031, 3, 3, 17, 0, tzinfo=UTC)
    assert night.rows(RUN, "channel_order") == []
    kept = sorted(path.name for path in (night.folder / "quarantine").rglob("*.gz") if path.is_file())
    assert kept == ["P91.channel.csv.gz", "P91.orders.again.csv.gz"]


def test_the_suite_marks_the_files_that_make_the_platform_incomplete(landed: StepResult) -> None:
    checks = {check["check"]: check for check in landed.detail["expectations"][0]["checks"]}
    incomplete = checks.pop("expected_files_are_accepted_or_waived")
    assert (incomplete["action_on_fail"], incomplete["offending_rows"]) == ("INCOMPLETE", 2)
    assert {row["file_kind"] for row in incomplete["first_rows"]} == {"postings", "channel"}
    assert checks.pop("every_row_is_readable")["offending_rows"] == 1
    assert {check["success"] for check in checks.values()} == {True}


def test_landing_again_replaces_the_runs_own_rows(night: Night, landed: StepResult) -> None:
    again = land.run(night.context(RUN, FIRST, SECOND))
    assert again.tables == landed.tables
    assert len(night.rows(RUN, "platform_order")) == 3


def test_the_sequence_and_the_hashes_of_published_files_bind_later_runs(
    night: Night, landed: StepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = night.folder / "landing"
    send(folder, THIRD, 7, {FileKind.STATUS: Damage.SEQUENCE_GAP}, {FileKind.ORDERS: [order(5)]})
    place = folder / THIRD.isoformat() / PLATFORM / "P91.orders.csv.gz"
    place.write_bytes((folder / SECOND.isoformat() / PLATFORM / "P91.orders.csv.gz").read_bytes())
    published = [Winner(day, PLATFORM, RUN, 1, "COMPLETE") for day in (FIRST, SECOND)]
    monkeypatch.setattr(store, "winners_before", lambda *_: published)
    result = land.run(night.context(NEXT_RUN, THIRD, THIRD))
    rows = {row.file_kind: row for row in night.rows(NEXT_RUN, "file_control") if row.state != "ACCEPTED"}
    assert {kind: row.reason_code for kind, row in rows.items()} == {"status": "SEQUENCE", "orders": "DUPLICATE"}
    assert "P91/P91.orders.csv.gz of 2031-03-04" in rows["orders"].reason
    # the channel file of the second date was refused: two dates lie between, and the sequence agrees
    assert result.detail["files"] == {"ACCEPTED": 10, "REFUSED": 2, "MISSING": 0}


def test_a_file_that_operators_go_on_without_is_waived_unless_it_is_accepted(
    night: Night, landed: StepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = [
        Waiver(PLATFORM, SECOND, sender, kind, 7, "their system is down", "ann", "ben")
        for sender, kind in ((PLATFORM, "postings"), (CHANNEL, "channel"), (PLATFORM, "orders"))
    ]
    monkeypatch.setattr(operators, "waivers", lambda *_: decided)
    result = land.run(night.context(WAIVED_RUN, FIRST, SECOND))
    rows = {(row.file_kind, row.file_name): row for row in night.rows(WAIVED_RUN, "file_control") if row.state != "ACCEPTED"}
    assert {key: (row.state, row.reason_code) for key, row in rows.items()} == {
        ("postings", "P91.postings.csv.gz"): ("WAIVED", "MISSING"),
        ("channel", "P91.channel.csv.gz"): ("WAIVED", "TRUNCATED"),
        ("orders", "P91.orders.again.csv.gz"): ("REFUSED", "DUPLICATE"),
    }
    sentence = "control 7 of ann, approved by ben, goes on without it: their system is down (P91/P91.postings.csv.gz"
    assert rows["postings", "P91.postings.csv.gz"].reason.startswith(sentence)
    assert result.tables["platform_order"] == landed.tables["platform_order"]
    assert night.rows(WAIVED_RUN, "channel_order") == []
    assert result.detail["files"]["WAIVED"] == 2
    checks = {check["check"]: check["success"] for check in result.detail["expectations"][0]["checks"]}
    assert checks["expected_files_are_accepted_or_waived"]


def bureau_file(folder: Path, day: date, kind: FileKind, number: int, rows: list[Row]) -> tuple[Any, ...]:
    """One of the bureau's files; its line of the manifest."""
    feed = Feed(day, "BUREAU", PLATFORM, kind, number, rows)
    rendered = render(feed)
    place = folder / day.isoformat() / "BUREAU"
    place.mkdir(parents=True, exist_ok=True)
    assert rendered.content is not None
    (place / feed.file_name).write_bytes(rendered.content)
    return rendered.manifest_line


def bureau_row(kind: FileKind, number: int, knowable_at: str, **changes: Any) -> Row:
    values: Row = dict.fromkeys(KINDS[kind].names)
    if kind is FileKind.INDUSTRY:
        values |= {"record_no": f"R{number}", "member_no": "M1", "record_type": "APPLICATION", "occurred_on": "2031-05-01"}
        values |= {"amount_minor": 10, "currency": "CNY", "decision": "P"}
    else:
        values |= {
            "hit_no": f"H{number}",
            "source_tier": 1,
            "category": "TAX",
            "polarity_pct": -5,
            "match_pct": 9,
            "review": "PENDING",
        }
    return values | {"subject_hash": "a" * 64, "knowable_at": knowable_at} | changes


def test_a_file_from_the_future_is_refused_whole_and_holds_nothing_up(night: Night) -> None:
    """End to end: the other files of the date land, the date is complete, the refused file is kept with line and column."""
    folder, day = night.folder / "landing", date(2031, 5, 5)
    send(folder, day, 5, {}, {FileKind.ORDERS: [order(9)]})
    good = [
        bureau_row(FileKind.REPUTATION, 1, "2031-05-05T23:00:00+08:00"),
        bureau_row(FileKind.REPUTATION, 2, "2031-05-05T00:00:00Z", match_pct=101),
    ]
    early = [bureau_row(FileKind.INDUSTRY, 1, "2031-05-05T08:00:00Z"), bureau_row(FileKind.INDUSTRY, 2, "2031-05-05T15:00:01Z")]
    lines = [bureau_file(folder, day, FileKind.REPUTATION, 1, good), bureau_file(folder, day, FileKind.INDUSTRY, 1, early)]
    (folder / day.isoformat() / "BUREAU" / "manifest.csv").write_bytes(csv_bytes([MANIFEST_COLUMNS, *lines]))
    context = night.context(BUREAU_RUN, day, day)
    result = land.run(context)
    rows = {row.file_kind: row for row in store.of_run(context, "file_control").collect()}
    assert (rows["industry"].state, rows["industry"].reason_code) == ("REFUSED", "FUTURE")
    assert rows["industry"].reason.startswith("line 4: knowable_at 2031-05-05T15:00:01+00:00 is later than the date's close")
    assert (rows["reputation"].state, rows["reputation"].rows_quarantined) == ("ACCEPTED", 1)
    assert (result.tables["industry_record"], result.tables["reputation_hit"], result.tables["platform_order"]) == (0, 1, 1)
    (kept,) = (night.folder / "quarantine" / day.isoformat() / "BUREAU" / "P91.industry.csv.gz").glob("*/REASON.json")
    assert '"reason_code": "FUTURE"' in kept.read_text()
    (complete,) = complete_dates(store.of_run(context, "file_control"), PLATFORM).collect()
    assert complete.business_date == day
    checks = {check["check"]: check["success"] for suite in result.detail["expectations"] for check in suite["checks"]}
    assert checks["expected_files_are_accepted_or_waived"]
    assert checks["nothing_was_knowable_after_its_dates_close"]


def test_a_bureau_that_has_sent_before_is_missed_and_nothing_waits_for_it(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, day = night.folder / "landing", date(2031, 5, 6)
    send(folder, day, 6, {}, {FileKind.ORDERS: [order(11)]})
    monkeypatch.setattr(store, "winners_before", lambda *_: [Winner(date(2031, 5, 5), PLATFORM, BUREAU_RUN, 1, "COMPLETE")])
    context = night.context(BUREAU_NEXT_RUN, day, day)
    result = land.run(context)
    missed = [row for row in store.of_run(context, "file_control").collect() if row.state != "ACCEPTED"]
    assert sorted((row.file_kind, row.state) for row in missed) == [("industry", "MISSING"), ("reputation", "MISSING")]
    assert complete_dates(store.of_run(context, "file_control"), PLATFORM).count() == 1
    assert [suite["suite"] for suite in result.detail["expectations"]] == ["file_control"]


def test_a_night_without_files_goes_on_with_everything_missing(night: Night) -> None:
    day = THIRD + timedelta(days=9)
    result = land.run(night.context(EMPTY_RUN, day, day))
    assert (result.rows_in, result.rows_out) == (0, 0)
    assert result.detail["files"] == {"ACCEPTED": 0, "REFUSED": 0, "MISSING": 12}


def test_platforms_and_payment_companies_come_from_the_registry_as_known_then(database: Any) -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    address = postgres.superuser_url(database.settings).rpartition("/")[0]
    with psycopg.connect(f"{address}/{database.name}") as connection:
        for platform_id, recorded_at in (("P01", early), ("P02", late)):
            connection.execute(
                "insert into registry.platform values (%s, 'a', 'b', 'CNY', 'CN_2017', '2026-01-02', %s)",
                (platform_id, recorded_at),
            )
        connection.execute("insert into registry.payment_company values ('PC01', 'c', %s)", (early,))
        connection.execute("insert into registry.payment_company_platform values ('PC01', 'P01', %s)", (early,))

    def platforms(platform_id: str | None, known_as_of: datetime | None) -> Registry:
        run = Run(1, FIRST, FIRST, platform_id, known_as_of, 0)
        return registry(StepContext(run, database.settings, None))  # type: ignore[arg-type]

    everybody = platforms(None, None)
    assert everybody.onboarded_on == {"P01": date(2026, 1, 2), "P02": date(2026, 1, 2)}
    assert everybody.payment_companies == {"P01": ("PC01",)}
    assert set(platforms(None, early).onboarded_on) == {"P01"}
    assert set(platforms("P02", None).onboarded_on) == {"P02"}
