"""Two sets of records reconciled by a spec, against a DuckDB query written by hand that does the same.

`python -m bench.recon_alone [ROWS ...]` makes two Parquet files of ROWS records each (20-character keys; 1 in 1,000 missing,
1 in 1,000 with another amount, 1 in 10,000 twice), reconciles them both ways, each in a process of its own, and compares the
answers, the content hashes and the CPU seconds. Spark is measured from its start and, for a million rows, with its session up. It
also times the command from the shell on two CSV files of 1,000 rows.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from bench import result
from fundwatch.settings import PROJECT, load

NAME = "recon_alone"
ROWS = (1_000_000,)
SESSION_ROWS_MAX = 1_000_000
SPEC = """name: bench
version: "1"
calendar: GENERIC
left: &side
  format: parquet
  fields:
    order_no: {column: order_no}
    amount: {column: amount_minor, type: amount, unit: minor}
    currency: {column: currency}
    date: {column: day, type: date}
right: *side
tiers:
  - {kind: key, name: order, keys: [order_no]}
"""
_SIDE = """copy (select 'ORD' || lpad(cast(hash(i) % 100000000000000000 as varchar), 17, '0') as order_no, {amount} as
      amount_minor, 'CNY' as currency,
    date '2026-08-03' + cast(i % 5 as int) as day from range({rows}) as t(i) where {where} {again}) to '{path}' (format
      parquet)"""
_BY_HAND = """
create table l as select order_no, amount_minor, currency, day from '{left}';
create table r as select order_no, amount_minor, currency, day from '{right}';
create table dl as select order_no from l group by 1 having count(*) > 1;
create table dr as select order_no from r group by 1 having count(*) > 1;
create table j as select coalesce(l.order_no, r.order_no) as order_no, l.amount_minor as left_minor, r.amount_minor as
  right_minor,
    coalesce(l.currency, r.currency) as currency, least(l.day, r.day) as day, l.currency as left_currency, r.currency as
      right_currency,
    case when l.order_no is null then 'MISSING_LEFT' when r.order_no is null then 'MISSING_RIGHT'
      when l.currency <> r.currency then 'CURRENCY' when l.amount_minor <> r.amount_minor then 'AMOUNT' else 'MATCH' end as kind
  from (from l where order_no not in (from dl) and order_no not in (from dr)) as l
  full join (from r where order_no not in (from dl) and order_no not in (from dr)) as r on l.order_no = r.order_no;
create table d as select order_no, count(*) filter (side = 'L') as lefts, count(*) filter (side = 'R') as rights,
    sum(case side when 'L' then amount_minor else -amount_minor end) as effect, min(day) as day
  from (select 'L' as side, * from l union all select 'R', * from r) where order_no in (from dl) or order_no in (from dr) group
    by 1;
copy (select 'left-right' as pair, 'L:' || order_no as group_id, 'CONFIRMED' as state, 'order' as tier, 100 as score, 1 as
  left_count, 1 as right_count, order_no as left_ids, order_no as right_ids, left_minor, right_minor, currency,
  'order_no equal; currency equal; amount equal' as reasons from j where kind = 'MATCH')
  to '{out}/matches.parquet' (format parquet, compression zstd);
copy (select 'left-right' as pair, 'L:' || order_no as group_id, 'CONFIRMED' as state, 'order' as tier, 100 as score, 1 as
  left_count, 1 as right_count, order_no as left_ids, order_no as right_ids, left_minor, right_minor, currency,
  'order_no equal; currency equal; amount equal' as reasons from j where kind = 'MATCH')
  to '{out}/matches.csv' (format csv, header);
create table b as select md5(order_no) as break_id, kind, order_no, coalesce(left_minor, 0) - coalesce(right_minor, 0) as
  effect_minor,
    day, left_minor, right_minor, left_currency, right_currency from j where kind <> 'MATCH'
  union all select md5(order_no), case when lefts > 1 and rights > 1 then 'AMBIGUOUS' when lefts > 1 then 'DUPLICATE_LEFT'
    else 'DUPLICATE_RIGHT' end, order_no, effect, day, null, null, null, null from d;
