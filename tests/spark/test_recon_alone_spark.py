"""The general reconciliation gives the same content on Spark as on DuckDB, with every tier at work."""

from __future__ import annotations

import copy
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recon import alone, on_spark
from recon.spec import parse_spec, read_spec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOLDEN = Path(__file__).parents[1] / "golden" / "recon"


@pytest.mark.parametrize("left_rows_max", [-1, on_spark.LEFT_ROWS_MAX], ids=["all on Spark", "what is left on DuckDB"])
def test_spark_and_duckdb_give_the_same_content(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_rows_max: int
) -> None:
    monkeypatch.setattr(on_spark, "LEFT_ROWS_MAX", left_rows_max)
    kinds = set()
    for world in ("bank", "payouts"):
        spec = read_spec(GOLDEN / world / "spec.yaml")
        kinds |= {tier.kind for tier in [*spec.tiers, *spec.third_tiers]}
        files = {side: [path] for side in ("left", "right") for path in [GOLDEN / world / f"{side}.csv"]}
        on_duckdb = alone.run(spec, files, tmp_path / world / "duckdb", key=GOLDEN / world / "key.csv")
        by_spark = alone.run(spec, files, tmp_path / world / "spark", "spark", key=GOLDEN / world / "key.csv", spark=spark)
        assert by_spark["tables"] == on_duckdb["tables"], world
        assert by_spark["quality"] == on_duckdb["quality"] and by_spark["pairs"] == on_duckdb["pairs"]
    assert kinds == {"key", "business", "group", "subset", "reversal", "score"}


def test_parquet_is_landed_alike_by_arrow_by_duckdb_and_by_spark_where_it_lies(spark: SparkSession, tmp_path: Path) -> None:
    side = {
        "format": "parquet",
        "fields": {
            "reference": {"column": "reference"},
            "amount": {"column": "minor", "type": "amount", "unit": "minor"},
            "currency": {"column": "currency"},
            "date": {"column": "day", "type": "date"},
        },
        "keep": [{"field": "currency", "values": ["CNY", "USD"]}],
    }
    days = [date(2026, 8, 3) + timedelta(days=number % 9) for number in range(900)]
    rows = {
        "reference": [f"R{number}" for number in range(900)],
        "minor": [100 + number % 7 for number in range(900)],
        "currency": ["JPY" if number % 50 == 0 else "CNY" if number % 3 else "USD" for number in range(900)],
        "day": days,
    }
    left = pa.table(rows)
    # gone, changed, repeated in another order of content, and repeated on both sides
    places = [*range(3, 900), 5, 7, 7]
    right = left.take(pa.array(places[::-1]))
    changed = pc.if_else(pc.equal(right["reference"], "R11"), 1, right["minor"])
    right = right.set_column(1, "minor", pc.if_else(pc.equal(right["day"], date(2026, 8, 8)), pc.add(changed, 1), changed))
    left = pa.concat_tables([left, left.slice(7, 1)])
    files = {"left": [tmp_path / "left.parquet"], "right": [tmp_path / "right1.parquet", tmp_path / "right2.parquet"]}
    tiers = [
        {"kind": "key", "name": "reference", "keys": ["reference"], "window": {"before": 0, "after": 0}},
        {"kind": "business", "name": "alike", "keys": ["date"]},
    ]
    content = {"name": "plain", "version": "1", "calendar": "CN", "left": side, "right": side, "tiers": tiers}
    by_arrow = copy.deepcopy(content)
    for name in ("left", "right"):
        by_arrow[name]["fields"]["reference"]["normalise"] = ["trim"]
    # then with a reference missing and an amount too large, for which Arrow has to speak, and with ids to be escaped
    odd = pa.table({"reference": [None, "BIG"], "minor": [5, 2 * 10**15], "currency": ["CNY", "CNY"], "day": days[:2]})
    worlds = {
        "sound": left,
        "odd": pa.concat_tables([left, odd]),
        "marked": left.set_column(0, "reference", pc.if_else(pc.equal(left["reference"], "R1"), "R;1", left["reference"])),
    }
    for world, table in worlds.items():
        pq.write_table(table.cast(left.schema), files["left"][0])
        pq.write_table(right.slice(0, 400), files["right"][0])
        pq.write_table(right.slice(400), files["right"][1])
        expected = alone.run(parse_spec(by_arrow), files, tmp_path / "arrow", "duckdb")
        # what Spark does not read where it lies is staged as in the test above
        for engine in ("duckdb", "spark") if world == "sound" else ("duckdb",):
            found = alone.run(parse_spec(content), files, tmp_path / engine, engine, spark=spark)
            for part in ("tables", "pairs", "sides", "balanced"):
                assert found[part] == expected[part], (world, engine, part)
            assert (tmp_path / engine / "breaks.csv").read_bytes() == (tmp_path / "arrow" / "breaks.csv").read_bytes()
        assert {row["kind"] for row in expected["pairs"]["left-right"]["kinds"]} >= {"AMOUNT", "DUPLICATE_RIGHT", "AMBIGUOUS"}
        assert expected["sides"]["right"]["left_out"] > 0 and (expected["sides"]["left"]["quarantined"] == 1) == (world == "odd")
