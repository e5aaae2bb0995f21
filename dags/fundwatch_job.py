"""The one operator: runs the project's command line in its own environment and maps its exit codes.

Only Airflow is imported here; the jobs live in another environment (architecture section 11).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

NO_RETRY = (2, 3, 10)
SERVICE_MISSING = 4
BOOKS = "fundwatch_books"
"""Pool of one slot for whatever changes what is published; `fundwatch up --airflow` makes it."""
FINAL_STATES = ["success", "failed", "skipped", "upstream_failed", "removed"]
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""The kernel then kills a command when its task is killed, so that no retry meets a ghost of it."""


def moment(context: Mapping[str, Any]) -> datetime:
    """When a DAG run is due: its scheduled time, or the time of the request when a person asked."""
    dag_run = context["dag_run"]
    due: datetime = dag_run.run_after if dag_run.logical_date is None else dag_run.logical_date
    return due


def business_date(context: Mapping[str, Any], zone: str) -> date:
    """The business date of a DAG run: its parameter or partition key, else the day before the run in the bank's zone.

    The night that starts at 01:30 bank time on the 1st closes the books of the day before.
    """
    return _given(context) or moment(context).astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


def calendar_date(context: Mapping[str, Any], zone: str) -> date:
    """The day of a DAG run in the bank's zone (or the date a person gave): what working days are counted on."""
    return _given(context) or moment(context).astimezone(ZoneInfo(zone)).date()


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


class Command:
    """``fundwatch ARGUMENTS --json`` of one DAG run; `{business_date}`, `{calendar_date}`, `{run_id}` are filled in."""

    def __init__(self, arguments: Sequence[str], zone: str) -> None:
        self.arguments = list(arguments)
        self.zone = zone
        self._process: subprocess.Popen[str] | None = None

    def run(self, context: Any, log: Any) -> tuple[int, str]:
        """Run it in a group of its own and stream its log; its exit code and last line of JSON (else of text)."""
        command = [os.environ["FUNDWATCH_CLI"], *(part.format(**self._values(context)) for part in self.arguments), "--json"]
        log.info("running %s", " ".join(command))
        self._process = subprocess.Popen(
            [*(WITH_PARENT if shutil.which(WITH_PARENT[0]) else ()), *command],
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
            log.info(text)
        return self._process.wait(), last_line

    def stop(self) -> None:
        """Stop it and its children."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def _values(self, context: Any) -> dict[str, str]:
        values = {
            "business_date": business_date(context, self.zone).isoformat(),
            "calendar_date": calendar_date(context, self.zone).isoformat(),
        }
        if any("{run_id}" in part for part in self.arguments):
            opened = context["ti"].xcom_pull(task_ids="open_run")
            if not opened:
                raise AirflowSkipException("no run was opened: nothing to do")
            values["run_id"] = str(opened["run_id"])
        return values

    @staticmethod
    def _environment(context: Any) -> dict[str, str]:
        """The command's environment: ours without Airflow's Python and secrets, so that Spark's workers are the project's."""
        own = ("AIRFLOW", "VIRTUAL_ENV", "PYTHON", "PYSPARK")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        folder = str(Path(os.environ["FUNDWATCH_CLI"]).parent)
        environment["PATH"] = folder + os.pathsep + environment.get("PATH", "")
        environment["AIRFLOW_DAG_RUN_ID"] = str(context["run_id"])
        return environment


class FundwatchJob(BaseOperator):
    """Run one command; the JSON object of its last line becomes the task's XCom.

    The run id comes from the task `open_run`. With `not_within` = (dag_id, first task, last task) the job is skipped while a
    run of that DAG stands between these two.
    """

    ui_color = "#e8f0fe"

    def __init__(
        self, *, arguments: Sequence[str], zone: str, not_within: tuple[str, str, str] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.arguments = list(arguments)
        self.zone = zone
        self.not_within = not_within
        self._command = Command(arguments, zone)

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the command and judge its exit code."""
        if self.not_within and is_within(context["ti"], *self.not_within):
            raise AirflowSkipException(f"{self.not_within[0]} is in the middle of its steps: next time")
        return outcome(*self._command.run(context, self.log))

    def on_kill(self) -> None:
        """Stop the command and its children when the task is stopped."""
        self._command.stop()


class FilesArrived(BaseSensorOperator):
    """Wait until a date's files are there or its deadline has passed and nobody holds the night; asks at every poke.

    Between pokes no process waits. A service that does not answer is asked again; a date that is refused fails at once.
    """

    ui_color = "#e6f4ea"

    def __init__(self, *, arguments: Sequence[str], zone: str, **options: Any) -> None:
        super().__init__(mode="reschedule", **options)
        self.arguments = list(arguments)
        self.zone = zone
        self._command = Command(arguments, zone)

    def poke(self, context: Any) -> bool:
        """Whether the night may go on: every file is there, or nothing is waited for any longer."""
        exit_code, last_line = self._command.run(context, self.log)
        if exit_code == SERVICE_MISSING:
            self.log.warning("a service does not answer: asking again later")
            return False
        answer = outcome(exit_code, last_line)
        why = answer.get("reason") or ", ".join(map(str, answer.get("missing") or []))
        if answer["ready"]:
            return True
        if answer.get("held") or not answer["deadline_passed"]:
            self.log.info("the night waits: %s", why)
            return False
        self.log.warning("the deadline has passed, so the night goes on: %s", why)
        return True

    def on_kill(self) -> None:
        """Stop the command when the task is stopped."""
        self._command.stop()


def is_within(ti: Any, dag_id: str, first: str, last: str) -> bool:
    """Whether a run of a DAG whose tasks stand in one line has ended the task `first` and not yet the task `last`.

    Every run ends both or neither, so the numbers of ended ones differ only while a run stands between them.
    """
    begun, ended = (ti.get_ti_count(dag_id=dag_id, task_ids=[task], states=FINAL_STATES) for task in (first, last))
    return bool(begun > ended)


def _given(context: Mapping[str, Any]) -> date | None:
    given = (context.get("params") or {}).get("business_date") or getattr(context["dag_run"], "partition_key", None)
    return date.fromisoformat(str(given)) if given else None
