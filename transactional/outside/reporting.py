"""Signed report bundles to a regulator's drop point: file by file, the signed list of them last."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from urllib.parse import quote

from transactional.outside import signing
from transactional.outside.calls import BODY_BYTES_MAX, send
from transactional.outside.messages import fault
from transactional.outside.verdict import Dead, Delivered, Delivery, Target, Verdict

LAST = ("manifest.json", "manifest.json.sig")
FILES_MAX = 500


class Reporting:
    """PUTs every file of a bundle under its own path; the drop point takes the bundle when ``manifest.json.sig`` is there.

    A repeated hand-over writes the same bytes to the same paths.
    """

    def __init__(self, reports: Path) -> None:
        self._reports = reports

    def deliver(self, delivery: Delivery, target: Target) -> Verdict:
        """Hand over the bundle that the event names (schema ``bundle.v1``); Dead when it is not the one that was released."""
        why = fault("bundle.v1", delivery.payload)
        if why is not None:
            return Dead(why)
        folder = (self._reports / str(delivery.payload["folder"])).resolve()
        if not folder.is_relative_to(self._reports.resolve()) or not folder.is_dir():
            return Dead(f"there is no bundle {delivery.payload['folder']}")
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        ordered = [path for path in files if path.name not in LAST] + [folder / name for name in LAST]
        if len(ordered) > FILES_MAX or not all(path.is_file() for path in ordered):
            return Dead("the bundle is not signed or has too many files")
        if hashlib.sha256((folder / LAST[0]).read_bytes()).hexdigest() != delivery.payload["manifest_sha256"]:
            return Dead("the bundle is not the one that was released")
        for path in ordered:
            verdict = self._put(path, path.relative_to(self._reports.resolve()).as_posix(), delivery, target)
            if not isinstance(verdict, Delivered):
                return verdict
        return Delivered(f"{len(ordered)} files")

    def _put(self, path: Path, name: str, delivery: Delivery, target: Target) -> Verdict:
        if path.stat().st_size > BODY_BYTES_MAX:
            return Dead(f"{path.name} has more than {BODY_BYTES_MAX} bytes")
        body = path.read_bytes()
        headers = signing.headers(target.secrets, delivery.message_id, int(time.time()), body)
        digest = {"Content-Type": "application/octet-stream", "Fundwatch-Sha256": hashlib.sha256(body).hexdigest()}
        return send(target, "PUT", f"{target.endpoint.rstrip('/')}/{quote(name)}", {**headers, **digest}, body)[0]
