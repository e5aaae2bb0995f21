"""Seconds to build, render, sign and prove one month's report of the default world's first platform → bench/results/report.json.

    python -m bench.report [PLATFORM] [PERIOD]

It needs a home whose PostgreSQL runs and whose month is published; it builds into a temporary folder with the home's own key.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import result
from domain.packs import Pack
from fundwatch.settings import load
from reports import pdf, pdf_signature, signing
from reports.bundle import build
from reports.published import publication, rows_of
from reports.verify import check_files, verify

NAME = "report"


def clocked(work: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """`work` that also notes how many seconds each call took."""

    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*arguments)
        finally:
            spent.append(time.perf_counter() - started)

    return timed


def main(platform: str, period: str) -> None:
    """Build twice (cold, then a new version with everything loaded), build what is there, verify; keep the figures."""
    settings, pack = load(), Pack.of("CN_2017")
    drawn: list[float] = []
    signed: list[float] = []
    pdf.pdf = clocked(pdf.pdf, drawn)
    pdf_signature.sign = clocked(pdf_signature.sign, signed)
    signer = signing.signer(settings)
    with tempfile.TemporaryDirectory(prefix="fundwatch-bench-") as folder:

        def once(root: str) -> tuple[float, Path]:
            started = time.perf_counter()
            source = publication(settings, platform, period)
            bundle, _ = build(pack, source, period, rows_of(settings, source), Path(folder) / root, signer)
            return time.perf_counter() - started, bundle

        cold, bundle = once("cold")
        warm, _ = once("warm")
        kept, _ = once("cold")
        started = time.perf_counter()
        proved = verify(bundle, signer.certificate)
        verified = time.perf_counter() - started
        started = time.perf_counter()
        check_files(bundle, signer.certificate)
        checked = time.perf_counter() - started
        size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    figures = {
        "what": "one month's report of one platform: lake rows to signed bundle (two PDFs, XLSX, JSON, evidence), and its proof",
        "platform": platform,
        "period": period,
        "figures": proved["figures"],
        "files": proved["files"],
        "bundle_bytes": size,
        "build_cold_seconds": round(cold, 2),
        "build_warm_seconds": round(warm, 2),
        "build_kept_seconds": round(kept, 2),
        "pdf_warm_seconds": round(sum(drawn[2:4]), 2),
        "pdf_share_of_warm_build": round(sum(drawn[2:4]) / warm, 2),
        "sign_two_pdfs_warm_seconds": round(sum(signed[2:4]), 2),
        "verify_seconds": round(verified, 2),
        "check_files_milliseconds": round(checked * 1000, 1),
    }
    print(result.write(NAME, figures, settings).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("P01", "2026-08")))
