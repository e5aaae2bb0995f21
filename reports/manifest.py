"""The signed list of a bundle's files: `manifest.json`, its detached signature `manifest.json.sig`, and what they prove.

Every file of a bundle is in the list but these two, so no byte of a bundle can change unnoticed: a file's hash stands in the
manifest, the manifest's bytes are signed, and the signature has only one encoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography import x509

from domain.errors import BadInput
from reports.figures import FigureSet
from reports.signing import ALGORITHM, Signer, certificate_pem, fingerprint, holds, read_certificate

MANIFEST, SIGNATURE, CERTIFICATE = "manifest.json", "manifest.json.sig", "certificate.pem"
FORMAT = "fundwatch.manifest/2"
_PACKAGES = ("fundwatch", "weasyprint", "pyhanko", "xlsxwriter", "mini-racer")


def as_json(data: Mapping[str, Any]) -> bytes:
    """JSON as all our files have it: sorted keys, one space of indent, UTF-8, LF at the end."""
    return (json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    return sha256(path.read_bytes()).hexdigest()


def files_in(folder: Path) -> list[str]:
    """Paths of a bundle's files, sorted, without manifest and signature."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(path for path in paths if path not in (MANIFEST, SIGNATURE))


def seal(
    folder: Path, figure_set: FigureSet, number: int, templates: Mapping[str, str], previous: Path | None, signer: Signer
) -> None:
    """Write certificate, manifest and signature of a bundle whose other files are complete."""
    (folder / CERTIFICATE).write_bytes(certificate_pem(signer.certificate))
    content = as_json(
        {
            "format": FORMAT,
            **{
                name: figure_set[name]
                for name in ("pack_id", "pack_version", "platform_id", "period", "run_id", "run_code_version")
            },
            "ledger_head": figure_set.get("ledger_head"),
            "bundle_version": number,
            "built_with": {name: version(name) for name in _PACKAGES},
            "templates": dict(templates),
            "previous_manifest_sha256": digest(previous / MANIFEST) if previous and (previous / MANIFEST).is_file() else None,
            "certificate_sha256": fingerprint(signer.certificate),
            "signature": {"path": SIGNATURE, "algorithm": ALGORITHM},
            "files": [
                {"path": path, "size": (folder / path).stat().st_size, "sha256": digest(folder / path)}
                for path in files_in(folder)
            ],
        }
    )
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(signer.sign(content))


def read(folder: Path) -> dict[str, Any]:
    """The manifest as plain data; BadInput when there is none that can be read."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} is not a report bundle: it has no readable {MANIFEST}") from error
    return manifest


def is_intact(folder: Path) -> bool:
    """Whether a bundle still is as it was signed by the certificate it carries, whoever that is."""
    try:
        return not file_faults(folder, read_certificate(folder / CERTIFICATE))
    except BadInput:
        return False


def file_faults(folder: Path, certificate: x509.Certificate) -> list[str]:
    """What differs from the bundle that the holder of `certificate` signed: any byte of any file, a file more or less."""
    try:
        content = (folder / MANIFEST).read_bytes()
        signature = (folder / SIGNATURE).read_bytes()
    except OSError:
        missing = MANIFEST if not (folder / MANIFEST).is_file() else SIGNATURE
        return [f"{missing}: is missing; a bundle of a release that did not sign must be built again"]
    if not holds(certificate, content, signature):
        return [_whose(folder, certificate)]
    manifest = json.loads(content)
    if manifest["format"] != FORMAT:
        return [f"{MANIFEST}: format {manifest['format']} is not known here"]
    faults = _list_faults(folder, {entry["path"]: entry for entry in manifest["files"]})
    if not faults and (folder / CERTIFICATE).read_bytes() != certificate_pem(certificate):
        faults.append(f"{CERTIFICATE}: is not the certificate that signed")
    return faults + _chain_faults(folder, manifest)


def _whose(folder: Path, certificate: x509.Certificate) -> str:
    """Why a signature does not hold: another key made it, or manifest or signature changed."""
    try:
        other = read_certificate(folder / CERTIFICATE)
    except BadInput:
        return f"{MANIFEST}: its signature does not hold"
    if fingerprint(other) == fingerprint(certificate):
        return f"{MANIFEST}: its signature does not hold: manifest or signature was changed"
    return (
        f"{MANIFEST}: is signed by another key than that of the trusted certificate"
        f" (sha256 {fingerprint(certificate)[:16]}…, the bundle carries {fingerprint(other)[:16]}…)"
    )


def _list_faults(folder: Path, listed: Mapping[str, Any]) -> list[str]:
    present = set(files_in(folder))
    faults = [f"{path}: is missing" for path in sorted(set(listed) - present)]
    faults += [f"{path}: is not in the manifest" for path in sorted(present - set(listed))]
    for path in sorted(present & set(listed)):
        if (folder / path).is_symlink() or not (folder / path).is_file():
            faults.append(f"{path}: is not a plain file")
        elif ((folder / path).stat().st_size, digest(folder / path)) != (listed[path]["size"], listed[path]["sha256"]):
            faults.append(f"{path}: has other bytes than the manifest says")
    folders = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()}
    needed = {parent.as_posix() for path in listed for parent in Path(path).parents}
    return faults + [f"{path}: is a folder of which the manifest knows nothing" for path in sorted(folders - needed)]


def _chain_faults(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """The version before, when it lies beside this one, must be the one this bundle names."""
    previous = folder.resolve().parent / f"v{manifest['bundle_version'] - 1}" / MANIFEST
    if not previous.is_file() or digest(previous) == manifest["previous_manifest_sha256"]:
        return []
    return [f"{MANIFEST}: names another previous version than {previous.parent.name}"]
