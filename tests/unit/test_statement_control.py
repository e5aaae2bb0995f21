"""Control over files: what follows must fit, nothing comes twice, a file lands whole or not at all, ready for other rooms."""

from __future__ import annotations

import fcntl
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from domain.errors import BadInput
from ingest.statements import formats, land, staged
from ingest.statements.checks import Before, controlled
from ingest.statements.land import ACCEPTED, REFUSED, Target, Verdict
from ingest.statements.model import Ended, Entries, Entry, Event, Statement, entry_batch
from ingest.statements.refusal import Refused
from ingest.statements.source import Limits, contents

LIMITS = Limits(date(2026, 9, 1))
AUTO = formats.chosen("auto", None, None)


def statement(number: int, opening: int, moves: tuple[int, ...] = (), day: str = "260831", account: str = "ACC") -> str:
    """An MT940 statement in yen."""
    closing = opening + sum(moves)
    lines = [f":61:{day}{'C' if move > 0 else 'D'}{abs(move)},NTRFX//B{at}" for at, move in enumerate(moves)]
    first, last = (f"{'D' if value < 0 else 'C'}{day}JPY{abs(value)}," for value in (opening, closing))
    return "\n".join([f":20:S{number}", f":25:{account}", f":28C:{number}", f":60F:{first}", *lines, f":62F:{last}", "-", ""])


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def landed(paths: list[Path], out: Path, before: Before | None = None) -> list[Verdict]:
    return list(land.land(paths, AUTO, Target(out), LIMITS, before))


def codes(verdicts: list[Verdict]) -> list[str | None]:
    return [verdict.code for verdict in verdicts]


