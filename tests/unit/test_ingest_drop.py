"""Dropped files: names, what lies there, safe unpacking, side files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import socket
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import side_file, unpack
from ingest.atomic_file import whole
from ingest.drop import date_in, look, parse_name
from ingest.kinds import KINDS
from ingest.stream import FileFault

HEADER = b"#FUNDWATCH,1,P01,P01,orders,2026-08-31,1\n"
NAME = "P01.orders.csv.gz"


def faults(folder: Path) -> dict[str, str | None]:
    return {item.name: item.fault[0] if item.fault else None for item in look(folder, "P01")}


def test_only_plain_files_of_a_known_name_are_taken(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    folder = tmp_path / "drop"
    folder.mkdir()
    for name in (NAME, "2026-08-31.P01.plans.csv.gz", "2026-08-31.manifest.csv", "P01.claims.zip", f"{NAME}.md5"):
        (folder / name).write_bytes(b"")
    for name in ("manifest.csv", "P01.unheard.csv.gz", "P01.orders.exe", "-rf", "..%2fP01.orders.csv.gz", "P01.orders.csv.gz\n"):
        (folder / name).write_bytes(b"")
    for name in (".hidden", "P01.loans.csv.gz.part", "P01.loans.csv.gz.filepart"):
        (folder / name).write_bytes(b"")
    (folder / "2026-02-30.P01.status.csv.gz").write_bytes(b"")
    (folder / "P01.balances.csv.gz").symlink_to(outside)
    (folder / "P01.postings.csv.gz").hardlink_to(outside)
    (folder / "P01.customers.csv.gz").mkdir()
    os.mkfifo(folder / "P01.loans.csv.gz")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "P01.status.csv.gz"))
        found = faults(folder)
    assert found == {
        **dict.fromkeys((NAME, "2026-08-31.P01.plans.csv.gz", "2026-08-31.manifest.csv", "P01.claims.zip", f"{NAME}.md5")),
        **dict.fromkeys(("manifest.csv", "P01.unheard.csv.gz", "P01.orders.exe", "-rf", "..%2fP01.orders.csv.gz"), "NAME"),
        "P01.orders.csv.gz\n": "NAME",
        "2026-02-30.P01.status.csv.gz": "DATE",
        **dict.fromkeys(("P01.balances.csv.gz", "P01.postings.csv.gz"), "LINK"),
        "P01.customers.csv.gz": "FOLDER",
        **dict.fromkeys(("P01.loans.csv.gz", "P01.status.csv.gz"), "DEVICE"),
    }


def test_a_drop_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / NAME).write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert faults(tmp_path / "link") == {}


@settings(deadline=None)
@given(st.text(max_size=40))
def test_whatever_a_name_is_the_place_it_gives_stays_inside(name: str) -> None:
    try:
        named = parse_name(name)
    except FileFault as fault:
        assert fault.code in ("NAME", "DATE")
    else:
        assert "/" not in named.file_name and not named.file_name.startswith(".")


@settings(deadline=None)
@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.sampled_from(sorted(KINDS)), st.dates(), st.booleans())
def test_a_name_says_platform_kind_and_date(platform: str, kind: str, day: object, is_zip: bool) -> None:
    named = parse_name(f"{day}.{platform}.{kind}.{'zip' if is_zip else 'csv.gz'}")
    assert (named.business_date, named.platform_id, named.kind, named.is_zip) == (day, platform, kind, is_zip)
    assert named.file_name == f"{platform}.{kind}.csv.gz"


def test_the_date_of_a_file_is_the_one_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(gzip.compress(HEADER + b"x"))
    assert date_in(path).isoformat() == "2026-08-31"
    for content, code in ((b"hello\n", "HEADER"), (HEADER.replace(b"08-31", b"02-30"), "DATE"), (b"#FUNDWATCH,1\n", "HEADER")):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(FileFault) as raised:
            date_in(path)
        assert raised.value.code == code


@settings(deadline=None)
@given(st.binary(max_size=2000), st.booleans(), st.integers(0, 50))
def test_what_is_copied_is_what_came_whether_it_is_gzip_or_damaged(content: bytes, is_packed: bool, cut: int) -> None:
    data = gzip.compress(content)[: -cut or None] if is_packed else content
    target = BytesIO()
    assert unpack.copy_checked(BytesIO(data), target) == hashlib.sha256(data).hexdigest()
    assert target.getvalue() == data


def bomb(megabytes: int, streams: int = 1) -> bytes:
    packer, out = zlib.compressobj(9, wbits=31), bytearray()
    for _ in range(megabytes):
        out += packer.compress(bytes(1024 * 1024))
    return bytes(out + packer.flush()) * streams


@pytest.mark.parametrize("data", [bomb(100), bomb(8, 12)])
def test_a_gzip_bomb_is_refused_before_it_is_unpacked(data: bytes) -> None:
    with pytest.raises(FileFault) as raised:
        unpack.copy_checked(BytesIO(data), BytesIO())
    assert raised.value.code == "BOMB"


def test_an_honest_file_may_be_large_and_pack_well() -> None:
    data = gzip.compress(b"".join(b"REQ-%d,TENDER,%d,CNY\n" % (n, n % 977) for n in range(4_000_000)), 1)
    assert unpack.copy_checked(BytesIO(data), BytesIO()) == hashlib.sha256(data).hexdigest()


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_a_zip_gives_the_one_file_it_holds_byte_by_byte(tmp_path: Path) -> None:
    content, target = gzip.compress(HEADER), BytesIO()
    path = zipped(tmp_path / "a.zip", (NAME, content))
    assert unpack.copy_only_member(path, NAME, target) == hashlib.sha256(content).hexdigest()
    assert target.getvalue() == content


def test_hostile_zips_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo(NAME)
    link.external_attr = 0o120777 << 16
    path = tmp_path / "a.zip"
    hostile = (
        ([], "ZIP"),
        ([(NAME, b"x"), ("other", b"x")], "ZIP"),
        ([("../" + NAME, b"x")], "ZIP"),
        ([("/etc/passwd", b"x")], "ZIP"),
        ([(f"folder/{NAME}", b"x")], "ZIP"),
        ([(link, b"/etc/passwd")], "ZIP"),
        ([(NAME, bytes(80 * 1024 * 1024))], "BOMB"),
        ([(NAME, bomb(100))], "BOMB"),
    )
    for members, code in hostile:
        zipped(path, *members)
        with pytest.raises(FileFault) as raised:
            unpack.copy_only_member(path, NAME, BytesIO())
        assert raised.value.code == code, members


@settings(deadline=None)
@given(st.data())
def test_a_damaged_zip_never_crashes(data: st.DataObject) -> None:
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(NAME, gzip.compress(HEADER))
    content = bytearray(made.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    path = Path("/dev/shm") / f"fundwatch-{os.getpid()}.zip"
    try:
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        unpack.copy_only_member(path, NAME, BytesIO())
    except FileFault as fault:
        assert fault.code in ("ZIP", "BOMB")
    finally:
        path.unlink(missing_ok=True)


def test_a_checksum_beside_a_file_is_checked_as_md5sum_writes_it(tmp_path: Path) -> None:
    file, key = tmp_path / NAME, tmp_path / "none.pem"
    file.write_bytes(b"content")
    md5 = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
    for good in (md5, md5.upper() + "\n", f"{md5}  {NAME}\n", f"{md5} *{NAME}\r\n"):
        side_file.check(file, good.encode(), ".md5", key, NAME)
    side_file.check(file, hashlib.sha256(b"content").hexdigest().encode(), ".sha256", key, NAME)
    for bad in ("", "hello", md5[:-1], "0" * 32, f"{md5}  other.csv.gz", "\ufffd" * 40):
        with pytest.raises(FileFault) as raised:
            side_file.check(file, bad.encode(), ".md5", key, NAME)
        assert raised.value.code == "MD5"


def test_a_detached_signature_is_checked_with_the_key_of_the_sender(tmp_path: Path) -> None:
    file, pem = tmp_path / NAME, tmp_path / "P01.pem"
    file.write_bytes(b"content")
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    signed = {
        rsa_key: rsa_key.sign(b"content", padding.PKCS1v15(), hashes.SHA256()),
        ec_key: ec_key.sign(b"content", ec.ECDSA(hashes.SHA256())),
    }
    public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for key, signature in signed.items():
        pem.write_bytes(key.public_key().public_bytes(*public))
        side_file.check(file, signature, ".sig", pem, NAME)
        side_file.check(file, base64.encodebytes(signature), ".sig", pem, NAME)
        file.write_bytes(b"Content")
        with pytest.raises(FileFault, match="not one of its sender"):
            side_file.check(file, signature, ".sig", pem, NAME)
        file.write_bytes(b"content")
    with pytest.raises(FileFault, match="no public key"):
        side_file.check(file, signature, ".sig", tmp_path / "none.pem", NAME)
    pem.write_bytes(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*public))
    with pytest.raises(FileFault, match="neither RSA nor"):
        side_file.check(file, signature, ".sig", pem, NAME)
    pem.write_bytes(b"no key")
    with pytest.raises(FileFault, match="cannot be read"):
        side_file.check(file, signature, ".sig", pem, NAME)


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    with whole(path) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError), whole(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert [(found.name, found.read_bytes()) for found in path.parent.iterdir()] == [("file", b"old")]
