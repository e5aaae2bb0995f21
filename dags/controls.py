"""Controls that a second person approved (re-run a platform, go on without a file …), carried out every ten minutes.

Never between two steps of a night: it takes the slot of the books, and waits for the next time when a night is under way.
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG
from bank_time import LONG_AGO, RETRY_DELAY, ZONE, at
from fundwatch_job import BOOKS, FundwatchJob

STEPS = tomllib.loads((Path(__file__).parent.parent / "fundwatch" / "night.toml").read_text(encoding="utf-8"))["step"]

with DAG(
    dag_id="fundwatch_controls",
    description="Carry out approved controls",
    schedule=at("*/10 * * * *"),
    start_date=LONG_AGO,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": RETRY_DELAY, "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    FundwatchJob(
        task_id="run_approved",
        arguments=["control", "run-approved"],
        zone=ZONE,
        pool=BOOKS,
        not_within=("fundwatch_nightly", "open_run", STEPS[-1]["name"]),
        execution_timeout=timedelta(hours=3),
    )
