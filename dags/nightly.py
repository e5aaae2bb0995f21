"""The night as a DAG: one task a step of `fundwatch/night.toml`, every calendar day at 01:30 in the bank's zone."""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.sdk import DAG, Param
from fundwatch_job import FundwatchJob

ZONE = os.environ.get("FUNDWATCH_ZONE", "Asia/Shanghai")
STEPS = tomllib.loads((Path(__file__).parent.parent / "fundwatch" / "night.toml").read_text(encoding="utf-8"))["step"]

with DAG(
    dag_id="fundwatch_nightly",
    description="Reconcile the books of a business date and publish what was found",
    schedule="30 1 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz=ZONE),
    catchup=False,
    max_active_runs=1,
    params={
        "business_date": Param(None, type=["null", "string"], format="date", description="business date; empty = yesterday"),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    previous = FundwatchJob(
        task_id="open_run", arguments=["run", "open", "--to", "{business_date}"], zone=ZONE, execution_timeout=timedelta(hours=3)
    )
    for step in STEPS:
        arguments = ["run", "publish", "{run_id}"] if step["name"] == "publish" else ["step", step["name"], "--run", "{run_id}"]
        task = FundwatchJob(
            task_id=step["name"],
            arguments=arguments,
            zone=ZONE,
            execution_timeout=timedelta(hours=2),
            # a retried publish that had committed before it was killed says "skipped"; what follows must still run
            trigger_rule="none_failed" if step.get("after_publish") else "all_success",
        )
        previous >> task
        previous = task
