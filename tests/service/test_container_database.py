"""`docker/postgres/init.sh` on a new PostgreSQL: the roles and databases of an installation, and nothing more."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fundwatch.services import home, postgres, process
from fundwatch.settings import ROLES, Settings, load
from transactional.migrate import migrate, names

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "postgres" / "init.sh"


@pytest.fixture
def new_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A PostgreSQL of its own home in which nobody has made a role."""
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNDWATCH_CLOCK", "simulated")
    for name in ("FUNDWATCH_DATABASE_URL", "FUNDWATCH_SECRETS"):
        monkeypatch.delenv(name, raising=False)
    settings = load()
    home.prepare(settings)
    home.write_private(settings.secrets_dir / "pg_airflow", secrets.token_urlsafe(24))
    try:
        postgres.start(settings)
        yield settings
    finally:
        process.stop(settings, postgres.NAME, postgres.STOP_SIGNAL)


def run_script(settings: Settings, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the image's first start does: the superuser's password in the environment, passwords of roles in files."""
    host, port = settings.service_address(postgres.NAME)
    environment = {
        "PATH": f"{postgres.binaries_folder()}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": host,
        "PGPORT": str(port),
        "PGPASSWORD": settings.secret("pg_superuser"),
        "SECRETS": str(folder),
    }
    return subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


def test_the_first_start_makes_roles_and_databases(new_server: Settings, tmp_path: Path) -> None:
    refused = run_script(new_server, tmp_path)
    assert refused.returncode == 1
    assert "no password in" in refused.stderr

    done = run_script(new_server, new_server.secrets_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert migrate(new_server.database_url("migrator"), "simulated") == names()
    for role in ROLES:
        with psycopg.connect(new_server.database_url(role)) as connection:
            assert connection.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone() == (
                role,
                False,
            )

    host, port = new_server.service_address(postgres.NAME)
    own = f"postgresql://airflow:{new_server.secret('pg_airflow')}@{host}:{port}"
    with psycopg.connect(f"{own}/airflow") as connection:
        connection.execute("create table made_by_airflow (id int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"{own}/fundwatch")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(new_server.database_url("web").replace("/fundwatch", "/airflow"))
