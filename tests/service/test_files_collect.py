"""Files dropped by senders: into the landing folder once, with their time of arrival, or into quarantine with a reason."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zipfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput
from fundwatch import collecting
from ingest.landing import scan

DAY, T0 = date(2026, 8, 31), datetime(2026, 8, 1, tzinfo=UTC)
NOW = datetime(2026, 8, 31, 17, 30, tzinfo=UTC)
NAME = "P01.orders.csv.gz"


def packed(kind: str = "orders", text: str = "", day: date = DAY) -> bytes:
    return gzip.compress(f"#FUNDWATCH,1,P01,P01,{kind},{day},1\n{text}\n".encode(), mtime=0)


class Drop:
    """An installation with platform P01, payment company PC01 and empty drop folders; the clock stands at 01:30 bank time."""

    def __init__(self, database: Any, home: Path) -> None:
        self.database = database
        self.settings = replace(database.settings, home=home, drop_quiet_s=0)
        self.execute(
            f"insert into registry.platform values ('P01', 'One', 'One', 'CNY', 'CN_2017', '2026-01-01', '{T0}')",
            f"insert into registry.payment_company values ('PC01', 'Pay', '{T0}')",
            f"insert into registry.payment_company_platform values ('PC01', 'P01', '{T0}')",
        )
        self.at(NOW)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.database.url("migrator"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def at(self, moment: datetime) -> None:
        self.execute(f"update ledger.clock set now_at = '{moment}'")

    def put(self, name: str, content: bytes, sender: str = "P01") -> Path:
        path = self.settings.drop_dir / sender / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.part")
        partial.write_bytes(content)
        return partial.rename(path)

    def collect(self) -> dict[str, Any]:
        return collecting.collect(self.settings)

    def landed(self) -> dict[str, bytes]:
        return self._tree(self.settings.landing_dir)

    def dropped(self) -> list[str]:
        return sorted(self._tree(self.settings.drop_dir))

    def reasons(self) -> dict[str, str]:
        """Reason code by name of everything in quarantine."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in self.settings.quarantine_dir.rglob("REASON.json")]
        return {why.get("name") or why["file_name"]: why["reason_code"] for why in found}

    @staticmethod
    def _tree(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()
        }


@pytest.fixture
def drop(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drop:
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(database.settings.home / "secrets"))
    return Drop(database, tmp_path)


def test_complete_files_land_under_their_date_with_the_time_of_arrival(drop: Drop) -> None:
    orders, settlement = packed(), packed("settlement")
    drop.put(NAME, orders)
    drop.put("2026-08-30.P01.settlement.csv.gz", settlement, "PC01")
    drop.put("2026-08-31.manifest.csv", b"platform_id\n")
    unfinished = drop.settings.drop_dir / "P01" / "P01.plans.csv.gz.part"
    unfinished.write_bytes(b"half")
    result = drop.collect()
    assert [entry["outcome"] for entry in result["collected"]] == ["NEW", "NEW", "NEW"]
    assert drop.landed() == {
        "2026-08-31/P01/P01.orders.csv.gz": orders,
        "2026-08-31/P01/manifest.csv": b"platform_id\n",
        "2026-08-30/PC01/P01.settlement.csv.gz": settlement,
    }
    assert drop.dropped() == ["P01/P01.plans.csv.gz.part"]
    assert {file.received_at for file in scan(drop.settings.landing_dir, [DAY], None).files} == {NOW}
    assert drop.collect()["skipped"]


def test_without_a_simulated_clock_a_file_arrived_when_its_name_was_given_whatever_time_it_bears(drop: Drop) -> None:
    drop.settings = replace(drop.settings, clock="system")
    path = drop.put(NAME, packed())
    os.utime(path, (0, 0))
    given = path.stat().st_ctime_ns // 1000
    drop.collect()
    landed = drop.settings.landing_dir / DAY.isoformat() / "P01" / NAME
    assert landed.stat().st_mtime_ns // 1000 == given


