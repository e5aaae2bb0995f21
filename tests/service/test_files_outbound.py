"""Files that go out: what they tell, their control, numbers without a gap, kills, acknowledgements, sending again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput, Failed
from fundwatch import outbound
from tests.service.sending import DAY, SHA, Bank, file_control

KINDS = ("breaks", "confirmation", "notice", "results")


@pytest.fixture
def bank(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    monkeypatch.setenv("FUNDWATCH_SECRETS", str(database.settings.home / "secrets"))
    return Bank(database, tmp_path)


def test_a_platform_is_told_of_each_record_it_sent_that_was_compared(bank: Bank) -> None:
    bank.send()
    told = [
        (row["file_kind"], row["recon_id"], row["match_key"], row["result"])
        for row in bank.told("P01", "P01.results.000001.csv.gz")
    ]
    assert told == [
        ("balances", "R6", "A1", "MATCHED"),
        ("balances", "R6", "A2", "B26"),
        ("orders", "R1", "R1", "MATCHED"),
        ("postings", "R3", "R1#1", "MATCHED"),
        ("postings", "R3", "R2#1", "B04"),
    ]


def test_breaks_have_their_effect_age_and_action_and_a_payment_company_sees_its_own_only(bank: Bank) -> None:
    bank.send()
    rows = {row["item_id"]: row for row in bank.told("P01", "P01.breaks.000001.csv.gz")}
    assert sorted(rows) == ["i1", "i2", "i3"]
    assert (rows["i1"]["effect_minor"], rows["i1"]["effects"]) == ("5", "B A2 7;V A2 12")
    assert (rows["i1"]["age_working_days"], rows["i1"]["action"], rows["i1"]["opened_on"]) == ("0", "look", DAY.isoformat())
    assert bank.told("PC01", "P01.breaks.000001.csv.gz") == []
    assert [row["item_id"] for row in bank.told("PC02", "P01.breaks.000001.csv.gz")] == ["i2"]
    assert [row["result"] for row in bank.told("PC01", "P01.results.000001.csv.gz")] == ["MATCHED"]
    assert [row["result"] for row in bank.told("PC02", "P01.results.000001.csv.gz")] == ["B12"]


def test_an_item_opened_earlier_goes_to_the_company_whose_account_had_it_then(bank: Bank) -> None:
    before = DAY.replace(day=30)
    bank.execute(f"insert into run.published values ('{before}', 'P01', 1, 1, 'COMPLETE', null, now())")
    moved = {"business_date": before, "request_no": "C9", "debit_account_no": "P01-X-CHANNEL-PC01", "credit_account_no": "A1"}
    bank.rows.put("ledger_movement", 1, moved)
    item = {"item_id": "i9", "recon_id": "R4", "code": "B11", "match_key": "C9", "currency": "CNY", "amount_minor": 1}
    bank.rows.put("open_item", 1, {**item, "opened_on": before, "age_working_days": 1})
    bank.send()
    assert [row["item_id"] for row in bank.told("PC01", "P01.breaks.000001.csv.gz")] == ["i9"]
    assert [row["item_id"] for row in bank.told("PC02", "P01.breaks.000001.csv.gz")] == ["i2"]


def test_each_file_received_is_confirmed_by_hash_and_figures_and_what_lacks_is_noticed(bank: Bank) -> None:
    bank.send()
    orders, plans = bank.told("P01", "P01.confirmation.000001.csv.gz")
    assert orders == {
        "file_kind": "orders",
        "file_name": "P01.orders.csv.gz",
        "sha256": SHA,
        "row_count": "3",
        "control_sum": "100",
        "sequence_no": "7",
        "verdict": "ACCEPTED",
        "reason_code": "",
        "reason": "",
        "received_at": "2026-08-01T00:00:00.000000Z",
    }
    assert (plans["verdict"], plans["reason_code"], plans["reason"]) == ("REFUSED", "HASH", 'the manifest says "x", the file y')
    assert [(row["file_kind"], row["state"]) for row in bank.told("P01", "P01.notice.000001.csv.gz")] == [
        ("loans", "MISSING"),
        ("plans", "REFUSED"),
    ]


def test_outbound_files_are_under_the_control_of_incoming_ones(bank: Bank) -> None:
    result = bank.send()
    assert result["written"] == 3 * len(KINDS)
    manifest = {row["file_kind"]: row for row in bank.manifest("P01")}
    assert tuple(sorted(manifest)) == KINDS
    for kind, row in manifest.items():
        content = (bank.folder("P01") / row["file_name"]).read_bytes()
        header, _, *rows, trailer = bank.lines("P01", row["file_name"])
        assert header == ["#FUNDWATCH", "1", "BANK", "P01", kind, DAY.isoformat(), row["sequence_no"], ""]
        assert (row["sha256"], row["row_count"], row["sequence_no"]) == (hashlib.sha256(content).hexdigest(), str(len(rows)), "1")
        assert trailer == ["#TRAILER", row["row_count"], row["control_sum"]]
    assert manifest["results"]["control_sum"] == str(1000 + 2000 + 100 + 100 + 200)


def test_sending_again_changes_nothing_and_takes_no_number(bank: Bank) -> None:
    bank.send()
    before = bank.bytes_by_path()
    again = bank.send()
    assert (again["skipped"], again["written"], {entry["state"] for entry in again["sent"]}) == (True, 0, {"SENT_ALREADY"})
    assert bank.bytes_by_path() == before


def test_a_new_version_sends_only_what_differs_and_names_the_file_it_replaces(bank: Bank) -> None:
    bank.send()
    bank.rows.given |= {(name, 2): rows for (name, run_id), rows in bank.rows.given.items() if run_id == 1}
    bank.rows.given["file_control", 2] = [file_control("orders"), file_control("loans"), file_control("channel", sender="PC01")]
    bank.publish(2)
    assert bank.send()["written"] == 2
    manifest = {(row["file_kind"], row["sequence_no"]): row["replaces_sequence_no"] for row in bank.manifest("P01")}
    assert manifest == {**{(kind, "1"): "" for kind in KINDS}, ("confirmation", "2"): "1", ("notice", "2"): "1"}
    assert bank.lines("P01", "P01.notice.000002.csv.gz")[0][-2:] == ["2", "1"]
    assert bank.told("P01", "P01.notice.000002.csv.gz") == []
    states = {row["file_name"]: row["replaced_by_sequence_no"] for row in outbound.listed(bank.settings, receiver_id="P01")}
    assert (states["P01.notice.000001.csv.gz"], states["P01.results.000001.csv.gz"]) == (2, None)


def test_an_incomplete_date_confirms_and_notices_but_gives_no_results(bank: Bank) -> None:
    bank.execute("delete from run.published")
    bank.execute(f"insert into run.published values ('{DAY}', 'P01', 1, 1, 'INCOMPLETE', 'loans', now())")
    assert {entry["kind"] for entry in bank.send()["sent"]} == {"confirmation", "notice"}


def test_a_date_that_is_not_published_is_refused(bank: Bank) -> None:
    with pytest.raises(BadInput, match="is not published: there is nothing to send"):
        outbound.send(bank.settings, DAY.replace(day=1), source=bank.rows)
    assert bank.bytes_by_path() == {}


def test_a_run_never_tells_another_story_than_it_told(bank: Bank) -> None:
    bank.send()
    before = bank.bytes_by_path()
    bank.rows.put("file_control", 1, file_control("claims", "MISSING", reason_code="MISSING", reason="x"))
    with pytest.raises(Failed, match="run 1 tells other notice to P01"):
        bank.send()
    assert bank.bytes_by_path() == before


def test_the_table_itself_refuses_a_second_confirmation_of_the_same_content(bank: Bank) -> None:
    bank.send()
    with psycopg.connect(bank.database.url("jobs")) as connection:
        row = connection.execute(
            "select body_sha256 from files.outbound where kind = 'confirmation' and receiver_id = 'P01'"
        ).fetchone()
        assert row is not None
        values = ["P01", "P01", "confirmation", DAY, 1, 2, "x", SHA, row[0], 0, 0, "jobs"]
        with pytest.raises(psycopg.Error, match="SENT_ALREADY"):
            connection.execute("select files.put_down(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", values)


class Killed(BaseException):
    """Stands for the death of the process at a line: nothing behind it runs."""


@pytest.mark.parametrize("place", ["before_name", "before_record", "after_record", "before_manifest"])
@pytest.mark.parametrize("nth", [1, 4])
def test_killed_anywhere_and_run_again_it_gives_the_same_bytes_and_no_second_number(
    bank: Bank, place: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_numbers = {(receiver, kind): ["1"] for receiver in ("P01", "PC01", "PC02") for kind in KINDS}
    calls = 0

    def dying(real: Any, after: bool = False) -> Any:
        def call(*values: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth and not after:
                raise Killed
            answer = real(*values, **more)
            if calls == nth:
                raise Killed
            return answer

        return call

    with monkeypatch.context() as patch:
        if place == "before_name":
            patch.setattr(Path, "replace", dying(Path.replace))
        elif place == "before_record":
            patch.setattr(outbound, "write_file", dying(outbound.write_file, after=True))
        elif place == "after_record":
            patch.setattr(outbound, "_send_one", dying(outbound._send_one, after=True))
        else:
            patch.setattr(outbound, "write_manifest", dying(outbound.write_manifest))
        try:
            bank.send()
        except Killed:
            pass
        else:
            assert (place, nth) == ("before_manifest", 4)
    bank.send()
    found = {
        (receiver, row["file_kind"]): [row["sequence_no"]]
        for receiver in ("P01", "PC01", "PC02")
        for row in bank.manifest(receiver)
    }
    assert found == expected_numbers
    files = bank.bytes_by_path()
    assert len(files) == 3 * (len(KINDS) + 1)
    for receiver in ("P01", "PC01", "PC02"):
        for row in bank.manifest(receiver):
            assert hashlib.sha256((bank.folder(receiver) / row["file_name"]).read_bytes()).hexdigest() == row["sha256"]
    bank.send()
    assert bank.bytes_by_path() == files


def test_a_file_that_was_lost_or_altered_is_put_back_byte_by_byte(bank: Bank) -> None:
    bank.send()
    before = bank.bytes_by_path()
    (bank.folder("P01") / "P01.results.000001.csv.gz").unlink()
    (bank.folder("P01") / "P01.breaks.000001.csv.gz").write_bytes(b"x")
    assert not all(row["is_there"] for row in outbound.listed(bank.settings))
    bank.send()
    assert bank.bytes_by_path() == before


def test_what_a_killed_process_left_half_written_is_taken_away_and_nothing_else(bank: Bank) -> None:
    folder = bank.folder("P01")
    folder.mkdir(parents=True)
    for name in (".P01.results.000001.csv.gz.part", "P02.results.000001.csv.gz", ".manifest.csv.part", "note.txt"):
        (folder / name).write_bytes(b"x")
    bank.send()
    named = {row["file_name"] for row in bank.manifest("P01")}
    assert {path.name for path in folder.iterdir()} == named | {"manifest.csv", "note.txt"}


def test_a_receiver_acknowledges_rejects_and_takes_it_again(bank: Bank, tmp_path: Path) -> None:
    bank.send()
    shas = {row["file_name"]: row["sha256"] for row in bank.manifest("P01")}
    good, bad = "P01.results.000001.csv.gz", "P01.breaks.000001.csv.gz"
    answers = (good, shas[good], "ACKNOWLEDGED", ""), (bad, shas[bad], "REJECTED", "cannot be unpacked")
    path = bank.acknowledgement(tmp_path / "ack.csv", "P01", *answers)
    assert outbound.acknowledge(bank.settings, path)["changed"] == 2
    assert outbound.acknowledge(bank.settings, path) == {"receiver_id": "P01", "answers": 2, "changed": 0, "skipped": True}
    states = {row["file_name"]: (row["state"], row["reason"]) for row in outbound.listed(bank.settings, receiver_id="P01")}
    assert (states[good], states[bad]) == (("ACKNOWLEDGED", None), ("REJECTED", "cannot be unpacked"))

    (bank.folder("P01") / bad).write_bytes(b"damaged")
    assert outbound.resend(bank.settings, bad, "P01", bank.rows)["sequence_no"] == 1
    assert hashlib.sha256((bank.folder("P01") / bad).read_bytes()).hexdigest() == shas[bad]
    assert outbound.listed(bank.settings, receiver_id="P01", state="RESENT")[0]["file_name"] == bad
    outbound.acknowledge(bank.settings, bank.acknowledgement(tmp_path / "ack2.csv", "P01", (bad, shas[bad], "ACKNOWLEDGED", "")))
    with pytest.raises(BadInput, match=r"acknowledged P01.breaks.000001.csv.gz on .* there is nothing to send again"):
        outbound.resend(bank.settings, bad, "P01", bank.rows)


def test_a_wrong_acknowledgement_is_refused_whole_with_a_sentence(bank: Bank, tmp_path: Path) -> None:
    bank.send()
    shas = {row["file_name"]: row["sha256"] for row in bank.manifest("P01")}
    good, other = "P01.results.000001.csv.gz", "P01.breaks.000001.csv.gz"
    right = (good, shas[good], "ACKNOWLEDGED", "")
    path = tmp_path / "ack.csv"
    for receiver, second, sentence in (
        ("P01", (other, SHA, "ACKNOWLEDGED", ""), "line 4: P01.breaks.000001.csv.gz was sent with sha256"),
        (
            "P01",
            ("P01.breaks.000009.csv.gz", SHA, "ACKNOWLEDGED", ""),
            "line 4: no file P01.breaks.000009.csv.gz was sent to P01",
        ),
        ("P01", (good, shas[good], "REJECTED", "no"), "line 4: P01.results.000001.csv.gz is ACKNOWLEDGED since"),
        ("PC03", right, "line 3: no file P01.results.000001.csv.gz was sent to PC03"),
    ):
        with pytest.raises(BadInput, match=sentence):
            outbound.acknowledge(bank.settings, bank.acknowledgement(path, receiver, right, second))
        assert {row["state"] for row in outbound.listed(bank.settings)} == {"WRITTEN"}


def test_what_was_sent_is_never_changed_and_stands_in_the_audit_and_the_outbox(bank: Bank) -> None:
    bank.send()
    with psycopg.connect(bank.database.url("migrator"), autocommit=True) as connection:
        for table in ("files.outbound", "files.outbound_event"):
            with pytest.raises(psycopg.Error, match="never changed or deleted"):
                connection.execute(f"delete from {table}")
        counts = connection.execute(
            "select (select count(*) from audit.change where action = 'FILE_WRITTEN'), "
            "(select count(*) from outbox.event where topic = 'file.written')"
        ).fetchone()
    assert counts == (3 * len(KINDS), 3 * len(KINDS))
