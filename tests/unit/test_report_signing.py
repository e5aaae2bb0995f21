"""Keys: the installation's own is made once and kept private, a bank's own replaces it, and a key that cannot sign is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from domain.errors import BadInput, ServiceMissing, WrongUse
from fundwatch.settings import Settings
from reports import pdf_signature, signing
from reports.signing import OWN_CERTIFICATE, OWN_KEY, Signer, certificate_pem, holds, read_certificate, trusted_certificate


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("FUNDWATCH_SECRETS", raising=False)
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


def pem(key: Any, password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    content: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return content


def certificate_of(key: Any, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A bank")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(1).not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
    return dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def set_files(settings: Settings, folder: Path, key: bytes, certificate: bytes) -> Settings:
    (folder / "key.pem").write_bytes(key)
    (folder / "certificate.pem").write_bytes(certificate)
    return replace(settings, signing_key=folder / "key.pem", signing_certificate=folder / "certificate.pem")


def test_the_own_key_is_made_once_and_only_its_owner_may_read_it(settings: Settings) -> None:
    first, second = signing.signer(settings), signing.signer(settings)
    assert first.key.private_numbers() == second.key.private_numbers()
    assert (first.key.key_size, first.certificate) == (3072, second.certificate)
    names = {path.name: path.stat().st_mode & 0o777 for path in settings.secrets_dir.iterdir()}
    assert names == {OWN_KEY: 0o600, OWN_CERTIFICATE: 0o600}
    assert settings.secrets_dir.stat().st_mode & 0o777 == 0o700
    assert "Fundwatch installation's own key (self-signed)" in first.certificate.subject.rfc4514_string()
    assert trusted_certificate(settings, None) == first.certificate


def test_two_processes_at_once_make_one_key(settings: Settings) -> None:
    program = (
        "import sys; from pathlib import Path; from fundwatch.settings import Settings; from reports import signing;"
        "home = Path(sys.argv[1]); print(signing.fingerprint(signing.signer(Settings(home, home)).certificate))"
    )
    arguments = [sys.executable, "-c", program, str(settings.home)]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    made = {process.communicate()[0].strip() for process in running}
    assert made == {signing.fingerprint(signing.signer(settings).certificate)}


def test_a_lost_certificate_is_made_again_for_the_same_key_and_a_lost_key_is_not(settings: Settings) -> None:
    first = signing.signer(settings)
    (settings.secrets_dir / OWN_CERTIFICATE).unlink()
    assert signing.signer(settings).key.private_numbers() == first.key.private_numbers()
    (settings.secrets_dir / OWN_KEY).unlink()
    with pytest.raises(BadInput, match="is there without its key"):
        signing.signer(settings)


def test_a_secrets_folder_that_cannot_be_written_is_told(settings: Settings) -> None:
    settings.home.mkdir()
    settings.secrets_dir.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(ServiceMissing, match="cannot hold the signing key"):
        signing.signer(settings)


def test_the_banks_own_key_replaces_ours(settings: Settings, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 3072)
    given = set_files(settings, tmp_path, pem(key), certificate_of(key))
    used = signing.signer(given)
    assert used.key.private_numbers() == key.private_numbers()
    assert not settings.secrets_dir.exists()
    assert trusted_certificate(given, None) == used.certificate == read_certificate(tmp_path / "certificate.pem")
    signed = used.sign(b"content")
    assert holds(used.certificate, b"content", signed)
    assert not holds(used.certificate, b"Content", signed) and not holds(used.certificate, b"content", signed + b"\0")


def test_the_banks_key_is_set_by_the_environment(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fundwatch.settings import load

    key = rsa.generate_private_key(65537, 3072)
    set_files(settings, tmp_path, pem(key), certificate_of(key))
    monkeypatch.setenv("FUNDWATCH_HOME", str(settings.home))
    monkeypatch.setenv("FUNDWATCH_SIGNING_KEY", str(tmp_path / "key.pem"))
    with pytest.raises(WrongUse, match="set both"):
        signing.signer(load())
    monkeypatch.setenv("FUNDWATCH_SIGNING_CERTIFICATE", str(tmp_path / "certificate.pem"))
    assert signing.signer(load()).key.private_numbers() == key.private_numbers()


def refused_keys() -> dict[str, tuple[bytes, bytes, str]]:
    good, other = (rsa.generate_private_key(65537, 3072) for _ in range(2))
    small, curve = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    return {
        "another's certificate": (pem(good), certificate_of(other), "is not the certificate of"),
        "a small key": (pem(small), certificate_of(small), "not an RSA key of 3072 bits"),
        "a small certificate": (pem(good), certificate_of(small), "its key is not RSA of 3072 bits"),
        "an elliptic curve": (pem(curve), certificate_of(curve), "not an RSA key"),
        "a password": (pem(good, b"secret"), certificate_of(good), "protected by a password"),
        "not a key": (b"key", certificate_of(good), "is not a private key"),
        "not a certificate": (pem(good), b"certificate", "is not a certificate"),
        "run out": (pem(good), certificate_of(good, days=-1), "is not valid now"),
    }


def test_a_key_that_cannot_sign_is_refused_with_the_reason(settings: Settings, tmp_path: Path) -> None:
    for key, certificate, reason in refused_keys().values():
        with pytest.raises(BadInput, match=reason):
            signing.signer(set_files(settings, tmp_path, key, certificate))
    with pytest.raises(BadInput, match="cannot be read"):
        signing.signer(replace(settings, signing_key=tmp_path / "no", signing_certificate=tmp_path / "no"))


def test_a_build_with_a_key_that_cannot_sign_leaves_nothing(
    settings: Settings, case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reports.bundle import build

    (tmp_path / "key.pem").write_bytes(b"key")
    monkeypatch.setenv("FUNDWATCH_HOME", str(settings.home))
    monkeypatch.setenv("FUNDWATCH_SIGNING_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("FUNDWATCH_SIGNING_CERTIFICATE", str(tmp_path / "key.pem"))
    with pytest.raises(BadInput, match="is not a private key"):
        build(case.pack, case.source, "2026-08", case.rows, settings.home / "reports")
    assert not settings.home.exists()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_documents_carry_one_signature_over_the_whole_file(
    built: Path, signer: Signer, other_signer: Signer, language: str
) -> None:
    name = f"report.{language}.pdf"
    content = (built / name).read_bytes()
    assert pdf_signature.faults(content, signer.certificate, name) == []
    assert pdf_signature.faults(content, other_signer.certificate, name) == [f"{name}: is signed by another key"]
    assert any("whole file" in fault for fault in pdf_signature.faults(content + b"\n", signer.certificate, name))
    for place in (100, len(content) // 3, len(content) // 2, len(content) - 30):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert pdf_signature.faults(changed, signer.certificate, name) != []


def test_a_document_without_signature_or_signed_twice_is_refused(
    built: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (built / "report.en.pdf").read_bytes()
    first_revision = content[: content.index(b"%%EOF") + 6]
    assert pdf_signature.faults(first_revision, signer.certificate, "x") == ["x: has 0 signatures, not one"]
    monkeypatch.setattr(pdf_signature, "FIELD", "Another")
    twice = pdf_signature.sign(signer, content, "again")
    assert pdf_signature.faults(twice, signer.certificate, "x") == ["x: has 2 signatures, not one"]
    assert pdf_signature.faults(b"no PDF", signer.certificate, "x")[0].startswith("x: its signature cannot be read")
    assert certificate_pem(signer.certificate) == (built / "certificate.pem").read_bytes()


def test_the_signature_of_the_manifest_is_a_plain_value_others_can_check(built: Path, tmp_path: Path) -> None:
    public = read_certificate(built / "certificate.pem").public_key()
    key = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(key)
    how = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]
    signature = str(built / "manifest.json.sig")
    arguments = ["openssl", "dgst", "-sha256", *how, "-verify", str(tmp_path / "public.pem"), "-signature", signature]
    done = subprocess.run([*arguments, str(built / "manifest.json")], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Verified OK", done.stderr
