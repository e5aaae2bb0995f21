"""What tests share: one home a session with one PostgreSQL, one HBase, one Spark session; a fresh database a test.

Everything started here is stopped at the end, whatever happened; the home lies in a temporary folder.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from psycopg import sql

from fundwatch.services import hbase as hbase_service
from fundwatch.services import home, postgres, process
from fundwatch.settings import DATABASE, Settings, load
from models.sample import Candidate, Sample

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PROJECT = Path(__file__).resolve().parent.parent
NIGHT_END = "2026-08-31"
TEMPLATE = "migrated_template"
OUTSIDE = (
    "FUNDWATCH_DATABASE_URL",
    "FUNDWATCH_HBASE_THRIFT",
    "FUNDWATCH_HBASE_PREFIX",
    "FUNDWATCH_SPARK_REMOTE",
    "FUNDWATCH_API_URL",
    "FUNDWATCH_LAKE",
    "FUNDWATCH_SECRETS",
)
TINY_DATA = {
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    # queries over a few rows: planning again and compiling cost more than they save (the night itself runs with both)
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


IN_MEMORY, NEEDED_BYTES = Path("/dev/shm"), 6 * 1024**3


def pytest_configure() -> None:
    """Temporary folders lie in memory where there is enough of it. A terminated session still stops what it started: SIGTERM
    becomes an orderly exit."""
    if "TMPDIR" not in os.environ and _has_room(IN_MEMORY):
        # more than a thousand databases are copied: a journalling disk takes half a second for each, memory a twentieth
        os.environ["TMPDIR"], tempfile.tempdir = str(IN_MEMORY), None
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


def _has_room(folder: Path) -> bool:
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    is_usable = os.access(folder, os.W_OK | os.X_OK) and not state.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    room = min(state.f_bavail * state.f_frsize, psutil.virtual_memory().available - NEEDED_BYTES)
    return is_usable and room >= NEEDED_BYTES


@dataclass(frozen=True)
class Database:
    """A database of one test; while the test runs `FUNDWATCH_DATABASE_URL` names it, for this process and its children."""

    name: str
    settings: Settings

    def url(self, role: str) -> str:
        """``postgresql://`` URL of one of the roles."""
        host, port = self.settings.service_address(postgres.NAME)
        return f"postgresql://{role}:{self.settings.secret(f'pg_{role}')}@{host}:{port}/{self.name}"


@pytest.fixture(scope="session")
def session_home() -> Iterator[Path]:
    """A temporary home, also in the environment, with ports and secrets but nothing running yet; clock simulated."""
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-test-"))
    with pytest.MonkeyPatch.context() as patch:
        for name in OUTSIDE:
            patch.delenv(name, raising=False)
        patch.setenv("FUNDWATCH_HOME", str(folder))
        patch.setenv("FUNDWATCH_CLOCK", "simulated")
        # cheap hashes of passwords; one test takes the real ones
        patch.setenv("FUNDWATCH_ARGON2", "m=64,t=1,p=1")
        home.prepare(load())
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_settings(session_home: Path) -> Iterator[Settings]:
    """A running PostgreSQL with the roles and an empty database `fundwatch`."""
    settings = load()
    try:
        postgres.start(settings)
        postgres.create_roles_and_database(settings)
        _spare_the_disk(settings)
        yield settings
    finally:
        process.stop(settings, postgres.NAME, postgres.STOP_SIGNAL)


@pytest.fixture(scope="session")
def test_settings(postgres_settings: Settings) -> Settings:
    """A running PostgreSQL whose database `fundwatch` is migrated; the template of every test's database is its copy."""
    postgres.migrate(postgres_settings)
    with psycopg.connect(postgres.superuser_url(postgres_settings), autocommit=True) as connection:
        words = sql.SQL("create database {} template {} owner migrator")
        connection.execute(words.format(sql.Identifier(TEMPLATE), sql.Identifier(DATABASE)))
    return postgres_settings


@pytest.fixture
def database(test_settings: Settings) -> Iterator[Database]:
    """A fresh migrated database."""
    yield from _database(test_settings, TEMPLATE)


@pytest.fixture
def empty_database(postgres_settings: Settings) -> Iterator[Database]:
    """A fresh database owned by migrator in which no migration has run."""
    yield from _database(postgres_settings, "template0")


@pytest.fixture(scope="session")
def hbase(session_home: Path) -> Iterator[Settings]:
    """A running HBase without tables."""
    settings = load()
    try:
        hbase_service.start(settings)
        yield settings
    finally:
        process.stop(settings, hbase_service.NAME, hbase_service.STOP_SIGNAL)


@pytest.fixture(scope="module")
def hbase_prefix(hbase: Settings) -> Iterator[str]:
    """Prefix of this module's tables, in the environment while the module runs."""
    prefix = f"t{uuid.uuid4().hex[:8]}_"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNDWATCH_HBASE_PREFIX", prefix)
        yield prefix


