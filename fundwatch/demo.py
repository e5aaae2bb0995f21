"""`make demo`: one true night on one machine, from nothing to published figures, and a table of what happened.

A demo that was interrupted goes on where it stopped; one that had finished starts anew with an empty home.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from domain.errors import BadInput, Failed, FundwatchError, WrongUse
from fundwatch.demo_outside import deliver
from fundwatch.output import console, log
from fundwatch.settings import PROJECT, Settings, load

KEPT = ("airflow",)
DEMO_ROLES = ("viewer", "officer", "checker", "admin", "auditor")
EXIT_ERRORS = {error.exit_code: error for error in FundwatchError.__subclasses__()}


@dataclass(frozen=True)
class World:
    """Parameters of the simulated world; the defaults are those of `make demo`."""

    seed: int = 7
    platforms: int = 3
    customers: int = 2000
    history_months: int = 18
    days: int = 30
    end: str = "2026-08-31"

    @property
    def day_before(self) -> str:
        """The last business date but one: what a model is trained on, so that the last night has one to score with."""
        return (date.fromisoformat(self.end) - timedelta(days=1)).isoformat()

    @property
    def arguments(self) -> list[str]:
        """The same as options of `fundwatch simulate`."""
        pairs = {
            "--seed": self.seed,
            "--platforms": self.platforms,
            "--customers": self.customers,
            "--history-months": self.history_months,
            "--days": self.days,
            "--end": self.end,
        }
        return [part for name, value in pairs.items() for part in (name, str(value))]


@dataclass(frozen=True)
class Row:
    """One line of the closing table: a stage with rows in, rows out and seconds."""

    name: str
    rows_in: int | None
    rows_out: int | None
    seconds: float


def prepare_home(settings: Settings) -> None:
    """Empty the home of a finished demo; keep an interrupted one; refuse a home that is not a demo's (WrongUse)."""
    marker = settings.home / "demo.json"
    if not marker.exists():
        if (settings.home / "pg").exists():
            raise WrongUse(f"{settings.home} holds data that no demo made: set FUNDWATCH_HOME to another folder")
        settings.home.mkdir(parents=True, exist_ok=True)
        marker.write_text('{"state": "started"}\n', encoding="utf-8")
        return
    if json.loads(marker.read_text(encoding="utf-8"))["state"] != "finished":
        log.print("going on with an interrupted demo")
        return
    command(["down"])
    for path in settings.home.iterdir():
        if path.name in KEPT or path == marker:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    marker.write_text('{"state": "started"}\n', encoding="utf-8")


def command(arguments: Sequence[str], environment: dict[str, str] | None = None, stdin: str | None = None) -> dict[str, Any]:
    """Run one `fundwatch` command in its own process; its JSON result, or the error its exit code stands for."""
    return _process([sys.executable, "-m", "fundwatch.cli", *arguments, "--json"], environment or {}, stdin)


