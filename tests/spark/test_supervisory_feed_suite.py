"""The supervisory feed's suite on Spark: the same verdicts as on DuckDB (tests/unit/test_supervisory_feed.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from expectations.suites import evaluate
from ingest.statements import feed
from tests.unit.test_supervisory_feed import Feed, landed, sound

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def failed(spark: SparkSession, rows: Feed, folder: Path) -> set[str]:
    frames = {}
    for kind, entity in feed.entities().items():
        path = folder / f"{entity.name}.parquet"
        pq.write_table(landed(kind, rows[kind], folder), path)
        frames[entity.name] = spark.read.parquet(f"file:{path}")
    return {one.check.name for one in evaluate(spark, "supervisory_feed", frames).results if one.offending_rows}


def test_a_sound_feed_passes_and_faults_are_found_on_spark(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    (tmp_path / "faulty").mkdir()
    assert failed(spark, sound(), tmp_path / "sound") == set()
    rows = sound()
    rows[81][1]["repayTime"] = "2026-11-01 00:00:00"
    rows[4][2]["transMoney"] = "0"
    rows[84].clear()
    rows[88][0]["sourceFinancingCode"] = "Z"
    assert failed(spark, rows, tmp_path / "faulty") == {
        "the_months_of_a_plan_follow_each_other",
        "a_flow_moves_money",
        "a_transfer_has_a_status_and_its_claim_exists",
        "a_product_pool_holds_what_exists",
    }