copy b to '{out}/breaks.parquet' (format parquet, compression zstd);
copy b to '{out}/breaks.csv' (format csv, header);
create table e as select break_id, 'order_no' as signal, order_no as left_value, order_no as right_value from b
  union all select break_id, 'amount', cast(left_minor as varchar), cast(right_minor as varchar) from b
  union all select break_id, 'currency', left_currency, right_currency from b;
copy e to '{out}/explanations.parquet' (format parquet, compression zstd);
copy e to '{out}/explanations.csv' (format csv, header);
"""


def make(folder: Path, rows: int) -> tuple[Path, Path]:
    """Two sides of so many records."""
    left, right = folder / "left.parquet", folder / "right.parquet"
    with duckdb.connect() as connection:
        connection.execute(_SIDE.format(amount="100 + i % 99991", rows=rows, where="i % 1000 <> 7", again="", path=left))
        again = f"""union all select 'ORD' || lpad(cast(hash(i) % 100000000000000000 as varchar), 17, '0'), 100 + i % 99991,
              'CNY',
          date '2026-08-03' + cast(i % 5 as int) from range({rows}) as t(i) where i % 10000 = 11"""
        amount = "100 + i % 99991 + case when i % 1000 = 9 then 1 else 0 end"
        connection.execute(_SIDE.format(amount=amount, rows=rows, where="i % 1000 <> 8", again=again, path=right))
    return left, right


def by_hand(left: Path, right: Path, out: Path) -> None:
    """The same answer by a query that knows these two files and nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"preserve_insertion_order": "false"}) as connection:
        connection.execute(_BY_HAND.format(left=left, right=right, out=out))


def by_spec(left: Path, right: Path, out: Path, engine: str) -> None:
    """The general engine."""
    from recon import alone
    from recon.spec import read_spec

    alone.run(read_spec(left.parent / "spec.yaml"), {"left": [left], "right": [right]}, out, engine)


def _child(way: str, left: Path, right: Path, out: Path) -> dict[str, float]:
    """CPU and wall seconds and peak memory of one way in a process of its own, start, imports and Spark's JVM included."""
    begin = time.perf_counter()
    arguments = f"(Path({str(left)!r}), Path({str(right)!r}), Path({str(out)!r})"
    arguments += f", {way.partition(':')[2]!r})" if ":" in way else ")"
    code = f"from pathlib import Path; from bench import recon_alone as b; b.{way.partition(':')[0]}{arguments}; print(b.spent())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True, env=_environment()
    )
    cpu, memory = map(float, done.stdout.split()[-2:])
    return {"wall_s": round(time.perf_counter() - begin, 2), "cpu_s": round(cpu, 2), "memory_gb": round(memory, 2)}


