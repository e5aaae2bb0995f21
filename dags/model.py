"""A new scorecard, proposed: on the 2nd of every month at noon, or by hand. A person approves it before it scores anybody."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from bank_time import LONG_AGO, ZONE, at, end_of_nights, scheduled_since
from fundwatch_job import FundwatchJob

with DAG(
    dag_id="fundwatch_model",
    description="Train a scorecard on mature outcomes and propose it",
    schedule=at("0 12 2 * *"),
    start_date=scheduled_since() or LONG_AGO,
    end_date=end_of_nights(),
    catchup=False,
    max_active_runs=1,
    params={
        "business_date": Param(
            None, type=["null", "string"], format="date", description="last business date of the training data; empty = yesterday"
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    FundwatchJob(
        task_id="train",
        arguments=["model", "train", "--to", "{business_date}"],
        zone=ZONE,
        execution_timeout=timedelta(hours=6),
    )