def _process(arguments: Sequence[str], environment: dict[str, str], stdin: str | None = None) -> dict[str, Any]:
    done = subprocess.run(
        arguments, env=os.environ | environment, stdout=subprocess.PIPE, input=stdin, text=True, check=False, cwd=PROJECT
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode not in (0, 10):
        error = EXIT_ERRORS.get(done.returncode, Failed)
        raise error(f"`{' '.join(arguments[1:])}` ended with {done.returncode}; its output is above")
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return {**result, "exit_code": done.returncode}


def airflow_environment(settings: Settings) -> dict[str, str]:
    """What the DAG's process needs: Airflow's home on SQLite, our command line, the Connect server."""
    return {
        "AIRFLOW_HOME": str(settings.home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "FUNDWATCH_CLI": str(Path(sys.executable).parent / "fundwatch"),
        "FUNDWATCH_ZONE": settings.zone.key,
    }


def prepare_airflow(settings: Settings) -> dict[str, Any]:
    """Create Airflow's metadata database once."""
    python = PROJECT / ".venv-airflow" / "bin" / "python"
    marker = settings.home / "airflow" / "migrated"
    if not marker.exists():
        arguments = [str(python), "-m", "airflow", "db", "migrate"]
        with (settings.home / "airflow-migrate.log").open("w", encoding="utf-8") as output:
            subprocess.run(arguments, env=os.environ | airflow_environment(settings), stdout=output, stderr=output, check=True)
        marker.touch()
    return {}


def run_dag(settings: Settings, business_date: str) -> dict[str, Any]:
    """The night as its Airflow DAG, in this process tree, its Spark steps clients of the Connect server."""
    port = settings.service_address("spark")[1]
    environment = airflow_environment(settings) | {"FUNDWATCH_SPARK_REMOTE": f"sc://localhost:{port}"}
    python = PROJECT / ".venv-airflow" / "bin" / "python"
    return _process([str(python), str(PROJECT / "dags" / "in_process.py"), "fundwatch_nightly", business_date], environment)


class Stages:
    """The demo's stages with their counts and seconds, told while they run; `rows` is what the closing table shows."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.rows: list[Row] = []

    def run(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do `work` as a stage and hand on its result."""
        log.print(f"[bold]{name}[/] …")
        begun = time.monotonic()
        result = work()
        seconds = time.monotonic() - begun
        self.rows.append(Row(name, result.get("rows_in"), result.get("rows_out"), seconds))
        log.print(f"[bold]{name}[/] done in {seconds:.1f} s")
        return result

    def together(self, works: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
        """Stages side by side; the first failure is raised once all have ended."""
        with ThreadPoolExecutor(len(works)) as pool:
            futures = [pool.submit(self.run, name, work) for name, work in works.items()]
        for future in futures:
            future.result()

    def night(self, name: str, business_date: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """A night through the DAG as a stage, and a row for each of its steps; gives the DAG's outcome and the run."""
        dag = self.run(name, lambda: run_dag(load(), business_date))
        run = command(["run", "show"])
        self.rows.extend(
            Row(f"  {step['step']}", step["rows_in"], step["rows_out"], float(step["seconds"] or 0)) for step in run["steps"]
        )
        return dag, run


def run_demo(world: World) -> dict[str, Any]:
    """The whole demo; returns what the closing table shows and the result of the check against the answer key."""
    settings, stages = load(), Stages()
    os.environ |= {"FUNDWATCH_CLOCK": "simulated", "FUNDWATCH_HOME": str(settings.home)}
    prepare_home(settings)
    folder = settings.home / "world"
    stages.run("set up", lambda: command(["setup"]))
    stages.together(
        {
            "start services": lambda: command(["up"]),
            "simulate": lambda: command(["simulate", *world.arguments, "--out", str(folder)]),
            "prepare airflow": lambda: prepare_airflow(settings),
        }
    )
    stages.run("people", lambda: make_people(settings))
    stages.run("load", lambda: command(["load", str(folder)]))
    first, _ = stages.night(f"nights to {world.day_before} (Airflow DAG)", world.day_before)
    model = stages.run("credit model", lambda: make_model(settings, world, folder))
    last, run = stages.night(f"night of {world.end} (Airflow DAG)", world.end)
    check = stages.run("check against the answer key", lambda: command(["check", str(folder)]))
    bundles = build_reports(world, stages)
    outside = stages.run("reports to a stub of the regulator", lambda: deliver(load(), command, bundles))
    (settings.home / "demo.json").write_text('{"state": "finished"}\n', encoding="utf-8")
    return {
        "ok": bool(check.get("ok")) and first.get("state") == last.get("state") == "success",
        "seconds": round(time.monotonic() - stages.started, 1),
        "rows": [vars(row) for row in stages.rows],
        "check": check,
        "run": run,
        "model": model,
        "bundles": bundles,
        "outside": outside,
        "page": _page(settings),
        "passwords": str(settings.secrets_dir / "page_*"),
    }


def build_reports(world: World, stages: Stages) -> list[str]:
    """The signed report of each platform for the last month, built and verified; folders of the bundles."""
    bundles = []
    for platform_id in (f"P{number:02d}" for number in range(1, world.platforms + 1)):
        words = ["report", "build", "--pack", "CN_2017", "--platform", platform_id, "--period", world.end[:7]]
        built = stages.run(f"figure set {platform_id}", partial(command, words))
        command(["report", "verify", str(built["folder"])])
        bundles.append(str(built["folder"]))
    return bundles


def make_people(settings: Settings) -> dict[str, Any]:
    """One person of each role, named as the role, whose password lies in ``secrets/page_ROLE``; who is there already stays."""
    for role in DEMO_ROLES:
        made = command(["user", "add", role, "--role", role, "--if-missing"])
        # an interrupted demo may have made the person and not kept the password
        if made.get("skipped") and not (settings.secrets_dir / f"page_{role}").exists():
            command(["user", "password", role])
    return {"rows_out": len(DEMO_ROLES)}


def make_model(settings: Settings, world: World, folder: Path) -> dict[str, Any]:
    """Train a scorecard as the officer, approve it as the checker; a world too small for one goes on without (`refused`)."""

    def signed(arguments: Sequence[str], person: str) -> dict[str, Any]:
        password = settings.secret(f"page_{person}")
        environment = {"FUNDWATCH_SPARK_REMOTE": f"sc://localhost:{load().service_address('spark')[1]}"}
        return command([*arguments, "--as", person, "--password-stdin"], environment, f"{password}\n")

    try:
        trained = signed(["model", "train", "--to", world.day_before, "--truth", str(folder / "truth" / "pd.csv")], "officer")
    except BadInput as error:
        return {"refused": str(error)}
    signed(["model", "approve", str(trained["model_id"]), "--note", "demonstration"], "checker")
    return {"rows_in": sum(trained["outcomes"].values()), "rows_out": len(trained["features"]), **trained}


def _page(settings: Settings) -> str | None:
    state = settings.service_state("web")
    return f"http://{state['address']}/" if state else None


def show(result: dict[str, Any]) -> None:
    """The closing table, the check's result by code, and where to look."""
    table = Table(title="One night", title_justify="left")
    table.add_column("step")
    for column in ("rows in", "rows out", "seconds"):
        table.add_column(column, justify="right")
    for row in result["rows"]:
        counts = ["" if row[key] is None else f"{row[key]:,}" for key in ("rows_in", "rows_out")]
        table.add_row(row["name"], *counts, f"{row['seconds']:.1f}")
    table.add_row("[bold]all", "", "", f"[bold]{result['seconds']:.1f}")
    console.print(table)
    found = Table(title="Planted faults found", title_justify="left")
    for column in ("code", "planted", "found", "missed", "extra"):
        found.add_column(column, justify="left" if column == "code" else "right")
    for code, counts in sorted(result["check"].get("codes", {}).items()):
        found.add_row(code, *(str(counts[key]) for key in ("planted", "found", "missed", "extra")))
    console.print(found)
    if model := result["model"].get("model_id"):
        console.print(f"model     {model}: fundwatch model show {model}", soft_wrap=True)
    console.print(f"page      {result['page'] or 'not started'}")
    console.print(f"log in as {', '.join(DEMO_ROLES)} (names are roles); passwords in {result['passwords']}", soft_wrap=True)
    for bundle in result["bundles"]:
        console.print(f"figures   {bundle}")
    sent = result["outside"]
    console.print(f"outside   {sent['rows_out']} reports in {sent['requests']} requests to the stub: fundwatch outside list")
    console.print("stop all  make down")
