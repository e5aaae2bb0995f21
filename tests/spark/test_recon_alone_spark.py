"""The general reconciliation gives the same content on Spark as on DuckDB, with every tier at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recon import alone
from recon.spec import read_spec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOLDEN = Path(__file__).parents[1] / "golden" / "recon"


def test_spark_and_duckdb_give_the_same_content(spark: SparkSession, tmp_path: Path) -> None:
    kinds = set()
    for world in ("bank", "payouts"):
        spec = read_spec(GOLDEN / world / "spec.yaml")
        kinds |= {tier.kind for tier in [*spec.tiers, *spec.third_tiers]}
        files = {side: [path] for side in ("left", "right") for path in [GOLDEN / world / f"{side}.csv"]}
        on_duckdb = alone.run(spec, files, tmp_path / world / "duckdb", key=GOLDEN / world / "key.csv")
        on_spark = alone.run(spec, files, tmp_path / world / "spark", "spark", key=GOLDEN / world / "key.csv", spark=spark)
        assert on_spark["tables"] == on_duckdb["tables"], world
        assert on_spark["quality"] == on_duckdb["quality"] and on_spark["pairs"] == on_duckdb["pairs"]
    assert kinds == {"key", "business", "group", "subset", "reversal", "score"}
