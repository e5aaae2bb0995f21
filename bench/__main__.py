"""All measurements, one after the other: `python -m bench` (or `make bench`), some minutes on two cores.

It works in a home of its own in a temporary folder, stops and removes what it started, and writes bench/results/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import one_night, table
from fundwatch.demo import command
from fundwatch.services import spark_connect
from fundwatch.settings import PROJECT, load

_OUTSIDE = ("DATABASE_URL", "HBASE_THRIFT", "HBASE_CONF", "HBASE_PREFIX", "SPARK_REMOTE", "API_URL", "LAKE", "SECRETS")


@contextmanager
def own_services() -> Iterator[Path]:
    """A temporary home with all services running, named by the environment; gives its folder."""
    for name in _OUTSIDE:
        os.environ.pop(f"FUNDWATCH_{name}", None)
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-bench-"))
    os.environ.update(FUNDWATCH_HOME=str(folder), FUNDWATCH_CLOCK="simulated")
    try:
        command(["up"])
        yield folder
    finally:
        command(["down"])
        shutil.rmtree(folder, ignore_errors=True)


def measure(module: str, environment: dict[str, str]) -> None:
    """Run one measurement in a process of its own: each has its own environment."""
    subprocess.run([sys.executable, "-m", f"bench.{module}"], env=os.environ | environment, cwd=PROJECT, check=True)


def main() -> None:
    """The night, HBase through Spark and scoring in the same services; orders and `ledger verify` with all else stopped."""
    with own_services() as folder:
        one_night.main(folder / "world")
        measure("report", {})
        measure("hbase_through_spark", {"FUNDWATCH_SPARK_REMOTE": spark_connect.remote_url(load())})
        measure("scoring", {})
        measure("pages", {})
    for alone in (
        "recon_alone",
        "orders_over_http",
        "orders_in_bulk",
        "balance_reads",
        "ledger_verify",
        "ledger_growth",
        "ingest_csv",
        "planted_faults",
    ):
        measure(alone, {})
    print(table.write().read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
