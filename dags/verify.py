"""The whole ledger verified, every Sunday at 14:00: every night looks at what came since the newest anchor only."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from bank_time import LONG_AGO, ZONE, at, scheduled_since
from fundwatch_job import FundwatchJob

with DAG(
    dag_id="fundwatch_verify",
    description="Verify the whole ledger against its movements, chains and anchors",
    schedule=at("0 14 * * 0"),
    start_date=scheduled_since() or LONG_AGO,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    FundwatchJob(
        task_id="verify",
        arguments=["ledger", "verify"],
        zone=ZONE,
        execution_timeout=timedelta(hours=10),
    )