@pytest.fixture(scope="session")
def spark(test_settings: Settings) -> Iterator[SparkSession]:
    """A small classic session with the lake catalog in `test_settings`' database."""
    with pytest.MonkeyPatch.context() as patch:
        # also when a test's own database asked for the session first: the lake belongs to the session
        patch.delenv("FUNDWATCH_DATABASE_URL", raising=False)
        # the quick compiler only: a test's JVM does not live long enough to win back the slow one's work
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
        from lake import session as lake_session

        declared = lake_session.spark_conf
        patch.setattr(lake_session, "spark_conf", lambda settings: declared(settings) | TINY_DATA)
        session = lake_session.spark_session(replace(test_settings, spark_memory="1g"), "tests")
    try:
        yield session
    finally:
        session.stop()


def _database(settings: Settings, template: str) -> Iterator[Database]:
    name = f"t_{uuid.uuid4().hex[:16]}"
    host, port = settings.service_address(postgres.NAME)
    _administrate(settings, "create database {} template {} strategy file_copy owner migrator", name, template)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FUNDWATCH_DATABASE_URL", f"postgresql://{host}:{port}/{name}")
            yield Database(name, settings)
    finally:
        _administrate(settings, "drop database {} with (force)", name)


def _spare_the_disk(settings: Settings) -> None:
    """Let this one server trust the machine not to lose power: every database dropped waits seconds for a checkpoint otherwise.

    What proves durability runs in homes of its own, with the configuration that is shipped.
    """
    with psycopg.connect(postgres.superuser_url(settings), autocommit=True) as connection:
        for words in ("fsync = off", "full_page_writes = off"):
            connection.execute(f"alter system set {words}".encode())
        connection.execute("select pg_reload_conf()")


def _administrate(settings: Settings, words: Any, *names: str) -> None:
    with psycopg.connect(postgres.superuser_url(settings), autocommit=True) as connection:
        connection.execute(sql.SQL(words).format(*(sql.Identifier(name) for name in names)))


_UNPROJECTED = """
import json, sys
from datetime import date
from fundwatch import night
from fundwatch.settings import load
from lake import runs
from lake.lock import exclusive

settings, done = load(), []
with night.spark_session(settings, "compared nights") as spark:
    for first, last in json.loads(sys.argv[1]):
        with exclusive(settings):
            run = runs.open_run(settings, date.fromisoformat(last), date.fromisoformat(first), None, None)
            for step in night.steps():
                if not step.after_publish:
                    night.run_step(settings, runs.get(settings, run.run_id), step, spark)
            done.append(run.run_id)
print(json.dumps(done))
"""


