"""What a stranger may send: every hostile file is refused by its code, in bounded memory, and nothing of it lands."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ingest.statements import camt, delimited, formats, mt, ofx
from ingest.statements.land import ACCEPTED, REFUSED, Target, Verdict, land
from ingest.statements.layout import packaged
from ingest.statements.refusal import Refused
from ingest.statements.source import Content, Limits, Readable

LIMITS = Limits(date(2026, 9, 1))
MT940 = b":20:A\n:25:ACC\n:28C:1\n:60F:C260830EUR1,\n:61:2608310831C1,NTRFX//Y\n:86:%s\n:62F:C260831EUR2,\n-\n"
GOOD = MT940 % b"good"
NAMES = b"account,currency,book_date,value_date,amount,balance,bank_ref,cust_ref,counterparty_name,counterparty_acct,remittance\n"
ROW = b"A,EUR,2026-08-31,,1.00,,,,,,\n"
CAMT = b"""<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>%s</Id>
<Acct><Id><Othr><Id>A</Id></Othr></Id><Ccy>EUR</Ccy></Acct></Stmt></BkToCstmrStmt></Document>"""


def landed(path: Path, out: Path, limits: Limits = LIMITS, encoding: str | None = None) -> list[Verdict]:
    return list(land([path], formats.chosen("auto", None, encoding), Target(out), limits))


def only(data: bytes, tmp_path: Path, name: str = "file.dat", limits: Limits = LIMITS) -> Verdict:
    path = tmp_path / name
    path.write_bytes(data)
    (verdict,) = landed(path, tmp_path / "out", limits)
    tables = list((tmp_path / "out").rglob("*.parquet"))
    assert bool(tables) == (verdict.state == ACCEPTED)
    return verdict


def zipped(tmp_path: Path, members: dict[str, bytes], change: object = None) -> Path:
    path = tmp_path / "files.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return path


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "EMPTY"),
        (b"hello world\n", "UNKNOWN_FORMAT"),
        (b"%PDF-1.7\n\x00\x01\x02", "BINARY"),
        (MT940 % b"a NUL \x00 inside", "BINARY"),
        (MT940 % b"an escape \x1b[2J", "BINARY"),
        (MT940 % "Überweisung".encode("latin-1"), "ENCODING"),
        (MT940 % ("Überweisung ".encode() + "Überweisung".encode("latin-1")), "ENCODING"),
        (MT940 % (b"x" * 70_000), "SIZE"),
        (MT940 % (b"x\n" * 300), "SIZE"),
        (GOOD.decode().encode("utf-16"), "ENCODING"),
        (GOOD[:60], "TRUNCATED"),
        (GOOD.replace(b":25:ACC\n", b""), "SCHEMA"),
        (GOOD.replace(b"EUR", b"EUX"), "CURRENCY"),
        (GOOD.replace(b"C1,NTRF", b"C9999999999999999,NTRF"), "SCHEMA"),
        (CAMT % b"&undefined;", "SCHEMA"),
        (CAMT % (b"x" * 70_000), "SIZE"),
        (CAMT % (b"<a>" * 80 + b"</a>" * 80), "HOSTILE"),
        (CAMT % (b"<a/>" * 5000), "HOSTILE"),
        (CAMT % (b"<a b='" + b"x" * 2_000_000 + b"'/>"), "SIZE"),
        (b"<?xml version='1.0' encoding='EBCDIC-X'?>" + CAMT % b"x", "ENCODING"),
        ((CAMT % b"x").replace(b"camt.053.001", b"camt.060.001"), "SCHEMA"),
        (CAMT % b"<Ntry/>", "SCHEMA"),
        (CAMT % b"<TxDtls/>", "SCHEMA"),
        (b'{"dataList":' + b"[" * 3000 + b"]" * 3000 + b"}", "HOSTILE"),
        (b'{"infType":4,"dataList":[{"transMoney":1' + b"0" * 6000 + b"}]}", "SCHEMA"),
        (b'{"infType":4,"dataList":[{"transId":"' + b"x" * 2_000_000 + b'"}]}', "SIZE"),
        (b'{"infType":4,"infType":6,"dataList":[]}', "SCHEMA"),
        (NAMES, "EMPTY"),
        (NAMES + ROW.replace(b"2026", b"1826"), "DATE"),
        (NAMES + ROW.replace(b"1.00", b"NaN"), "SCHEMA"),
        (NAMES + ROW.replace(b"1.00", b"1e9"), "SCHEMA"),
        (NAMES + ROW.replace(b"1.00", b"\xef\xbc\x91"), "SCHEMA"),
        (NAMES + ROW.replace(b"1.00", b"99999999999999"), "SCHEMA"),
        (NAMES + ROW + b"A,EUR,2026-08-31\n", "SCHEMA"),
        (NAMES + ROW.replace(b"A,", b'"A,', 1), "SCHEMA"),
        (NAMES + ROW.replace(b"A,", b"\xff\xfe,", 1), "ENCODING"),
        (NAMES + ROW.replace(b"A,", b"A" * 70_000 + b",", 1), "SIZE"),
    ],
)
def test_a_hostile_file_is_refused_whole(data: bytes, code: str, tmp_path: Path) -> None:
    verdict = only(data, tmp_path)
    assert (verdict.state, verdict.code) == (REFUSED, code), verdict.reason
    assert verdict.reason and "\n" not in verdict.reason


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert only(b"\xef\xbb\xbf" + GOOD, tmp_path).state == ACCEPTED


def test_another_encoding_lands_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.sta"
    path.write_bytes(MT940 % "Überweisung".encode("latin-1"))
    (verdict,) = landed(path, tmp_path / "out", encoding="latin-1")
    assert verdict.state == ACCEPTED


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_hash_beside_the_file_must_be_its_own(kind: str, tmp_path: Path) -> None:
    beside = tmp_path / f"file.dat.{kind}"
    beside.write_text(f"{hashlib.new(kind, GOOD).hexdigest().upper()}  file.dat\n", encoding="ascii")
    assert only(GOOD, tmp_path).state == ACCEPTED
    for text in (hashlib.new(kind, b"other").hexdigest(), "", "\xff"):
        beside.write_bytes(text.encode("latin-1"))
        (verdict,) = landed(tmp_path / "file.dat", tmp_path / "out2")
        assert verdict.code == "HASH"


def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(300):
            file.write(b"0" * 1_000_000)
    (verdict,) = landed(path, tmp_path / "out")
    assert (verdict.state, verdict.code) == (REFUSED, "SIZE")


def test_a_gzip_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    assert only(gzip.compress(GOOD)[:-12], tmp_path).code == "TRUNCATED"


def test_a_good_gzip_and_a_good_zip_land(tmp_path: Path) -> None:
    assert only(gzip.compress(GOOD), tmp_path).state == ACCEPTED
    path = zipped(tmp_path, {"a.sta": GOOD.replace(b"ACC", b"B"), "sub/b.sta": GOOD.replace(b"ACC", b"C"), "bad.sta": GOOD[:60]})
    assert [verdict.code for verdict in landed(path, tmp_path / "out")] == [None, None, "TRUNCATED"]


@pytest.mark.parametrize("name", ["../evil.sta", "/etc/evil.sta", "a/../../evil.sta", "C:evil.sta", "..\\evil.sta", "a\\b.sta"])
def test_a_member_that_leads_out_refuses_the_archive(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path, {"good.sta": GOOD, name: GOOD})
    (verdict,) = landed(path, tmp_path / "out")
    assert (verdict.code, list(tmp_path.rglob("*.parquet"))) == ("ARCHIVE", [])


def test_links_twins_and_archives_in_archives_are_refused(tmp_path: Path) -> None:
    assert [v.code for v in landed(zipped(tmp_path, {"a.sta": b"/etc/hostname"}, change=True), tmp_path / "o1")] == ["ARCHIVE"]
    assert [v.code for v in landed(zipped(tmp_path, {"a.sta": GOOD, "A.STA": GOOD}), tmp_path / "o2")] == ["ARCHIVE"]
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.sta", GOOD)
    assert [v.code for v in landed(zipped(tmp_path, {"in.zip": inner.getvalue()}), tmp_path / "o3")] == ["ARCHIVE"]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"bomb.csv": b"0" * 200_000_000})
    (verdict,) = landed(path, tmp_path / "out")
    assert verdict.code == "SIZE" and "unpack" in str(verdict.reason)


def test_a_zip_with_too_many_members_is_refused_by_its_directory(tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{index}.sta": b"x" for index in range(30)})
    (verdict,) = landed(path, tmp_path / "out", replace(LIMITS, members_max=20))
    assert verdict.code == "ARCHIVE"


def test_a_folder_and_a_missing_file_are_refused_not_crashed_on(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert [v.code for v in landed(tmp_path / "folder", tmp_path / "out")] == ["SCHEMA"]
    assert [v.code for v in landed(tmp_path / "absent", tmp_path / "out")] == ["SCHEMA"]


class Endless:
    """A stream made as it is read: a head, one piece again and again up to a size, a tail."""

    def __init__(self, head: bytes, piece: bytes, size: int, tail: bytes = b"") -> None:
        self.parts = self._made(head, piece, size, tail)
        self.held = b""

    @staticmethod
    def _made(head: bytes, piece: bytes, size: int, tail: bytes) -> Iterator[bytes]:
        yield head
        block = piece * max(1, 65536 // len(piece))
        for _ in range(size // len(block)):
            yield block
        yield tail

    def read(self, size: int = -1, /) -> bytes:
        while len(self.held) < size and (part := next(self.parts, None)) is not None:
            self.held += part
        data, self.held = self.held[:size], self.held[size:]
        return data


def streamed(head: bytes, piece: bytes, size: int, tail: bytes = b"") -> Content:
    def opened() -> AbstractContextManager[Readable]:
        return nullcontext(Endless(head, piece, size, tail))

    return Content("endless", "0" * 64, size, opened, LIMITS)


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (camt.read, streamed(b"<a>", b"<b/>", 50_000_000)),
        (camt.read, streamed(b"<Document>", b" ", 50_000_000)),
        (camt.read, streamed(b"<Document><!--", b"x", 50_000_000)),
        (ofx.read, streamed(b"OFXHEADER:100\n<OFX><MEMO>", b"x", 50_000_000)),
        (mt.read, streamed(b":20:A\n:25:", b"x", 50_000_000)),
        (lambda content: delimited.read(content, packaged()[-1]), streamed(NAMES, b"x", 50_000_000)),
    ],
)
def test_an_endless_value_is_refused_long_before_its_end(reader, content: Content) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Refused):
        for _ in reader(content):
            pass


MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
import resource
from tests.unit.test_statement_hostile import NAMES, ROW, streamed
from ingest.statements import camt, delimited, mt
from ingest.statements.checks import Before, controlled
from ingest.statements.layout import packaged
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def run(reader, content):
    for _ in controlled(content, reader(content), Before()):
        pass
plain = next(layout for layout in packaged() if layout.layout == "plain_csv")
csv = lambda content: delimited.read(content, plain)
line = b":61:2608310831C1,NTRFX//Y\\n:86:text of the entry that is kept\\n"
message = b":20:A\\n:25:ACC\\n:28C:1\\n:60F:C260830EUR1,\\n"
head = b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"><BkToCstmrDbtCdtNtfctn><Ntfctn><Id>1</Id>'
head += b'<Acct><Id><Othr><Id>A</Id></Othr></Id><Ccy>EUR</Ccy></Acct>'
head += b'<Ntry><Amt Ccy="EUR">1</Amt><CdtDbtInd>CRDT</CdtDbtInd><NtryDtls>'
part = b'<TxDtls><Refs><EndToEndId>E</EndToEndId></Refs><RmtInf><Ustrd>some text</Ustrd></RmtInf></TxDtls>'
tail = b"</NtryDtls></Ntry></Ntfctn></BkToCstmrDbtCdtNtfctn></Document>"
for size in (4, int(sys.argv[2])):
    run(csv, streamed(NAMES, ROW, size * 3_000_000))
    try:
        run(mt.read, streamed(message, line, size * 1_000_000, b":62F:C260831EUR2,\\n"))
    except Exception as error:
        assert "BALANCE" in type(error).__name__ or "lead to" in str(error), error
    run(camt.read, streamed(head, part, size * 1_000_000, tail))
    print(peak())
"""


def test_memory_does_not_grow_with_the_file() -> None:
    root = str(Path(__file__).parent.parent.parent)
    done = subprocess.run([sys.executable, "-c", MEMORY, root, "16"], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    small, large = (int(line) for line in done.stdout.split())
    assert large < small + 60_000, (small, large)
