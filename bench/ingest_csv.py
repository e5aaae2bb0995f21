"""Landing delimited statements: MB/s a core of `fundwatch ingest` on 1 GB of CSV → bench/results/ingest_csv.json.

    python -m bench.ingest_csv [MEGABYTES]

Two files of made-up rows: UTF-8 in yuan with a running balance of many accounts (layout `plain_csv`), and GB18030 in fen with
header, trailer, running balance and a reference that must be unique (layout `cn_bank_daily`). Measured is the whole command in a
process of its own, hash, control and Parquet included: its CPU seconds over all threads, so that MB/s is that of one core, and
its peak memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb

from bench import result
from fundwatch.settings import load

MEASUREMENT = "ingest_csv"
Process = get_context("spawn").Process
MEGABYTES = 1000
ACCOUNTS = 500
_ROW_BYTES = {"plain_csv": 118, "cn_bank_daily": 106}
_NAMES = "交易日期|交易时间|借贷标志|交易金额|余额|对方户名|对方账号|流水号|摘要"
# the balance of an account is the sum of its amounts so far, in the order of the file
_PLAIN = f"""
SELECT 'ACC-' || a AS account, 'CNY' AS currency, DATE '2026-08-01' + CAST(i % 28 AS INTEGER) AS book_date,
  DATE '2026-08-01' + CAST(i % 28 AS INTEGER) AS value_date, m / 100.0::DECIMAL(18,2) AS amount,
  (sum(m) OVER (PARTITION BY a ORDER BY i) / 100.0)::DECIMAL(18,2) AS balance,
  'REF' || i AS bank_ref, 'R-' || (i * 7) AS cust_ref, 'Counterparty ' || (i % 9973) AS counterparty_name,
  '62220000' || (i % 99991) AS counterparty_acct, 'loan ' || (i % 4001) || ' instalment' AS remittance
FROM (SELECT i, i % {ACCOUNTS} AS a, CAST(hash(i) % 2000001 AS BIGINT) - 1000000 AS m FROM range(?) t(i)) ORDER BY i"""
_BANK = """
SELECT '20260831', '20260831' || strftime(TIMESTAMP '2026-08-31 00:00:00' + to_seconds(CAST(i % 86400 AS BIGINT)), '%H%M%S'),
  CASE WHEN m < 0 THEN '借' ELSE '贷' END, abs(m), sum(m) OVER (ORDER BY i), '客户' || (i % 9973), '62220000' || (i % 99991),
  'S' || i, '借款项目' || (i % 4001) || '还款'
FROM (SELECT i, CAST(hash(i) % 2000001 AS BIGINT) - 1000000 AS m FROM range(?) t(i)) ORDER BY i"""


def plain(path: Path, rows: int) -> None:
    """A file of the layout `plain_csv`."""
    with duckdb.connect(config={"threads": 1}) as engine:
        engine.execute(f"COPY ({_PLAIN.replace('?', str(rows))}) TO '{path}' (FORMAT csv, HEADER true)")


def bank(path: Path, rows: int) -> None:
    """A file of the layout `cn_bank_daily`."""
    body = path.with_suffix(".body")
    with duckdb.connect(config={"threads": 1}) as engine:
        engine.execute(f"CREATE TABLE rows AS {_BANK.replace('?', str(rows))}")
        engine.execute(f"COPY rows TO '{body}' (FORMAT csv, HEADER false, DELIMITER '|', QUOTE '')")
        names = [row[0] for row in engine.execute("DESCRIBE rows").fetchall()]
        credit, debit = engine.execute(
            f"""SELECT sum("{names[3]}") FILTER ("{names[2]}" = '贷'), sum("{names[3]}") FILTER ("{names[2]}" = '借') FROM rows"""
        ).fetchall()[0]
    with path.open("wb") as out, body.open(encoding="utf-8") as lines:
        out.write(f"H|SPECIAL-1|CNY|20260831|0|{credit - debit}\n{_NAMES}\n".encode("gb18030"))
        while chunk := lines.read(1 << 22):
            out.write(chunk.encode("gb18030"))
        out.write(f"T|{rows}|{credit}|{debit}\n".encode("gb18030"))
    body.unlink()


def measured(path: Path, layout: str, out: Path) -> dict[str, Any]:
    """One run of the command; CPU and memory are those of the process."""
    command = [sys.executable, "-m", "fundwatch.cli", "ingest", str(path), "--format", layout, "--out", str(out)]
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{layout}: the file did not land")
    verdict = json.loads(next(out.glob("*/verdict.json")).read_text(encoding="utf-8"))
    cpu = used.ru_utime + used.ru_stime
    megabytes = path.stat().st_size / 1e6
    return {
        "megabytes": round(megabytes),
        "rows": verdict["entry_cnt"],
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "mb_per_core_s": round(megabytes / cpu, 1),
        "peak_rss_mb": round(used.ru_maxrss / 1000),
    }


def main(megabytes: int) -> None:
    """Make, land and measure both files, one after the other."""
    figures = {}
    for layout, make in (("plain_csv", plain), ("cn_bank_daily", bank)):
        with tempfile.TemporaryDirectory(prefix="fundwatch-bench-") as folder:
            path = Path(folder) / f"{layout}.csv"
            # in a process of its own: a child's peak memory counts from what its parent held
            made = Process(target=make, args=(path, megabytes * 1_000_000 // _ROW_BYTES[layout]))
            made.start()
            made.join()
            figures[layout] = measured(path, layout, Path(folder) / "out")
            print(layout, figures[layout], flush=True)
    result.write(MEASUREMENT, {"files": figures, "goal_mb_per_core_s": 40}, load())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES)
