"""The container's health check against a real HBase."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fundwatch.settings import Settings

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "hbase-health.sh"


def test_a_running_hbase_is_well(hbase: Settings) -> None:
    _, port = hbase.hbase_address()
    done = subprocess.run([str(SCRIPT), str(port)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
