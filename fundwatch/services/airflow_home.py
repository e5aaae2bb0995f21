"""What Airflow needs before it starts: secrets, its database in our PostgreSQL, its tables, the pool, its environment.

Secrets reach its processes by the environment alone, never by a command line or a log.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql

from domain.errors import Failed, ServiceMissing
from fundwatch.output import log
from fundwatch.services import home, postgres, process, spark_connect
from fundwatch.settings import PROJECT, Settings

DATABASE = "airflow"
ROLE = "airflow"
ADMIN = "admin"
PASSWORDS = "airflow_admin.json"
URL_GIVEN = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
POOL = "fundwatch_books"
"""One slot: whoever changes what is published holds it, so that no two tasks do at once."""


def folder(settings: Settings) -> Path:
    """Airflow's own folder: logs and a configuration that the environment overrides."""
    return settings.home / "scheduler"


def program() -> Path:
    """Airflow's command line in its own environment; ServiceMissing when it is not installed."""
    path = PROJECT / ".venv-airflow" / "bin" / "airflow"
    if not path.exists():
        raise ServiceMissing("Airflow is not installed: run `make env`")
    return path


def url(settings: Settings) -> str:
    """Where its pages and its API are."""
    return f"http://{process.HOST}:{home.port(settings, 'airflow')}"


def prepare(settings: Settings) -> None:
    """Create what is missing: secrets, role and database, tables, the pool. Cheap when everything is there."""
    folder(settings).mkdir(parents=True, exist_ok=True)
    _write_secrets(settings)
    since = folder(settings) / "since"
    if not since.exists():
        since.write_text(datetime.now(settings.zone).date().isoformat(), encoding="utf-8")
    if URL_GIVEN not in os.environ:
        _create_database(settings)
    marker = folder(settings) / "migrated"
    wanted = _version()
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return
    log.print("airflow: making its tables …")
    _run(settings, "db", "migrate")
    _run(settings, "pools", "set", POOL, "1", "One at a time: whatever changes what is published")
    marker.write_text(wanted, encoding="utf-8")


def environment(settings: Settings) -> dict[str, str]:
    """Everything its processes are told, secrets included."""
    address = url(settings)
    values = {
        "AIRFLOW_HOME": str(folder(settings)),
        "PYTHONPATH": "",
        "NO_PROXY": ",".join(part for part in (os.environ.get("NO_PROXY", ""), process.HOST, "localhost") if part),
        **_database_urls(settings),
        **_schedule(settings),
    }
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": PROJECT / "dags",
            "executor": "LocalExecutor",
            "parallelism": 3,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "execution_api_server_url": f"{address}/execution/",
            "fernet_key": settings.secret("airflow_fernet"),
            "simple_auth_manager_all_admins": False,
            "simple_auth_manager_users": f"{ADMIN}:admin",
            "simple_auth_manager_passwords_file": settings.secrets_dir / PASSWORDS,
        },
        "api": {
            "host": process.HOST,
            "port": home.port(settings, "airflow"),
            "base_url": address,
            "workers": 1,
            "secret_key": settings.secret("airflow_api"),
            "expose_config": False,
        },
        "api_auth": {"jwt_secret": settings.secret("airflow_jwt")},
        "scheduler": {
            "enable_health_check": False,
            "scheduler_idle_sleep_time": 0.5,
            # tasks of a killed scheduler are taken up again after 30 s (its last heartbeat) and one interval
            "orphaned_tasks_check_interval": 10,
            "task_instance_heartbeat_timeout": 120,
            "create_cron_data_intervals": False,
        },
        "workers": {"execution_api_timeout": 30},
        "dag_processor": {"parsing_processes": 1, "min_file_process_interval": 60, "refresh_interval": 60},
        "usage_data_collection": {"enabled": False},
    }
    for section, options in sections.items():
        values |= {f"AIRFLOW__{section.upper()}__{name.upper()}": str(value) for name, value in options.items()}
    return values


