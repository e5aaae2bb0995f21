"""A bundle that differs from the signed one in a byte, or by a file, is refused, whatever byte and whatever file it is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from domain.errors import BadInput, CheckFailed, FundwatchError
from reports.manifest import is_intact
from reports.signing import Signer, certificate_pem
from reports.verify import check_files

OFFSETS_A_FILE, RANDOM_OFFSETS = 24, 1_200


def paths_of(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def is_refused(bundle: Path, certificate: x509.Certificate) -> bool:
    try:
        check_files(bundle, certificate)
    except FundwatchError:
        return True
    return False


def offsets(paths: list[Path]) -> list[tuple[Path, int]]:
    """Both ends and evenly spread places of every file, and random places over all files by their size."""
    chosen = []
    for path in paths:
        size = path.stat().st_size
        chosen += [(path, place) for place in {0, size - 1, *range(0, size, max(1, size // OFFSETS_A_FILE))}]
    lucky = random.Random(7)
    everywhere = lucky.choices(paths, [path.stat().st_size for path in paths], k=RANDOM_OFFSETS)
    return chosen + [(path, lucky.randrange(path.stat().st_size)) for path in everywhere]


def test_any_changed_byte_of_any_file_is_refused(bundle: Path, signer: Signer) -> None:
    places = offsets(paths_of(bundle))
    assert len(places) >= 1_000 and {path for path, _ in places} == set(paths_of(bundle))
    lucky = random.Random(8)
    for path, place in places:
        content = path.read_bytes()
        changed = bytearray(content)
        changed[place] ^= 1 << lucky.randrange(8)
        path.write_bytes(changed)
        assert is_refused(bundle, signer.certificate), f"{path.name} at {place}"
        path.write_bytes(content)
    check_files(bundle, signer.certificate)


def test_every_byte_of_manifest_and_signature_counts(bundle: Path, signer: Signer) -> None:
    for name in ("manifest.json", "manifest.json.sig"):
        content = (bundle / name).read_bytes()
        for place in range(len(content)):
            (bundle / name).write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
            assert is_refused(bundle, signer.certificate), f"{name} at {place}"
        (bundle / name).write_bytes(content)
    check_files(bundle, signer.certificate)


def test_a_byte_appended_or_taken_from_any_file_is_refused(bundle: Path, signer: Signer) -> None:
    for path in paths_of(bundle):
        content = path.read_bytes()
        for other in (content + b"\n", content + b"\0", content[:-1], b""):
            path.write_bytes(other)
            assert is_refused(bundle, signer.certificate), path.name
        path.write_bytes(content)
    check_files(bundle, signer.certificate)


def test_a_removed_or_moved_file_is_refused(bundle: Path, signer: Signer, tmp_path: Path) -> None:
    for path in paths_of(bundle):
        path.rename(tmp_path / "away")
        assert is_refused(bundle, signer.certificate), path.name
        (tmp_path / "away").rename(path.with_name("moved"))
        assert is_refused(bundle, signer.certificate), path.name
        path.with_name("moved").rename(path)
    check_files(bundle, signer.certificate)


@pytest.mark.parametrize("name", ["more.csv", "rows/more.csv", ".hidden", "rows/loan_snapshot.csv.gz/x"])
def test_a_file_nobody_listed_is_refused(bundle: Path, signer: Signer, name: str) -> None:
    path = bundle / name
    if "gz/" in name:
        path.parent.unlink()
    path.parent.mkdir(exist_ok=True)
    path.write_text("x", encoding="utf-8")
    with pytest.raises(CheckFailed, match="is not in the manifest"):
        check_files(bundle, signer.certificate)


def link_to_file(bundle: Path) -> None:
    (bundle / "report.json").rename(bundle.parent / "elsewhere.json")
    (bundle / "report.json").symlink_to(bundle.parent / "elsewhere.json")


def link_to_folder(bundle: Path) -> None:
    (bundle / "link").symlink_to(bundle.parent)


def empty_folder(bundle: Path) -> None:
    (bundle / "empty").mkdir()


@pytest.mark.parametrize("change", [link_to_file, link_to_folder, empty_folder])
def test_links_and_folders_that_nobody_listed_are_refused(bundle: Path, signer: Signer, change: Callable[[Path], None]) -> None:
    change(bundle)
    assert is_refused(bundle, signer.certificate)


def test_two_files_that_changed_places_are_refused(bundle: Path, signer: Signer) -> None:
    zh, en = (bundle / "report.zh.pdf").read_bytes(), (bundle / "report.en.pdf").read_bytes()
    (bundle / "report.zh.pdf").write_bytes(en)
    (bundle / "report.en.pdf").write_bytes(zh)
    assert is_refused(bundle, signer.certificate)


def test_a_bundle_signed_anew_by_another_key_is_refused_and_named(bundle: Path, signer: Signer, other_signer: Signer) -> None:
    content = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json.sig").write_bytes(other_signer.sign(content))
    with pytest.raises(CheckFailed, match="signature does not hold"):
        check_files(bundle, signer.certificate)
    (bundle / "certificate.pem").write_bytes(certificate_pem(other_signer.certificate))
    with pytest.raises(CheckFailed, match="signed by another key"):
        check_files(bundle, signer.certificate)
    assert not is_intact(bundle)


def test_a_bundle_whose_documents_another_key_signed_is_refused_by_its_files(
    bundle: Path, case: object, other_signer: Signer, signer: Signer, tmp_path: Path
) -> None:
    """All of it built and signed by another key: right in itself, and not ours."""
    other, _ = case.build(tmp_path / "other", other_signer)  # type: ignore[attr-defined]
    check_files(other, other_signer.certificate)
    with pytest.raises(CheckFailed, match="signed by another key"):
        check_files(other, signer.certificate)


def test_what_is_no_bundle_is_bad_input(bundle: Path, signer: Signer) -> None:
    with pytest.raises(BadInput, match="not a report bundle"):
        check_files(bundle.parent, signer.certificate)
    shutil.rmtree(bundle)
    with pytest.raises(BadInput, match="not a report bundle"):
        check_files(bundle, signer.certificate)
