"""What is kept no longer than its time, every Sunday at 12:00, when no night runs."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from bank_time import LONG_AGO, ZONE, at, scheduled_since
from fundwatch_job import BOOKS, FundwatchJob

with DAG(
    dag_id="fundwatch_retention",
    description="Remove what has been kept for its time",
    schedule=at("0 12 * * 0"),
    start_date=scheduled_since() or LONG_AGO,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    FundwatchJob(
        task_id="apply",
        arguments=["retention", "apply"],
        zone=ZONE,
        pool=BOOKS,
        execution_timeout=timedelta(hours=6),
    )
