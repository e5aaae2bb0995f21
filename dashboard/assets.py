"""Static files: read once, served under an address that holds their hash, compressed ahead, kept by browsers for ever.

Only these files are ever compressed: a compressed page that holds secrets and echoes its request would leak them (BREACH).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

HERE = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """One file: its bytes plain and gzipped, its media type, and the first 16 hex digits of its sha256."""

    plain: bytes
    packed: bytes
    media_type: str
    digest: str


@cache
def assets() -> Mapping[str, Asset]:
    """All files by the name under ``/static/``: ours, and what the reports draw with."""
    import reports

    vendor = Path(reports.__file__).parent / "vendor"
    found = {path.name: path for path in HERE.iterdir() if path.suffix in _TYPES}
    found |= {f"vendor/{path.name}": path for path in vendor.glob("*.min.js")}
    return {name: _asset(path) for name, path in found.items()}


def address(name: str) -> str:
    """The address of a file with its hash; KeyError when there is none of that name."""
    return f"/static/{name}?v={assets()[name].digest}"


def routes() -> APIRouter:
    """`/static/NAME`: immutable when the hash in the address is the file's, else asked for again each time."""
    router = APIRouter()

    @router.get("/static/{name:path}")
    def static(request: Request, name: str, v: str = "") -> Response:
        asset = assets().get(name)
        if asset is None:
            raise HTTPException(404)
        headers = {
            "ETag": f'"{asset.digest}"',
            "Cache-Control": FOREVER if v == asset.digest else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        packed = "gzip" in request.headers.get("accept-encoding", "")
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(asset.packed if packed else asset.plain, media_type=asset.media_type, headers=headers)

    return router


def _asset(path: Path) -> Asset:
    plain = path.read_bytes()
    return Asset(plain, gzip.compress(plain, 9, mtime=0), _TYPES[path.suffix], sha256(plain).hexdigest()[:16])