def test_a_file_that_has_just_come_is_left_until_it_is_stable(drop: Drop) -> None:
    drop.put(NAME, packed())
    drop.settings = replace(drop.settings, drop_quiet_s=3600)
    result = drop.collect()
    assert (result["collected"], result["waiting"]) == ([], [{"sender_id": "P01", "name": NAME, "why": "it has just come"}])
    assert drop.dropped() == [f"P01/{NAME}"]


def test_a_file_that_grows_while_it_is_copied_is_left_as_it_was(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = drop.put(NAME, packed()), collecting.copy_checked

    def growing(source: Any, target: Any) -> str:
        sha256 = real(source, target)
        with path.open("ab") as file:
            file.write(b"more")
        return sha256

    monkeypatch.setattr(collecting, "copy_checked", growing)
    assert drop.collect()["waiting"] == [{"sender_id": "P01", "name": NAME, "why": "it is still changing"}]
    assert (drop.landed(), drop.dropped()) == ({}, [f"P01/{NAME}"])


def test_a_file_that_its_sender_takes_back_does_not_keep_others_waiting(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    drop.put("P01.claims.csv.gz", packed("claims"))
    gone, real = drop.put("P01.unheard.csv.gz", b"x"), collecting._reason
    drop.put("2026-08-31.P01.status.csv.gz", packed("status"))
    drop.put(NAME, packed(), "PC01")

    def taking_back(*values: Any) -> None:
        gone.unlink()
        real(*values)

    monkeypatch.setattr(collecting, "_reason", taking_back)
    result = drop.collect()
    assert len(result["collected"]) == 3
    assert result["waiting"] == [{"sender_id": "P01", "name": "P01.unheard.csv.gz", "why": "it went away"}]


def test_the_same_file_again_changes_nothing_and_a_corrected_one_replaces_it_and_keeps_the_old(drop: Drop) -> None:
    first, second = packed(text="1"), packed(text="2")
    drop.put(NAME, first)
    drop.collect()
    drop.at(NOW + timedelta(hours=1))
    drop.put(NAME, first)
    assert [entry["outcome"] for entry in drop.collect()["collected"]] == ["SAME"]
    assert scan(drop.settings.landing_dir, [DAY], None).files[0].received_at == NOW
    drop.put(NAME, second)
    assert [entry["outcome"] for entry in drop.collect()["collected"]] == ["REPLACES"]
    assert drop.landed() == {f"{DAY}/P01/{NAME}": second}
    assert scan(drop.settings.landing_dir, [DAY], None).files[0].received_at == NOW + timedelta(hours=1)
    place = drop.settings.quarantine_dir / DAY.isoformat() / "P01" / NAME / hashlib.sha256(first).hexdigest()[:16]
    assert (place / NAME).read_bytes() == first
    assert drop.reasons() == {NAME: "REPLACED"}


def test_hostile_things_go_to_quarantine_with_a_reason_and_nothing_of_them_lands(drop: Drop, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    folder = drop.settings.drop_dir / "P01"
    folder.mkdir(parents=True)
    (folder / "P01.balances.csv.gz").symlink_to(secret)
    (folder / "P01.customers.csv.gz").mkdir()
    (folder / "P01.customers.csv.gz" / "inner").symlink_to(secret)
    os.mkfifo(folder / "P01.loans.csv.gz")
    (folder / os.fsdecode(b"P01.\xff\n.csv.gz")).write_bytes(b"x")
    drop.put("..%2f..%2fP01.orders.csv.gz", packed())
    drop.put("P01.plans.csv.gz", b"no gzip, no date")
    drop.put("1926-08-31.P01.claims.csv.gz", packed("claims"))
    drop.put("2036-08-31.P01.status.csv.gz", packed("status"))
    drop.put("P99.orders.csv.gz", packed())
    drop.put(NAME, packed(), sender="STRANGER")
    drop.put("P01.postings.csv.gz", gzip.compress(bytes(100 * 1024 * 1024)))
    result = drop.collect()
    assert (result["collected"], result["waiting"], drop.landed(), drop.dropped()) == ([], [], {}, [])
    assert drop.reasons() == {
        "P01.balances.csv.gz": "LINK",
        "P01.customers.csv.gz": "FOLDER",
        "P01.loans.csv.gz": "DEVICE",
        "P01.\\udcff\\n.csv.gz": "NAME",
        "..%2f..%2fP01.orders.csv.gz": "NAME",
        "P01.plans.csv.gz": "ENCODING",
        "1926-08-31.P01.claims.csv.gz": "DATE",
        "2036-08-31.P01.status.csv.gz": "DATE",
        "P99.orders.csv.gz": "UNKNOWN_PLATFORM",
        NAME: "UNKNOWN_SENDER",
        "P01.postings.csv.gz": "BOMB",
    }
    assert secret.read_bytes() == b"secret"
    assert not any(path.is_symlink() for path in drop.settings.quarantine_dir.glob("*/*/*/*/*"))


def test_a_zip_is_unpacked_and_one_that_holds_anything_else_is_refused(drop: Drop) -> None:
    for name, members in (("2026-08-31.P01.orders.zip", [NAME]), ("2026-08-31.P01.plans.zip", ["../../evil"])):
        path = drop.settings.drop_dir / "P01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, packed())
    drop.collect()
    assert drop.landed() == {f"{DAY}/P01/{NAME}": packed()}
    assert drop.reasons() == {"2026-08-31.P01.plans.zip": "ZIP"}


def test_a_checksum_beside_a_file_is_checked_and_goes_with_it(drop: Drop) -> None:
    good, bad = packed(), packed("plans")
    drop.put(f"{NAME}.md5", hashlib.md5(good, usedforsecurity=False).hexdigest().encode())
    drop.put("P01.plans.csv.gz.md5", b"0" * 32)
    drop.put("P01.claims.csv.gz.md5", b"0" * 32)
    drop.put("P01.loans.csv.gz.sig", b"signature")
    for name, content in ((NAME, good), ("P01.plans.csv.gz", bad), ("P01.loans.csv.gz", packed("loans"))):
        drop.put(name, content)
    result = drop.collect()
    assert drop.landed() == {f"{DAY}/P01/{NAME}": good}
    assert drop.reasons() == {"P01.plans.csv.gz": "MD5", "P01.loans.csv.gz": "SIGNATURE"}
    assert [entry["name"] for entry in result["waiting"]] == ["P01.claims.csv.gz.md5"]
    assert drop.dropped() == ["P01/P01.claims.csv.gz.md5"]


class Killed(BaseException):
    """Stands for the death of the process at a line: nothing behind it runs."""


@pytest.mark.parametrize("place", ["_arrive", "_land", "_take_away", "_keep_replaced", "_refuse", "_reason"])
@pytest.mark.parametrize("is_after", [False, True])
def test_killed_anywhere_and_run_again_each_file_is_in_one_place_with_its_first_time(
    drop: Drop, place: str, is_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = packed(text="old"), packed(text="new")
    drop.put(NAME, old)
    drop.collect()
    drop.at(NOW + timedelta(hours=1))
    drop.put(NAME, new)
    drop.put("P01.unheard.csv.gz", b"x")
    real = getattr(collecting, place)

    def dying(*values: Any) -> Any:
        if is_after:
            real(*values)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(collecting, place, dying)
        with pytest.raises(Killed):
            drop.collect()
    arrived_before_the_kill = place not in ("_land", "_keep_replaced", "_arrive") or is_after or place == "_keep_replaced"
    drop.at(NOW + timedelta(hours=2))
    drop.collect()
    assert drop.dropped() == []
    assert drop.landed() == {f"{DAY}/P01/{NAME}": new}
    assert drop.reasons() == {NAME: "REPLACED", "P01.unheard.csv.gz": "NAME"}
    received_at = scan(drop.settings.landing_dir, [DAY], None).files[0].received_at
    if arrived_before_the_kill and place != "_refuse":
        assert received_at == NOW + timedelta(hours=1)
    with psycopg.connect(drop.database.url("jobs")) as connection:
        counts = connection.execute("select outcome, count(*) from files.arrival group by outcome order by outcome").fetchall()
    assert counts == [("LANDED", 2), ("QUARANTINED", 1)]


def test_without_a_platform_nothing_is_collected(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(database.settings.home / "secrets"))
    with pytest.raises(BadInput, match="no platform is registered yet"):
        collecting.collect(replace(database.settings, home=tmp_path))
