"""The one operator: runs the project's command line in its own environment and maps its exit codes.

Only Airflow is imported here; the jobs live in another environment (architecture section 11).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

NO_RETRY = (2, 3, 10)


def business_date(context: Mapping[str, Any], zone: str) -> date:
    """The business date of a DAG run: its parameter or partition key, else the day before the run in the bank's zone.

    The night that starts at 01:30 bank time on the 1st closes the books of the day before.
    """
    params = context.get("params") or {}
    dag_run = context["dag_run"]
    given = params.get("business_date") or getattr(dag_run, "partition_key", None)
    if given:
        return date.fromisoformat(str(given))
    moment = dag_run.run_after if dag_run.logical_date is None else dag_run.logical_date
    return moment.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


def outcome(exit_code: int, last_line: str) -> dict[str, Any]:
    """Result of a finished command, or the Airflow exception that its exit code stands for.

    0 done (skips when it says ``"skipped": true``) · 2, 3, 10 fail without retry · everything else is retried.
    """
    try:
        result = json.loads(last_line)
    except ValueError:
        result = {}
    if not isinstance(result, dict):
        result = {}
    if exit_code == 0:
        if result.get("skipped"):
            raise AirflowSkipException(last_line)
        return result
    message = f"exit code {exit_code}: {last_line or 'see the log above'}"
    if exit_code in NO_RETRY:
        raise AirflowFailException(message)
    raise AirflowException(message)


class FundwatchJob(BaseOperator):
    """Run ``fundwatch ARGUMENTS --json``; `{business_date}` and `{run_id}` in the arguments are filled in.

    The run id comes from the task `open_run`; the JSON object of the last line of stdout becomes the task's XCom.
    """

    ui_color = "#e8f0fe"

    def __init__(self, *, arguments: Sequence[str], zone: str, **options: Any) -> None:
        super().__init__(**options)
        self.arguments = list(arguments)
        self.zone = zone
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Start the command in a group of its own, stream its log, and judge its exit code."""
        values = {"business_date": business_date(context, self.zone).isoformat()}
        if any("{run_id}" in argument for argument in self.arguments):
            opened = context["ti"].xcom_pull(task_ids="open_run")
            if not opened:
                raise AirflowSkipException("no run was opened: nothing to do")
            values["run_id"] = str(opened["run_id"])
        command = [os.environ["FUNDWATCH_CLI"], *(argument.format(**values) for argument in self.arguments), "--json"]
        self.log.info("running %s", " ".join(command))
        self._process = subprocess.Popen(
            command,
            env=self._environment(context),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        last_line = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.rstrip()
            last_line = text if text.startswith("{") else last_line or text
            self.log.info(text)
        return outcome(self._process.wait(), last_line)

    def on_kill(self) -> None:
        """Stop the command and its children when the task is stopped."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    @staticmethod
    def _environment(context: Any) -> dict[str, str]:
        """The command's environment: ours without Airflow's Python, so that Spark's workers are the project's."""
        own = ("AIRFLOW", "VIRTUAL_ENV", "PYTHON", "PYSPARK")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        folder = str(Path(os.environ["FUNDWATCH_CLI"]).parent)
        environment["PATH"] = folder + os.pathsep + environment.get("PATH", "")
        environment["AIRFLOW_DAG_RUN_ID"] = str(context["run_id"])
        return environment
