"""`fundwatch files wait`: what the next night waits for, by the service's clock, without Spark."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput
from domain.vocabulary import ADVISORY_KINDS
from fundwatch.deadlines import usual as deadline
from fundwatch.settings import Settings
from fundwatch.waiting import probe
from ingest.kinds import BANK, KINDS, PAYMENT_COMPANY, PLATFORM
from ingest.manifest import COLUMNS, FILE_NAME
from transactional import controls
from transactional.controls import Control

D1, D2 = date(2026, 8, 30), date(2026, 8, 31)
T0 = datetime(2026, 8, 1, tzinfo=UTC)
# 01:30 bank time on the day after the last date; the files came half an hour before
NOW, CAME = datetime(2026, 8, 31, 17, 30, tzinfo=UTC), datetime(2026, 8, 31, 17, 0, tzinfo=UTC)
SENDERS = {PLATFORM: "P01", PAYMENT_COMPANY: "PC01", BANK: "BANK"}
DAILY = [(SENDERS[kind.sender], name) for name, kind in KINDS.items() if kind.is_daily and name not in ADVISORY_KINDS]


class Bank:
    """One platform whose first date is published, with a landing folder of its own."""

    def __init__(self, database: Any, home: Path) -> None:
        self.database = database
        self.settings: Settings = replace(database.settings, home=home)
        self.execute(
            f"insert into registry.platform values ('P01', 'One', 'One', 'CNY', 'CN_2017', '{D1}', '{T0}')",
            f"insert into registry.payment_company values ('PC01', 'Pay', '{T0}')",
            f"insert into registry.payment_company_platform values ('PC01', 'P01', '{T0}')",
            "insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at) "
            f"values ('{D1}', '{D1}', 0, '{{}}', 'x', 'PUBLISHED', '{T0}')",
            f"insert into run.published values ('{D1}', 'P01', 1, 1, 'COMPLETE', null, '{T0}')",
        )
        self.at(NOW)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.database.url("migrator"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def at(self, moment: datetime) -> None:
        self.execute(f"update ledger.clock set now_at = '{moment}'")

    def approve(self, control: Control) -> None:
        with psycopg.connect(self.database.url("service"), autocommit=True) as connection:
            controls.decide(connection, controls.propose(connection, control, "ann"), "ben", True)

    def send(self, sender: str, kind: str, came: datetime = CAME) -> None:
        self._put(sender, f"P01.{kind}.csv.gz", b"", came)

    def manifest(self, sender: str, *kinds: str, came: datetime = CAME) -> None:
        lines = [",".join(COLUMNS), *(f"P01,{kind},P01.{kind}.csv.gz,{'0' * 64},0,0,1" for kind in kinds)]
        self._put(sender, FILE_NAME, "\n".join(lines).encode() + b"\n", came)

    def send_all(self, *but: tuple[str, str]) -> None:
        for sender, kind in DAILY:
            if (sender, kind) not in but:
                self.send(sender, kind)
        for sender in SENDERS.values():
            self.manifest(sender, *(kind for by, kind in DAILY if by == sender))

    def _put(self, sender: str, name: str, content: bytes, came: datetime) -> None:
        path = self.settings.landing_dir / D2.isoformat() / sender / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (came.timestamp(), came.timestamp()))

    def probe(self, to: date = D2) -> dict[str, Any]:
        return probe(self.settings, to)


@pytest.fixture
def bank(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(database.settings.home / "secrets"))
    return Bank(database, tmp_path)


def test_every_expected_file_of_the_dates_not_published_is_waited_for(bank: Bank) -> None:
    found = bank.probe()
    assert (found["ready"], found["dates"], found["missing_count"]) == (False, [D2.isoformat()], len(DAILY))
    assert found["missing"][0] == "2026-08-31/BANK/P01.gl.csv.gz: the file did not come"
    assert found["deadline"] == "2026-09-01T04:00:00+08:00"
    assert not found["deadline_passed"]
    assert bank.probe(D1) == found | {
        "to": D1.isoformat(),
        "ready": True,
        "reason": f"every date up to {D1} is published",
        "dates": [],
        "missing": [],
        "missing_count": 0,
        "deadline": "2026-08-31T04:00:00+08:00",
        "deadline_passed": True,
    }


def test_a_night_is_ready_once_all_files_and_their_manifests_came(bank: Bank) -> None:
    bank.send_all(("P01", "orders"))
    assert bank.probe()["missing"] == ["2026-08-31/P01/P01.orders.csv.gz: the file did not come"]
    bank.send("P01", "orders", came=NOW + timedelta(minutes=1))
    assert not bank.probe()["ready"]
    bank.at(NOW + timedelta(minutes=1))
    assert (bank.probe()["ready"], bank.probe()["reason"]) == (True, "every file that is waited for has come")


def test_a_file_without_its_manifest_and_a_promise_without_its_file_are_waited_for(bank: Bank) -> None:
    bank.send_all()
    manifest = bank.settings.landing_dir / D2.isoformat() / "PC01" / FILE_NAME
    manifest.unlink()
    assert bank.probe()["missing"] == [
        f"2026-08-31/PC01/P01.{kind}.csv.gz: the manifest of PC01 did not come" for kind in ("channel", "settlement")
    ]
    bank.manifest("PC01", "channel", "settlement")
    bank.manifest("P01", "payments", *(kind for sender, kind in DAILY if sender == "P01"))
    assert bank.probe()["missing"] == ["2026-08-31/P01/P01.payments.csv.gz: the file did not come"]


def test_the_deadline_is_bank_time_on_the_day_after(bank: Bank) -> None:
    bank.at(deadline(bank.settings, D2) - timedelta(seconds=1))
    assert not bank.probe()["deadline_passed"]
    bank.at(deadline(bank.settings, D2))
    found = bank.probe()
    assert (found["deadline_passed"], found["ready"], found["missing_count"]) == (True, False, len(DAILY))


def test_a_date_is_waited_for_until_its_own_deadline_only(bank: Bank) -> None:
    bank.execute("delete from run.published")
    assert bank.probe()["dates"] == [D1.isoformat(), D2.isoformat()]
    assert bank.probe()["missing_count"] == len(DAILY)
    assert bank.probe(D1)["missing_count"] == len(DAILY)
    bank.at(deadline(bank.settings, D1) - timedelta(seconds=1))
    assert bank.probe()["missing_count"] == 2 * len(DAILY)


def test_a_waived_file_is_not_waited_for(bank: Bank) -> None:
    bank.send_all(("PC01", "channel"))
    bank.approve(Control("WITHOUT_FILE", "P01", D1, "PC01", "channel", "of another date"))
    assert not bank.probe()["ready"]
    bank.approve(Control("WITHOUT_FILE", "P01", D2, "PC01", "channel", "their system is down"))
    assert bank.probe()["ready"]


def test_a_held_night_is_not_ready_and_says_why(bank: Bank) -> None:
    bank.send_all()
    bank.approve(Control("HOLD", reason="look first"))
    found = bank.probe()
    assert (found["ready"], found["held"], found["missing"]) == (False, True, [])
    assert found["reason"].startswith("held by ann (approved by ben) since 2026-08-31T17:30:00+00:00: look first")


def test_files_that_only_inform_are_waited_for_until_the_deadline_and_block_nothing(bank: Bank) -> None:
    bank.send_all()
    assert bank.probe()["ready"]
    bank.execute(
        "insert into mart.file_control (business_date, run_id, platform_id, sender_id, file_kind, file_name, state) "
        f"values ('{D1}', 1, 'P01', 'BUREAU', 'industry', 'P01.industry.csv.gz', 'ACCEPTED')"
    )
    found = bank.probe()
    assert (found["ready"], found["missing"]) == (False, [])
    assert found["advisory_missing"] == [
        f"2026-08-31/BUREAU/P01.{kind}.csv.gz: the file did not come" for kind in sorted(ADVISORY_KINDS)
    ]
    bank.at(deadline(bank.settings, D2))
    assert bank.probe()["ready"]


def test_without_a_platform_there_is_nothing_to_wait_for(database: Any) -> None:
    with pytest.raises(BadInput, match="no platform is registered yet"):
        probe(database.settings, D2)


def test_asking_loads_no_spark() -> None:
    script = "import sys, fundwatch.waiting, fundwatch.commands.files; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("pyspark", "pyarrow", "pyiceberg") if f"'{name}'" in loaded]
