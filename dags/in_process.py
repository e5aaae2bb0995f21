"""Run one DAG in this process, without a scheduler: `python dags/in_process.py DAG_ID BUSINESS_DATE`.

Uses the metadata database of `AIRFLOW_HOME` (an own SQLite file); never one that a scheduler is using. Exit code 0 when
the DAG run succeeded, 5 when it failed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import BaseSensorOperator


def main(dag_id: str, business_date: str) -> int:
    """Run the DAG and print one JSON object: its state and the state and seconds of each task."""
    folder = Path(__file__).parent
    sys.path.insert(0, str(folder))
    bag = DagBag(str(folder))
    if bag.import_errors:
        sys.stderr.write(f"{bag.import_errors}\n")
        return 5
    dag = bag.dags[dag_id]
    for task in dag.tasks:
        if isinstance(task, BaseSensorOperator):
            task.timeout = 0  # nobody delivers anything meanwhile: what is not there now fails the run
    run = dag.test(run_conf={"business_date": business_date})
    tasks = {
        task.task_id: {"state": str(task.state), "seconds": round(task.duration or 0.0, 2)} for task in run.get_task_instances()
    }
    sys.stdout.write(json.dumps({"dag": dag_id, "state": str(run.state), "tasks": tasks}) + "\n")
    return 0 if str(run.state) == "success" else 5


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
