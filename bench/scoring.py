"""Scoring: rows/s of the compiled score expression in Spark and, the same text, in DuckDB → bench/results/scoring.json.

    python -m bench.scoring [ROWS]

Both engines read the same Parquet file of made-up features and write nothing but a checksum: rows, sum of points, sum of pd. The
model has ten features with six bins each, as large as a model may be; it is built, not trained, so that only scoring is measured.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import result
from fundwatch.settings import load
from models.artefact import SCHEMA, Artefact, sealed
from models.outcomes import DEFINITION
from models.scaling import BANDS, Scaling, woe
from models.sql import score_select

MEASUREMENT = "scoring"
FEATURES, EDGES, REPEATS = 10, 4, 3
INTERCEPT, COEFFICIENT = 2.2, 0.5


def model() -> Artefact:
    """A model of `FEATURES` numbers, each with a bin for missing and five ranges of falling evidence."""
    scaling = Scaling()
    counts = [(30, 10), (350, 10), (250, 15), (170, 20), (120, 25), (80, 20)]
    goods, bads = (sum(column) for column in zip(*counts, strict=True))
    bins = [_bin(good, bad, woe(good, bad, goods, bads, len(counts)), scaling) for good, bad in counts]
    features = [_feature(number, bins) for number in range(FEATURES)]
    fitted = {"rows": goods + bads, "goods": goods, "bads": bads}
    return sealed(
        {
            "schema": SCHEMA,
            "definition_of_bad": DEFINITION.to_json(),
            "scaling": {**vars(scaling), "factor": scaling.factor, "offset": scaling.offset},
            "intercept": INTERCEPT,
            "bands": [{"band": name, "least_points": least} for name, least in BANDS],
            "features": features,
            "left_out": [],
            "training": {"trained_to": "2026-08-31", "outcomes": {}, "data_sha256": "0" * 64, "fitted": fitted},
            "metrics": {},
            "versions": {},
        }
    )


def _bin(good: int, bad: int, evidence: float, scaling: Scaling) -> dict[str, Any]:
    contribution = COEFFICIENT * evidence
    points = scaling.attribute_points(contribution, INTERCEPT, FEATURES)
    return {"good": good, "bad": bad, "woe": evidence, "contribution": contribution, "points": points, "policy": "SCORED"}


def _feature(number: int, bins: list[dict[str, Any]]) -> dict[str, Any]:
    named = {"code": f"feature_{number}", "reason_code": f"FEATURE_{number}", "text": {"zh": "", "en": ""}}
    shape = {"kind": "NUMBER", "scale": 0, "edges": [str(edge * 100) for edge in range(1, EDGES + 1)], "groups": []}
    worth = {"information_value": 0.1, "stability_psi": 0.0, "order_kept": 1.0}
    return named | shape | worth | {"coefficient": COEFFICIENT, "bins": bins}


def write_rows(path: Path, rows: int) -> None:
    """Features of `rows` borrowers as Parquet: bigints, one in ten missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = random.Random(7)
    pool = [None if numbers.random() < 0.1 else numbers.randrange(600) for _ in range(10_007)]
    columns = {}
    for number in range(FEATURES):
        start = numbers.randrange(len(pool))
        column = (pool[start:] + pool[:start]) * (rows // len(pool) + 1)
        columns[f"feature_{number}"] = pa.array(column[:rows], pa.int64())
    pq.write_table(pa.table(columns), path, row_group_size=100_000, compression="zstd")


def best(rows: int, work: Callable[[], tuple[int, int, float]]) -> tuple[dict[str, float], tuple[int, int, float]]:
    """Fastest of `REPEATS` runs after one to warm up, and what it found."""
    found, seconds = work(), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - started)
    return {"seconds": round(min(seconds), 3), "rows_per_second": round(rows / min(seconds))}, found


def main(rows: int) -> None:
    """Score the same rows with both engines, compare what they found, keep the figures."""
    import duckdb

    from lake.session import spark_session

    settings = replace(load(), spark_memory="2g")
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-bench-scoring-"))
    path = folder / "features.parquet"
    checksum = "select count(*), sum(points), sum(pd), sum(length(reason_1)) from ({}) scored"
    try:
        write_rows(path, rows)
        spark = spark_session(settings, "bench scoring")
        text = checksum.format(score_select(model(), "observed", ()))
        spark.read.parquet(str(path)).createOrReplaceTempView("observed")
        spark_figures, spark_found = best(rows, lambda: tuple(spark.sql(text).collect()[0])[:3])
        spark.stop()
        with duckdb.connect() as database:
            database.execute(f"set threads to {os.cpu_count()}")
            database.execute(f"create view observed as select * from read_parquet('{path}')")
            duck_figures, duck_found = best(rows, lambda: database.execute(text).fetchall()[0][:3])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if spark_found[:2] != duck_found[:2] or abs(spark_found[2] - duck_found[2]) > 1e-6 * rows:
        sys.exit(f"the engines disagree: Spark {spark_found}, DuckDB {duck_found}")
    figures = {"rows": rows, "features": FEATURES, "bins": EDGES + 2, "spark": spark_figures, "duckdb": duck_figures}
    print(figures, flush=True)
    result.write(MEASUREMENT, figures, settings)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