def planned_from(settings: Settings) -> str | None:
    """The first business date of the nights: `FUNDWATCH_NIGHT_FROM`, else the first onboarding; None before that."""
    given = os.environ.get("FUNDWATCH_NIGHT_FROM")
    if given:
        return given
    try:
        with psycopg.connect(settings.database_url("jobs")) as connection:
            row = connection.execute("select min(onboarded_on) from night.platform").fetchone()
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {str(error).strip().partition(chr(10))[0]}") from error
    return str(row[0]) if row and row[0] else None


def _schedule(settings: Settings) -> dict[str, str]:
    """What the DAGs read: the command line, the bank's zone and times, the first night, the Connect server for Spark steps."""
    values = {
        "FUNDWATCH_CLI": str(PROJECT / ".venv" / "bin" / "fundwatch"),
        "FUNDWATCH_HOME": str(settings.home),
        "FUNDWATCH_CACHE": str(settings.cache),
        "FUNDWATCH_ZONE": settings.zone.key,
        "FUNDWATCH_NIGHT_START": settings.night_start.isoformat("minutes"),
        "FUNDWATCH_NIGHT_FROM": planned_from(settings) or "",
        "FUNDWATCH_SCHEDULED_SINCE": (folder(settings) / "since").read_text(encoding="utf-8"),
    }
    if spark_connect.external(settings) is None and process.find(settings, spark_connect.NAME) is not None:
        values["FUNDWATCH_SPARK_REMOTE"] = spark_connect.remote_url(settings)
    return values


def _database_urls(settings: Settings) -> dict[str, str]:
    if URL_GIVEN in os.environ:  # the bank's own server: its URLs are in the environment already
        return {}
    host, port = settings.service_address(postgres.NAME)
    rest = f"{ROLE}:{settings.secret('pg_airflow')}@{host}:{port}/{DATABASE}"
    return {URL_GIVEN: f"postgresql+psycopg2://{rest}", f"{URL_GIVEN}_ASYNC": f"postgresql+asyncpg://{rest}"}


def _write_secrets(settings: Settings) -> None:
    made: dict[str, Callable[[], str]] = {
        "pg_airflow": lambda: secrets.token_urlsafe(24),
        "airflow_jwt": lambda: secrets.token_urlsafe(64),
        "airflow_api": lambda: secrets.token_urlsafe(48),
        "airflow_fernet": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        PASSWORDS: lambda: json.dumps({ADMIN: secrets.token_urlsafe(18)}),
    }
    for name, make in made.items():
        if not (settings.secrets_dir / name).exists():
            home.write_private(settings.secrets_dir / name, make() + "\n")


def _create_database(settings: Settings) -> None:
    """Create the role (or set its password anew from the secret) and its own database, which nobody else may enter."""
    if postgres.external(settings) is not None:
        raise ServiceMissing(f"Airflow's database on the bank's own server: set {URL_GIVEN} and {URL_GIVEN}_ASYNC")
    with psycopg.connect(postgres.superuser_url(settings), autocommit=True) as connection:
        there = connection.execute("select 1 from pg_roles where rolname = %s", (ROLE,)).fetchone()
        words = "alter role {} login password {}" if there else "create role {} login password {}"
        connection.execute(sql.SQL(words).format(sql.Identifier(ROLE), sql.Literal(settings.secret("pg_airflow"))))
        if connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone() is None:
            create = sql.SQL("create database {} owner {} template template0")
            connection.execute(create.format(sql.Identifier(DATABASE), sql.Identifier(ROLE)))
        connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(DATABASE)))


def _run(settings: Settings, *arguments: str) -> None:
    """Run one Airflow command to its end; Failed names its log."""
    path = process.log_path(settings, "airflow-setup")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as output:
        done = subprocess.run(
            [str(program()), *arguments],
            env=os.environ | environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder(settings),
            check=False,
        )
    if done.returncode != 0:
        raise Failed(f"`airflow {' '.join(arguments)}` ended with {done.returncode}; see {path}")


def _version() -> str:
    """Name and version of the installed Airflow, as its own environment keeps it."""
    found = sorted(program().parent.parent.glob("lib/python*/site-packages/apache_airflow_core-*.dist-info"))
    return found[-1].name if found else "unknown"
