"""Airflow's own environment: these tests run with `.venv-airflow`, on a metadata database of their own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_HOME = tempfile.mkdtemp(prefix="fundwatch-airflow-")
os.environ.update(
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__DAGS_FOLDER=str(PROJECT / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    FUNDWATCH_NIGHT_FROM="2026-01-01",
    FUNDWATCH_SCHEDULED_SINCE="2026-01-01",
)
os.environ.pop("FUNDWATCH_NIGHT_TO", None)
sys.path.insert(0, str(PROJECT / "dags"))
subprocess.run(
    [str(Path(sys.executable).parent / "airflow"), "db", "migrate"], check=True, stdout=subprocess.DEVNULL, timeout=180
)

Answers = dict[str, tuple[int, dict[str, Any]]]


class StandIn:
    """A stand-in for `fundwatch`: answers by the first words of its arguments, and writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.path, self._calls = folder / "fundwatch", folder / "calls"

    def answer(self, answers: Answers) -> None:
        """Exit code and JSON object by the beginning of the arguments; the longest that fits counts."""
        self.path.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"words = ' '.join(sys.argv[1:])\nopen({str(self._calls)!r}, 'a').write(words + chr(10))\n"
            "assert not any(name.startswith(('AIRFLOW__', 'PYTHON')) for name in os.environ)\n"
            f"code, result = max(((k, v) for k, v in {answers!r}.items() if words.startswith(k)), key=lambda kv: len(kv[0]))[1]\n"
            "print('noise')\nprint(json.dumps(result))\nsys.exit(code)\n"
        )
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    @property
    def calls(self) -> list[str]:
        """The arguments of every call, in order."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def fundwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in, in the place of the command line."""
    it = StandIn(tmp_path)
    monkeypatch.setenv("FUNDWATCH_CLI", str(it.path))
    return it


@pytest.fixture
def parsed() -> Callable[..., dict[str, Any]]:
    """Parse the DAGs in a process of its own, as the scheduler would, under an environment; seconds by file, DAGs by id."""

    def parse(**environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", _PARSE, str(PROJECT / "dags")],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        )
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    return parse


_PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
folder = sys.argv[1]
sys.path.insert(0, folder)
before = set(sys.modules)
bag = DagBag(folder)
dags = {
    dag.dag_id: {
        "cron": getattr(dag.timetable, "expression", None),
        "zone": getattr(dag.timetable, "timezone", None),
        "catchup": dag.catchup,
        "start": dag.start_date.isoformat(),
        "end": dag.end_date and dag.end_date.isoformat(),
        "active": dag.max_active_runs,
    }
    for dag in bag.dags.values()
}
print(json.dumps({
    "errors": bag.import_errors, "seconds": {stat.file: stat.duration.total_seconds() for stat in bag.dagbag_stats},
    "dags": dags, "loaded": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
}, default=str))
"""
