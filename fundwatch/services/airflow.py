"""Airflow's four processes: api-server, scheduler (LocalExecutor), dag-processor, triggerer; all on 127.0.0.1.

They start last and stop first. What a killed scheduler left (workers, tasks, their commands) is ended before a new one
starts, so that a step never runs twice at once; Airflow then tries those tasks again.
"""

from __future__ import annotations

import http.client
import json
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from fundwatch.output import log
from fundwatch.services import airflow_home, family, home, process
from fundwatch.settings import Settings

PATIENCE_S = 300.0
STOP_PATIENCE_S = 30.0
CALL_S = 10.0
HEALTH = "/api/v2/monitor/health"
TASKS_HEALTH = "/execution/health"
"""Of the API that tasks speak to; the first request to it is slow, so it is ours."""


@dataclass(frozen=True)
class Component:
    """One process of Airflow: `section` is its part of the health answer, `beat` the name of its heartbeat there."""

    NAME: str
    arguments: tuple[str, ...]
    section: str
    beat: str | None = None
    parses_dags: bool = False
    STOP_SIGNAL: signal.Signals = signal.SIGTERM

    def external(self, settings: Settings) -> str | None:
        """It always runs here."""
        return None

    def up(self, settings: Settings) -> bool:
        """Start it if it is not running and healthy; True when it was started."""
        if self.parses_dags and process.find(settings, self.NAME) is not None and self._knows_no_first_night(settings):
            self.stop(settings)
        return process.ensure(settings, self.NAME, lambda: self._launch(settings), lambda: self._answers(settings), PATIENCE_S)

    def stop(self, settings: Settings) -> bool:
        """Stop it and everything it started, running commands of tasks included; True when it was running.

        The commands get SIGTERM after the process itself, so that their tasks can still report and no new ones start.
        """
        state = process.recorded(settings, self.NAME)
        if state is None:
            return False
        alive = process.find(settings, self.NAME) is not None
        members = family.of(state)
        if alive:
            main = psutil.Process(state.pid)
            family.terminate([main])
            family.terminate(member for member in members if _is_command(member))
            psutil.wait_procs([main], timeout=STOP_PATIENCE_S)
        members += family.of(state)
        process.stop(settings, self.NAME, signal.SIGKILL)
        family.kill(members)
        return alive

    def _launch(self, settings: Settings) -> process.Started:
        dead = process.recorded(settings, self.NAME)
        if dead is not None:
            family.kill(family.of(dead))
        environment = airflow_home.environment(settings)
        if self.parses_dags:
            self._night_from(settings).write_text(environment["FUNDWATCH_NIGHT_FROM"], encoding="utf-8")
        port = home.port(settings, "airflow") if self.section == "metadatabase" else None
        return process.start(settings, self.NAME, [str(airflow_home.program()), *self.arguments], port, environment)

    def _night_from(self, settings: Settings) -> Path:
        """What this process was told of the first night."""
        return airflow_home.folder(settings) / f"night_from.{self.NAME}"

    def _knows_no_first_night(self, settings: Settings) -> bool:
        """Whether it was started before the first platform was onboarded, and there is one now."""
        path = self._night_from(settings)
        return path.exists() and not path.read_text(encoding="utf-8") and airflow_home.planned_from(settings) is not None

    def _answers(self, settings: Settings) -> str | None:
        """Healthy by Airflow's own word, and by a heartbeat of this very process, not of one that was killed just now."""
        answer = _get(settings, HEALTH)
        if isinstance(answer, str):
            return answer
        part = answer.get(self.section) or {}
        if part.get("status") != "healthy":
            return f"{self.section} is {part.get('status')}"
        state = process.recorded(settings, self.NAME)
        if self.beat is None or state is None:
            tasks = _get(settings, TASKS_HEALTH)
            return tasks if isinstance(tasks, str) else None
        beat = datetime.fromisoformat(str(part[self.beat]))
        return None if beat >= datetime.fromtimestamp(state.create_time, UTC) else "no heartbeat yet"


API_SERVER = Component("airflow-api", ("api-server",), "metadatabase")
TRIGGERER = Component("airflow-triggerer", ("triggerer", "--skip-serve-logs"), "triggerer", "latest_triggerer_heartbeat")
DAG_PROCESSOR = Component("airflow-dags", ("dag-processor",), "dag_processor", "latest_dag_processor_heartbeat", True)
SCHEDULER = Component("airflow-scheduler", ("scheduler", "--skip-serve-logs"), "scheduler", "latest_scheduler_heartbeat", True)
# The scheduler starts when there is somebody to hear its tasks, and stops first for the same reason.
WAVES = ((API_SERVER, TRIGGERER, DAG_PROCESSOR), (SCHEDULER,))
COMPONENTS = tuple(component for wave in WAVES for component in wave)


def is_here(settings: Settings) -> bool:
    """Whether this home has ever started Airflow."""
    return airflow_home.folder(settings).exists()


def tell(settings: Settings) -> None:
    """Say where Airflow's pages are and who may enter; and when the night has no first date yet."""
    log.print(
        f"airflow: {airflow_home.url(settings)} user {airflow_home.ADMIN}, "
        f"password in {settings.secrets_dir / airflow_home.PASSWORDS}",
        soft_wrap=True,
    )
    if airflow_home.planned_from(settings) is None:
        log.print(
            "airflow: no platform is registered yet, so no night is planned: run `fundwatch up --airflow` after onboarding",
            soft_wrap=True,
        )


def _is_command(member: psutil.Process) -> bool:
    """Whether a process is a command that a task runs (or a child of one): the operator gives them the DAG run's id."""
    try:
        return "AIRFLOW_DAG_RUN_ID" in member.environ()
    except psutil.Error:
        return False


def _get(settings: Settings, path: str) -> dict[str, Any] | str:
    """A JSON object of the api-server, or why there is none."""
    connection = http.client.HTTPConnection(process.HOST, home.port(settings, "airflow"), timeout=CALL_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {error}"
    finally:
        connection.close()
    if answer.status != 200:
        return f"GET {path} answers {answer.status}"
    found = json.loads(body)
    return found if isinstance(found, dict) else f"GET {path} answers with no object"