def test_statements_that_follow_each_other_land_one_after_the_other(tmp_path: Path) -> None:
    first = put(tmp_path, "1.sta", statement(1, 0, (100,)))
    second = put(tmp_path, "2.sta", statement(2, 100, (-30,), "260901"))
    assert codes(landed([first], tmp_path / "out")) == [None]
    assert codes(landed([second], tmp_path / "out")) == [None]
    table = land.entries(tmp_path / "out").read()
    assert sorted(table.column("amount_minor").to_pylist()) == [30, 100]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (statement(3, 100), "SEQUENCE"),
        (statement(1, 100, (1,)).replace(":20:S1", ":20:S9"), "SEQUENCE"),
        (statement(2, 99), "BALANCE"),
        (statement(2, 100, (), "260830"), "SEQUENCE"),
        (statement(1, 0, (100,)), "DUPLICATE"),
        (statement(1, 0, (100,)) + "\n", "DUPLICATE"),
    ],
    ids=["a gap", "a repeat", "another opening", "an earlier day", "the same bytes", "the same statement in other bytes"],
)
def test_what_does_not_follow_the_last_statement_is_refused(text: str, code: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    landed([put(tmp_path, "1.sta", statement(1, 0, (100,)))], out)
    kept = sorted(path.name for path in out.glob("*/*.parquet"))
    assert codes(landed([put(tmp_path, "2.sta", text)], out)) == [code]
    assert sorted(path.name for path in out.glob("*/*.parquet")) == kept


def test_a_number_may_begin_again_with_a_new_year(tmp_path: Path) -> None:
    paths = [put(tmp_path, "1.sta", statement(365, 0, (), "251231")), put(tmp_path, "2.sta", statement(1, 0, (), "260101"))]
    assert codes(landed(paths, tmp_path / "out")) == [None, None]


def test_one_bad_statement_refuses_the_good_ones_of_its_file(tmp_path: Path) -> None:
    bad = statement(8, 0, (5,), account="OTHER").replace(":62F:C260831JPY5,", ":62F:C260831JPY6,")
    (verdict,) = landed([put(tmp_path, "two.sta", statement(7, 0, (5,)) + bad)], tmp_path / "out")
    assert (verdict.state, verdict.code, list(tmp_path.rglob("*.parquet"))) == (REFUSED, "BALANCE", [])
    # the good statement did not count as one that came: the corrected file lands
    good = statement(7, 0, (5,)) + statement(8, 0, (5,), account="OTHER")
    assert codes(landed([put(tmp_path, "again.sta", good)], tmp_path / "out")) == [None]


def test_a_refusal_is_kept_as_one_sentence_with_its_place(tmp_path: Path) -> None:
    landed([put(tmp_path, "bad.sta", statement(1, 0, (5,)).replace("C5,N", "C5,x"))], tmp_path / "out")
    (note,) = (tmp_path / "out" / "refused").glob("*.json")
    said = json.loads(note.read_text(encoding="utf-8"))
    assert (said["code"], said["line_no"], said["state"]) == ("SCHEMA", 5, REFUSED)
    assert said["reason"].startswith("bad.sta, line 5, column 5: ")


def test_two_equal_payments_are_two_bookings_when_the_balance_proves_them(tmp_path: Path) -> None:
    text = statement(1, 0, (50, 50)).replace("//B1", "//B0")
    (verdict,) = landed([put(tmp_path, "salaries.sta", text)], tmp_path / "out")
    assert (verdict.state, verdict.entry_cnt) == (ACCEPTED, 2)


def test_an_entry_twice_is_refused_where_no_balance_proves_it(tmp_path: Path) -> None:
    head = ":20:I\n:25:ACC\n:28C:1\n:34F:JPY0,\n:13D:2608311200+0800\n"
    (verdict,) = landed([put(tmp_path, "i.sta", head + ":61:260831C50,NTRFX//B0\n" * 2 + "-\n")], tmp_path / "out")
    assert (verdict.code, verdict.line_no) == ("DUPLICATE", 7)


def test_landing_again_and_a_killed_landing_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    path = put(tmp_path, "1.sta", statement(1, 0, (100,)))
    with monkeypatch.context() as patch:
        patch.setattr(staged.Staged, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            landed([path], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert codes(landed([path], tmp_path / "out")) == [None]


def test_a_damaged_history_is_said_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "out" / "x").mkdir(parents=True)
    (tmp_path / "out" / "x" / "verdict.json").write_text('{"sha256": "0"}', encoding="utf-8")
    with pytest.raises(BadInput, match=r"verdict\.json"):
        landed([put(tmp_path, "1.sta", statement(1, 0))], tmp_path / "out")


def ofx(closing: str, day: str, fitid: str) -> str:
    return (
        "OFXHEADER:100\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS><CURDEF>USD<BANKACCTFROM><ACCTID>1</BANKACCTFROM><BANKTRANLIST>"
        f"<DTSTART>202608{day}<DTEND>202608{day}<STMTTRN><TRNTYPE>CREDIT<DTPOSTED>202608{day}<TRNAMT>1.00<FITID>{fitid}</STMTTRN>"
        f"</BANKTRANLIST><LEDGERBAL><BALAMT>{closing}<DTASOF>202608{day}</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>"
    )


def test_without_an_opening_balance_the_last_closing_proves_the_next(tmp_path: Path) -> None:
    paths = [put(tmp_path, "1.ofx", ofx("10.00", "30", "A")), put(tmp_path, "2.ofx", ofx("11.00", "31", "B"))]
    first, second = landed(paths, tmp_path / "out")
    assert [first.statements[0]["proof"], second.statements[0]["proof"]] == ["NONE", "BALANCE"]
    assert second.statements[0]["opening_minor"] == 1000


def test_a_booking_of_an_earlier_download_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert codes(landed([put(tmp_path, "1.ofx", ofx("10.00", "30", "A"))], out)) == [None]
    (again,) = landed([put(tmp_path, "2.ofx", ofx("10.00", "31", "A"))], out)
    assert (again.code, again.line_no) == ("DUPLICATE", 3)


def test_landings_into_one_folder_wait_for_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = land.land([put(tmp_path, "1.sta", statement(1, 0))], AUTO, Target(out), LIMITS)
    next(first)
    with (out / ".lock").open("w") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert list(first) == []
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_sums_do_not_wrap_at_sixty_four_bits(tmp_path: Path) -> None:
    (content,) = contents(put(tmp_path, "x", "x"), LIMITS)
    assert not isinstance(content, Refused)
    large, rows = 10**15, 10_000
    batch = entry_batch([Entry("s", 1, 1, "C", large, "JPY")])
    table = pa.Table.from_batches([batch] * rows).combine_chunks().to_batches()[0]

    def events(closing: int) -> list[Event]:
        return [Entries(table), Ended(Statement("s", None, "A", "JPY", "X", opening_minor=0, closing_minor=closing), 1)]

    assert list(controlled(content, events(large * rows), Before()))
    with pytest.raises(Refused, match="lead to"):
        list(controlled(content, events(large * rows - 2**64), Before()))


def test_tables_are_written_as_json_lines_too(tmp_path: Path) -> None:
    path = put(tmp_path, "1.sta", statement(1, 0, (100,)))
    (verdict,) = land.land([path], AUTO, Target(tmp_path / "out", is_json=True, is_parquet=False), LIMITS)
    folder = tmp_path / "out" / str(verdict.folder)
    assert sorted(item.name for item in folder.iterdir()) == ["entries.jsonl", "statements.jsonl", "verdict.json"]
    row = json.loads((folder / "entries.jsonl").read_text(encoding="utf-8"))
    assert (row["amount_minor"], row["book_date"], row["dr_cr"]) == (100, "2026-08-31", "C")


def test_entries_of_many_files_are_one_arrow_data_set(tmp_path: Path) -> None:
    paths = [put(tmp_path, f"{n}.sta", statement(n, n - 1, (1,))) for n in range(1, 6)]
    landed(paths, tmp_path / "out")
    table = land.entries(tmp_path / "out").read(columns=["amount_minor"])
    assert pc.sum(table.column("amount_minor")).as_py() == 5
