"""What `up` writes once into a home before anything starts: ports, the clock mode, secrets."""

from __future__ import annotations

import os
import secrets
import tomllib
from pathlib import Path

from domain.errors import BadInput, WrongUse
from fundwatch.services import process
from fundwatch.settings import ROLES, Settings

PORT_NAMES = ("postgres", "hbase", "zookeeper", "spark", "api", "web", "airflow", "watchdog", "outside")
SECRETS = ("pg_superuser", *(f"pg_{role}" for role in ROLES), "connect_token", "api_admin_key", "second_factor_key")
CLOCKS = ("system", "simulated")


def prepare(settings: Settings) -> None:
    """Create what is missing of `settings.toml` and `secrets/`.

    Raises WrongUse when `FUNDWATCH_CLOCK` names another clock than the home was made with.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    _write_secrets(settings.secrets_dir)
    path = settings.home / "settings.toml"
    stored = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if settings.clock not in CLOCKS:
        raise WrongUse(f"unknown clock {settings.clock!r}: use {' or '.join(CLOCKS)}")
    if stored.get("clock", settings.clock) != settings.clock:
        raise WrongUse(f"{settings.home} was made with the {stored['clock']} clock: the clock of a database never changes")
    missing = [name for name in PORT_NAMES if f"port_{name}" not in stored]
    lines = [f"port_{name} = {port}" for name, port in zip(missing, process.free_ports(len(missing)), strict=True)]
    if "clock" not in stored:
        lines.insert(0, f'clock = "{settings.clock}"')
    if lines:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        partial = path.with_suffix(".partial")
        partial.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(path)


def port(settings: Settings, name: str) -> int:
    """The port chosen for a service at the first `up`."""
    stored = tomllib.loads((settings.home / "settings.toml").read_text(encoding="utf-8"))
    value = stored.get(f"port_{name}")
    if not isinstance(value, int) or not 0 < value < 65536:
        raise BadInput(f"port_{name} in {settings.home / 'settings.toml'} is not a port: {value!r}")
    return value


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read, never readable by others in between."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as output:
        output.write(content)
    partial.replace(path)


def _write_secrets(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    for name in SECRETS:
        if not (folder / name).exists():
            write_private(folder / name, secrets.token_urlsafe(24) + "\n")
