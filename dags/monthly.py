"""The monthly reports, on the 5th working day: asked every calendar day at 06:30, the command itself knows the calendar."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from bank_time import LONG_AGO, ZONE, at, end_of_nights, scheduled_since
from fundwatch_job import FundwatchJob

with DAG(
    dag_id="fundwatch_monthly",
    description="Build and sign the reports of the month before, on the 5th working day",
    schedule=at("30 6 * * *"),
    start_date=scheduled_since() or LONG_AGO,
    end_date=end_of_nights(),
    catchup=scheduled_since() is not None,
    max_active_runs=1,
    params={
        "business_date": Param(None, type=["null", "string"], format="date", description="the day to ask for; empty = today"),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "depends_on_past": False},
    tags=["fundwatch"],
    doc_md=__doc__,
) as dag:
    FundwatchJob(
        task_id="report_monthly",
        arguments=["report", "monthly", "--on", "{calendar_date}"],
        zone=ZONE,
        execution_timeout=timedelta(hours=3),
    )