def spent() -> str:
    """CPU seconds and sum of the peaks of memory in GB of this process and those it started, as text."""
    parents, ticks, peaks = {}, {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            status = (folder / "status").read_text()
        except OSError:
            continue
        number = int(folder.name)
        parents[number], ticks[number] = int(fields[1]), sum(map(int, fields[11:15]))
        peaks[number] = int(re.search(r"VmHWM:\s+(\d+)", status + "VmHWM: 0")[1])  # type: ignore[index]
    ours = [os.getpid()]
    for parent in ours:
        ours += [number for number, above in parents.items() if above == parent]
    cpu = sum(ticks[number] for number in ours) / os.sysconf("SC_CLK_TCK")
    return f"{cpu} {sum(peaks[number] for number in ours) / 2**20}"


def _environment() -> dict[str, str]:
    """The package's bytecode is written once at installation; a run must not compile it again."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def on_a_session(left: Path, right: Path, out: Path) -> None:
    """Spark with the session up: the files twice, the seconds of the second run are printed before the rest."""
    from recon import alone, on_spark
    from recon.spec import read_spec

    session = on_spark.session()
    try:
        for turn in range(2):
            begin = time.perf_counter()
            files = {"left": [left], "right": [right]}
            alone.run(read_spec(left.parent / "spec.yaml"), files, out / str(turn), "spark", spark=session)
            print(round(time.perf_counter() - begin, 2), spent())
    finally:
        session.stop()


def _with_session_up(left: Path, right: Path, out: Path) -> dict[str, float]:
    code = "from pathlib import Path; from bench import recon_alone as b; b.on_a_session"
    code += f"(Path({str(left)!r}), Path({str(right)!r}), Path({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True, env=_environment()
    )
    (_, cold, _), (wall, both, memory) = (list(map(float, line.split())) for line in done.stdout.splitlines()[-2:])
    return {"wall_s": wall, "cpu_s": round(both - cold, 2), "memory_gb": round(memory, 2)}


def answer(out: Path) -> list[tuple[str, int]]:
    """Matches and breaks by kind, to compare two ways."""
    with duckdb.connect() as connection:
        found: list[tuple[str, int]] = connection.execute(
            f"""select kind, count(*) from '{out}/breaks.parquet' group by 1
              union all select 'MATCH', count(*) from '{out}/matches.parquet' order by 1"""
        ).fetchall()
    return found


def _content(out: Path) -> str:
    return str(json.loads((out / "summary.json").read_text(encoding="utf-8"))["result_sha256"])


def compared(rows: int, engines: tuple[str, ...] = ("duckdb", "spark")) -> dict[str, Any]:
    """One size: the query by hand and the general engines on the same files."""
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-recon-"))
    try:
        left, right = make(folder, rows)
        (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
        figures: dict[str, Any] = {"rows_a_side": rows, "by_hand": _child("by_hand", left, right, folder / "hand")}
        contents: set[str] = set()
        for engine in engines:
            figures[engine] = _child(f"by_spec:{engine}", left, right, folder / engine)
            if answer(folder / engine) != answer(folder / "hand"):
                raise SystemExit(f"{engine} and the query by hand differ: {answer(folder / engine)} {answer(folder / 'hand')}")
            contents.add(_content(folder / engine))
            if len(contents) > 1:
                raise SystemExit(f"{' and '.join(engines)} give another content")
            figures[f"{engine}_to_hand_cpu"] = round(figures[engine]["cpu_s"] / figures["by_hand"]["cpu_s"], 2)
        if rows <= SESSION_ROWS_MAX and "spark" in engines:
            figures["spark_session_up"] = _with_session_up(left, right, folder / "session")
        return figures | {"answer": dict(answer(folder / "hand"))}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def from_the_shell() -> dict[str, float]:
    """The command on two CSV files of 1,000 rows: the quickest of three, since other work slows any single one."""
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-recon-"))
    try:
        for side in ("left", "right"):
            lines = [f"ORD{number:017d},{number}.{number % 100:02d},CNY,2026-08-03" for number in range(1000) if number % 100]
            (folder / f"{side}.csv").write_text("\n".join(["order_no,amount_minor,currency,day", *lines]), encoding="utf-8")
        (folder / "spec.yaml").write_text(
            SPEC.replace("format: parquet", "format: csv").replace(", unit: minor", ""), encoding="utf-8"
        )
        command = [str(Path(sys.executable).parent / "fundwatch"), "recon", "run", "--spec", "spec.yaml", "--out", "out"]
        runs = []
        for _ in range(3):
            before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [*command, "--left", "left.csv", "--right", "right.csv"],
                cwd=folder,
                check=True,
                capture_output=True,
                env=_environment(),
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            runs.append((time.perf_counter() - begin, cpu))
        wall, cpu = min(runs)
        return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure the sizes of the command line and write the result."""
    sizes = [int(text) for text in sys.argv[1:]] or list(ROWS)
    figures = {
        "what": "two sets of records reconciled by a spec, against a query written by hand; CPU seconds of whole processes",
        "shell_two_files_of_1000_rows": from_the_shell(),
        "sizes": [compared(rows) for rows in sizes],
    }
    print(result.write(NAME, figures, load()).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
