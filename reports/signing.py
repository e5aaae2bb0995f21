"""The key that signs a bundle's manifest and documents, and the proof of a manifest's signature.

An installation makes its own key once: RSA-3072 with a self-signed certificate that says so. A bank signs with its own key by
`FUNDWATCH_SIGNING_KEY` and `FUNDWATCH_SIGNING_CERTIFICATE` (PEM files). RSA only: an elliptic curve would lift the PDF out of
PDF/A-3. The detached signature is the plain RSASSA-PSS value over the manifest's bytes with SHA-256 and a salt of 32 bytes: it
has one encoding and no byte of it is free.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from domain.errors import BadInput, ServiceMissing, WrongUse
from fundwatch.settings import Settings

OWN_KEY, OWN_CERTIFICATE = "report_signing_key.pem", "report_signing_certificate.pem"
OWN_NAME = "Fundwatch installation's own key (self-signed)"
ALGORITHM = "RSASSA-PSS with SHA-256, salt of 32 bytes"
KEY_BITS = 3072
_YEARS = 20
_PADDING = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Signer:
    """A private key and the certificate of its public half."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    def sign(self, content: bytes) -> bytes:
        """The detached signature of some bytes."""
        return self.key.sign(content, _PADDING, hashes.SHA256())


def signer(settings: Settings) -> Signer:
    """The bank's key when one is set, else the installation's own, made at the first call.

    WrongUse when only one of the two files is set; BadInput when key and certificate are not a pair, not RSA of 3072 bits or
    more, or not valid now; ServiceMissing when a file cannot be read or written.
    """
    key_path, certificate_path = _paths(settings)
    if key_path is None or certificate_path is None:
        key_path, certificate_path = settings.secrets_dir / OWN_KEY, settings.secrets_dir / OWN_CERTIFICATE
        _make_once(settings, key_path, certificate_path)
    key = _private_key(key_path)
    certificate = read_certificate(certificate_path)
    if key.public_key() != certificate.public_key():
        raise BadInput(f"{certificate_path} is not the certificate of {key_path}")
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise BadInput(f"{certificate_path} is not valid now: it runs out on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return Signer(key, certificate)


def trusted_certificate(settings: Settings, given: Path | None) -> x509.Certificate:
    """The certificate whose signatures count: the given one, else the bank's, else the home's own; BadInput without one."""
    path = given or _paths(settings)[1] or settings.secrets_dir / OWN_CERTIFICATE
    if given is None and not path.exists():
        raise BadInput(f"there is no certificate to trust: {path} does not exist; name one with --certificate")
    return read_certificate(path)


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file; BadInput when there is none or its key is not RSA of 3072 bits or more."""
    try:
        return _checked_certificate(x509.load_pem_x509_certificates(_read(path))[0], path.name)
    except ValueError as error:
        raise BadInput(f"{path} is not a certificate in PEM form") from error


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """A certificate in PEM form, the one encoding that bundles use."""
    return certificate.public_bytes(_PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """sha256 of a certificate's DER bytes, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def holds(certificate: x509.Certificate, content: bytes, signature: bytes) -> bool:
    """Whether `signature` is the certificate holder's over exactly these bytes."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(signature, content, _PADDING, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _paths(settings: Settings) -> tuple[Path | None, Path | None]:
    key, certificate = settings.signing_key, settings.signing_certificate
    if (key is None) != (certificate is None):
        raise WrongUse("set both FUNDWATCH_SIGNING_KEY and FUNDWATCH_SIGNING_CERTIFICATE, or neither")
    return key, certificate


def _private_key(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except TypeError as error:
        raise BadInput(f"{path} is protected by a password: store it without one, readable by its owner only") from error
    except ValueError as error:
        raise BadInput(f"{path} is not a private key in PEM form") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS:
        raise BadInput(f"{path} is not an RSA key of {KEY_BITS} bits or more")
    return key


def _checked_certificate(certificate: x509.Certificate, name: str) -> x509.Certificate:
    key: Any = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_BITS:
        raise BadInput(f"{name}: its key is not RSA of {KEY_BITS} bits or more")
    return certificate


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _make_once(settings: Settings, key_path: Path, certificate_path: Path) -> None:
    """Make the installation's key and certificate where they are not; two processes make one key."""
    if key_path.exists() and certificate_path.exists():
        return
    try:
        settings.secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(settings.secrets_dir, os.O_RDONLY)
    except OSError as error:
        raise ServiceMissing(f"{settings.secrets_dir} cannot hold the signing key: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not key_path.exists():
            if certificate_path.exists():
                raise BadInput(f"{certificate_path} is there without its key {key_path.name}: restore the key or move it away")
            key = rsa.generate_private_key(65537, KEY_BITS)
            private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            _write_private(key_path, private)
        if not certificate_path.exists():
            _write_private(certificate_path, certificate_pem(_own_certificate(_private_key(key_path), settings.bank_id)))
    except OSError as error:
        raise ServiceMissing(f"{settings.secrets_dir} cannot hold the signing key: {error.strerror}") from error
    finally:
        os.close(folder)


def _own_certificate(key: rsa.RSAPrivateKey, bank_id: str) -> x509.Certificate:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, OWN_NAME), x509.NameAttribute(NameOID.ORGANIZATION_NAME, bank_id)]
    subject = x509.Name(names)
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, content_commitment=True, **usage), critical=True)
        .sign(key, hashes.SHA256())
    )


def _write_private(path: Path, content: bytes) -> None:
    """Put a file in place that only its owner may read; never half written."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as output:
        output.write(content)
    Path(partial).replace(path)
