"""Processes we start: their state files, who is still ours, waiting, stopping. A process we did not start is never touched.

A process is ours when its state file's pid exists *and* was created when the file says; a pid that was given to another
program since then, or a zombie, counts as gone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from domain.errors import Failed, ServiceMissing
from fundwatch.output import log
from fundwatch.settings import Settings

HOST = "127.0.0.1"
# Below Linux's range of ports for outgoing connections, so that none of those takes the port of a stopped service.
PORTS = (20_000, 32_000)
CLOCK_SLACK_S = 1.0
KILL_WAIT_S = 10.0
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Started:
    """A service's state file: who it is, where it listens (empty: nowhere), where its output goes (contracts section 1)."""

    name: str
    pid: int
    started_at: str
    create_time: float
    address: str
    log: str


def start(settings: Settings, name: str, command: Sequence[str], port: int | None, environment: Mapping[str, str]) -> Started:
    """Start `command` in a session of its own, its output appended to the service's log, and write its state file.

    Without a `port` it listens nowhere. Raises ServiceMissing when the port is taken or the program does not exist.
    """
    if port is not None:
        require_free(name, port, settings)
    log_file = log_path(settings, name)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as output:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(environment),
                cwd=settings.home,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ServiceMissing(f"{name} cannot start: {error.filename} not found") from None
    _children[child.pid] = child
    state = Started(
        name=name,
        pid=child.pid,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        create_time=psutil.Process(child.pid).create_time(),
        address="" if port is None else f"{HOST}:{port}",
        log=str(log_file),
    )
    _write_state(settings, state)
    return state


def ensure(
    settings: Settings, name: str, launch: Callable[[], Started], ready: Callable[[], str | None], patience_s: float
) -> bool:
    """Have the service running and ready; True when it was started. One that runs but does not answer is started anew."""
    running = find(settings, name)
    if running is not None:
        try:
            wait_ready(settings, running, ready, patience_s)
        except ServiceMissing as error:
            log.print(f"{error}: starting it anew")
        else:
            return False
    wait_ready(settings, launch(), ready, patience_s)
    return True


def find(settings: Settings, name: str) -> Started | None:
    """The service as we started it, when that very process is still alive; else None."""
    state = recorded(settings, name)
    return state if state is not None and _process(state) is not None else None


def recorded(settings: Settings, name: str) -> Started | None:
    """What the state file says, whether the process is alive or not."""
    content = settings.service_state(name)
    if content is None:
        return None
    return Started(
        name=str(content["name"]),
        pid=int(str(content["pid"])),
        started_at=str(content["started_at"]),
        create_time=float(str(content["create_time"])),
        address=str(content["address"]),
        log=str(content["log"]),
    )


def stop(settings: Settings, name: str, how: signal.Signals = signal.SIGTERM, patience_s: float = 60) -> bool:
    """Stop the service if it is ours and alive: `how`, then SIGKILL to its session; forget it. True when there was one.

    Raises Failed when even SIGKILL does not end it.
    """
    state = recorded(settings, name)
    process = _process(state) if state is not None else None
    if state is not None and process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(how)
        if not _gone(state, patience_s):
            with suppress(ProcessLookupError):
                os.killpg(state.pid, signal.SIGKILL)
            if not _gone(state, KILL_WAIT_S):
                raise Failed(f"{name} (pid {state.pid}) does not end; see {state.log}")
    _state_path(settings, name).unlink(missing_ok=True)
    return process is not None


def wait_ready(settings: Settings, state: Started, ready: Callable[[], str | None], patience_s: float) -> None:
    """Wait until `ready` returns None; what it returns otherwise is why not yet.

    Raises ServiceMissing naming the log file when the process ends or the time is up (the process is then stopped).
    """
    deadline = time.monotonic() + patience_s
    while True:
        why = ready()
        if why is None:
            return
        if _process(state) is None:
            stop(settings, state.name)
            raise ServiceMissing(f"{state.name} ended before it was ready{_last_line(Path(state.log))}; see {state.log}")
        if time.monotonic() > deadline:
            stop(settings, state.name)
            raise ServiceMissing(f"{state.name} was not ready after {patience_s:.0f} s ({why}); see {state.log}")
        time.sleep(0.1)


def memory_bytes(state: Started) -> int | None:
    """Memory of the process and its children, shared pages counted once (PSS); None when it has ended."""
    process = _process(state)
    if process is None:
        return None
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def port_is_open(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def is_free(port: int) -> bool:
    """Whether we could listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def require_free(name: str, port: int, settings: Settings, of: str | None = None) -> None:
    """Raise ServiceMissing when a service's port is taken, saying what to do.

    A killed process of ours is given a moment: its threads may still be ending and hold the port.
    """
    deadline = time.monotonic() + (KILL_WAIT_S if recorded(settings, name) else 0)
    while not is_free(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not is_free(port):
        raise ServiceMissing(
            f"port {port} of {of or name} is taken by a process we did not start: "
            f"stop that process, or change port_{of or name} in {settings.home / 'settings.toml'}"
        )


def free_ports(count: int) -> list[int]:
    """Distinct ports nobody listens on, taken at random so that two homes started at once do not meet."""
    found: list[int] = []
    for port in random.sample(range(*PORTS), k=PORTS[1] - PORTS[0]):
        if len(found) == count:
            return found
        if is_free(port):
            found.append(port)
    raise Failed(f"no {count} free ports between {PORTS[0]} and {PORTS[1]}")


def log_path(settings: Settings, name: str) -> Path:
    """A service's log file."""
    return settings.log_dir / f"{name}.log"


def _process(state: Started) -> psutil.Process | None:
    child = _children.get(state.pid)
    if child is not None and child.poll() is not None:  # reaps it
        del _children[state.pid]
    try:
        process = psutil.Process(state.pid)
        if abs(process.create_time() - state.create_time) > CLOCK_SLACK_S or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def _gone(state: Started, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while _process(state) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _state_path(settings: Settings, name: str) -> Path:
    return settings.home / "services" / f"{name}.json"


def _write_state(settings: Settings, state: Started) -> None:
    path = _state_path(settings, state.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines() if log_file.exists() else []
    return f": {lines[-1].strip()[:200]}" if lines else ""
