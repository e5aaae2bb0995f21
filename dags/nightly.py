"""The night as a DAG: one task a step of `fundwatch/night.toml`, every calendar day at 01:30 in the bank's zone.

It collects what senders drop while it waits for the files of the date, catches up date by date after days off, and skips dates
that are published already.
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param
from bank_time import LONG_AGO, RETRY_DELAY, ZONE, end_of_nights, nightly, start_of_nights
from fundwatch_job import BOOKS, FilesArrived, FundwatchJob

STEPS = tomllib.loads((Path(__file__).parent.parent / "fundwatch" / "night.toml").read_text(encoding="utf-8"))["step"]

with DAG(
    dag_id="fundwatch_nightly",
    description="Reconcile the books of a business date and publish what was found",
    schedule=nightly(),
    start_date=start_of_nights() or LONG_AGO,
    end_date=end_of_nights(),
    catchup=True,
    max_active_runs=1,
    params={
        "business_date": Param(None, type=["null", "string"], format="date", description="business date; empty = yesterday"),
    },
    default_args={"retries": 2, "retry_delay": RETRY_DELAY, "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    wait = FilesArrived(
        task_id="wait_for_files",
        arguments=["files", "wait", "--to", "{business_date}", "--collect"],
        zone=ZONE,
        poke_interval=60,
        timeout=timedelta(days=7),
    )
    previous = FundwatchJob(
        task_id="open_run",
        arguments=["run", "open", "--to", "{business_date}"],
        zone=ZONE,
        pool=BOOKS,
        execution_timeout=timedelta(hours=3),
    )
    wait >> previous
    for step in STEPS:
        arguments = ["run", "publish", "{run_id}"] if step["name"] == "publish" else ["step", step["name"], "--run", "{run_id}"]
        task = FundwatchJob(
            task_id=step["name"],
            arguments=arguments,
            zone=ZONE,
            pool=BOOKS,
            execution_timeout=timedelta(hours=2),
            # a retried publish that had committed before it was killed says "skipped"; what follows must still run
            trigger_rule="none_failed" if step.get("after_publish") else "all_success",
        )
        previous >> task
        # what follows the publish hangs on it alone: one such step's failure keeps no other
        previous = previous if step.get("after_publish") else task