class Night:
    """A home with running services and a loaded world; runs commands as a person would."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.world = home / "world"
        self.environment = os.environ | {
            "FUNDWATCH_HOME": str(home),
            "FUNDWATCH_CLOCK": "simulated",
            "FUNDWATCH_SPARK_MEMORY": "1g",
            "PYTHONPATH": str(PROJECT),
        }
        for name in OUTSIDE:
            self.environment.pop(name, None)

    def command(self, *arguments: str, expect: int = 0, **environment: str) -> dict[str, Any]:
        """Run a command and give back its JSON object; its exit code must be the expected one."""
        done = subprocess.run(
            [sys.executable, "-m", "fundwatch.cli", *arguments, "--json"],
            env=self.environment | environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {"stderr": done.stderr}

    @property
    def web(self) -> str:
        """Base URL of the home's page."""
        return f"http://{json.loads((self.home / 'services' / 'web.json').read_text())['address']}"

    @property
    def spark_remote(self) -> str:
        """Address of the home's Connect server."""
        address = json.loads((self.home / "services" / "spark.json").read_text())["address"]
        return f"sc://localhost:{address.rpartition(':')[2]}"

    def unprojected_nights(self, *dates: tuple[str, str], **environment: str) -> list[dict[str, Any]]:
        """Nights over ranges of dates up to publish, in one process with one Connect session; the content of each run.

        History is left out: these nights are compared, not read by pages.
        """
        done = subprocess.run(
            [sys.executable, "-c", _UNPROJECTED, json.dumps(dates)],
            env=self.environment | {"FUNDWATCH_SPARK_REMOTE": self.spark_remote} | environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return [self.content(run_id) for run_id in json.loads(done.stdout.strip().splitlines()[-1])]

    def content(self, run_id: int) -> dict[str, Any]:
        """Counts and hashes per table and date of a run's manifest."""
        tables: dict[str, Any] = json.loads((self.home / "manifests" / f"{run_id}.json").read_text())["tables"]
        return tables

    def dag(self, business_date: str) -> dict[str, Any]:
        """Run the nightly DAG in process with Airflow's own environment."""
        script = (
            "import json, sys; from fundwatch.demo import prepare_airflow, run_dag; from fundwatch.settings import load;"
            "prepare_airflow(load()); print(json.dumps(run_dag(load(), sys.argv[1])))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, business_date],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    it = Night(tmp_path_factory.mktemp("night"))
    it.environment["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1"  # a third less of CPU for nights that run cold
    try:
        it.command("up")
        it.command(
            "simulate",
            "--seed",
            "11",
            "--platforms",
            "2",
            "--customers",
            "120",
            "--history-months",
            "6",
            "--days",
            "6",
            "--end",
            NIGHT_END,
            "--out",
            str(it.world),
        )
        it.command("load", str(it.world))
        yield it
    finally:
        it.command("down")


_UP_FOR_FEW_ROWS = """
import json, sys
from fundwatch.services import local
from fundwatch.settings import load
from lake import session

declared = session.spark_conf
session.spark_conf = lambda settings: declared(settings) | json.loads(sys.argv[1])
local.up(load(), sys.argv[2:])
"""


@pytest.fixture(scope="module")
def own_night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A home of one module with services but no pages, its Connect server set for a few rows; nothing is loaded yet."""
    it = Night(tmp_path_factory.mktemp("own"))
    it.environment["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1"
    try:
        command = [sys.executable, "-c", _UP_FOR_FEW_ROWS, json.dumps(TINY_DATA), "postgres", "hbase", "spark", "api"]
        subprocess.run(command, env=it.environment, cwd=PROJECT, check=True, timeout=300)
        yield it
    finally:
        it.command("down")


@pytest.fixture(scope="session")
def published(night: Night) -> dict[str, Any]:
    """The night run once through its DAG, over every date of the world."""
    result = night.dag(NIGHT_END)
    assert result["state"] == "success", result
    return result


def synthetic_loans(rows: int, seed: int = 1) -> Any:
    """Loans of a world whose probability of bad is known: four features say something, one nothing, two have gaps."""
    numbers = random.Random(seed)
    columns: dict[str, list[Any]] = {name: [] for name in ("applications", "days_late", "on_time_ratio", "chance", "province")}
    is_bad, true_pd, dates = [], [], []
    for _ in range(rows):
        risk = numbers.gauss(0, 1)
        province = numbers.choice("ABCDE")
        log_odds = -2.4 + 1.1 * risk + {"A": 0.7, "B": -0.6}.get(province, 0.0)
        true_pd.append(1 / (1 + math.exp(-log_odds)))
        is_bad.append(int(numbers.random() < true_pd[-1]))
        dates.append(date(2025, 1, 1) + timedelta(days=numbers.randrange(240)))
        columns["applications"].append(max(0, round(numbers.gauss(2 + 2 * risk, 1))) if numbers.random() < 0.8 else None)
        columns["days_late"].append(0 if numbers.random() < 0.6 else max(0, round(numbers.gauss(10 + 15 * risk, 8))))
        share = Decimal(round(min(1.0, max(0.0, 0.8 - 0.12 * risk + numbers.gauss(0, 0.08))) * 1_000_000)).scaleb(-6)
        columns["on_time_ratio"].append(share if numbers.random() < 0.9 else None)
        columns["chance"].append(numbers.randrange(100))
        columns["province"].append(province)
    keys = tuple(f"P01|L{number:07d}" for number in range(rows))
    return Sample(keys, keys, tuple(dates), tuple(is_bad), {k: tuple(v) for k, v in columns.items()}, tuple(true_pd))


CANDIDATES = (
    Candidate("applications", zh="申请次数", en="applications"),
    Candidate("days_late", zh="逾期天数", en="days late"),
    Candidate("on_time_ratio", scale=6, zh="按时比例", en="share paid on time"),
    Candidate("chance", zh="随机", en="chance"),
    Candidate("province", kind="CODE", zh="省份", en="province"),
)


@pytest.fixture(scope="session")
def loans_of_a_known_world() -> Callable[..., Any]:
    """`synthetic_loans`: a sample of so many rows."""
    return synthetic_loans


@pytest.fixture(scope="session")
def train_on() -> Callable[[Any], Any]:
    """A model trained on a synthetic sample."""

    from models.training import Origin, train

    def trained(sample: Any) -> Any:
        origin = Origin(date(2026, 8, 31), {"GOOD": sample.goods, "BAD": sample.bads, "INDETERMINATE": 0, "IMMATURE": 0}, 200_000)
        return train(sample, CANDIDATES, origin)

    return trained


@pytest.fixture(scope="session")
def scorecard(train_on: Callable[[Any], Any]) -> Any:
    """A model trained on 4,000 synthetic loans, judged out of time."""
    return train_on(synthetic_loans(4000))
