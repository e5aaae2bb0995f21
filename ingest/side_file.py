"""Side files of a dropped file: a checksum or a detached signature, checked when there (spec 07 section 7.6)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path

from ingest.stream import BLOCK_BYTES, FileFault

CHECKSUMS = {".md5": "md5", ".sha256": "sha256"}
SIGNATURE = ".sig"
SUFFIXES = (*CHECKSUMS, SIGNATURE)
BYTES_MAX = 64 * 1024
_LINE = re.compile(r"([0-9A-Fa-f]+)(?:\s+[* ]?(\S.*))?\s*")


def base_of(name: str) -> str | None:
    """Name of the file that a side file is about; None for a name that is none of a side file."""
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix)
    return None


def check(file: Path, side: bytes, suffix: str, key_file: Path, name: str) -> None:
    """See that `file` is what its side file says; `name` is what the sender calls it, `key_file` his public key (PEM).

    A checksum is hexadecimal, alone or as ``md5sum`` writes it; a signature is of the file's bytes with SHA-256, by RSA
    (PKCS #1 v1.5) or an elliptic curve, raw or Base64. FileFault: MD5, SHA256, SIGNATURE.
    """
    if suffix == SIGNATURE:
        _check_signature(file, side, key_file)
    else:
        check_sum(file, side, suffix, name)


def check_sum(file: Path, side: bytes, suffix: str, name: str) -> None:
    """See that a file has the checksum of its side file with `suffix` (a key of CHECKSUMS). FileFault: MD5, SHA256."""
    algorithm = CHECKSUMS[suffix]
    code = algorithm.upper()
    found = _LINE.fullmatch(side.decode("ascii", errors="replace").removeprefix("\ufeff"))
    digest = _digest(file, algorithm)
    if found is None or len(found[1]) != 2 * len(digest):
        raise FileFault(code, f"its side file is no {algorithm} checksum")
    if found[2] is not None and Path(found[2].strip()).name != name:
        raise FileFault(code, f"its side file is about {found[2].strip()[:100]!r}")
    if found[1].lower() != digest.hex():
        raise FileFault(code, f"its side file says {algorithm} {found[1].lower()}, the file has {digest.hex()}")


def _check_signature(file: Path, side: bytes, key_file: Path) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    try:
        key = serialization.load_pem_public_key(key_file.read_bytes())
    except FileNotFoundError:
        raise FileFault("SIGNATURE", "it is signed, and no public key of its sender is kept") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FileFault("SIGNATURE", f"the public key of its sender cannot be read ({error})") from None
    digest, hashed = _digest(file, "sha256"), Prehashed(hashes.SHA256())
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(_signature(side), digest, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(_signature(side), digest, ec.ECDSA(hashed))
        else:
            raise FileFault("SIGNATURE", "the public key of its sender is neither RSA nor of an elliptic curve")
    except InvalidSignature:
        raise FileFault("SIGNATURE", "its signature is not one of its sender over these bytes") from None


def _signature(side: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(side.split()), validate=True)
    except binascii.Error:
        return side


def _digest(file: Path, algorithm: str) -> bytes:
    # MD5 only shows damage on the way; who sent a file is shown by a signature
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
    return digest.digest()
