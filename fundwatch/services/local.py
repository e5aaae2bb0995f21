"""All local services together: start what is wanted in order, stop in reverse, say how each is."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

from domain.errors import FundwatchError, WrongUse
from fundwatch.output import log
from fundwatch.services import airflow, airflow_home, api, hbase, home, outside, postgres, process, spark_connect, watchdog, web
from fundwatch.settings import Settings


class Service(Protocol):
    """What each service's module offers."""

    @property
    def NAME(self) -> str: ...

    @property
    def STOP_SIGNAL(self) -> signal.Signals: ...

    def external(self, settings: Settings) -> str | None: ...

    def up(self, settings: Settings) -> bool: ...


# Later waves need earlier ones; within a wave services start side by side. The watchdog starts with Airflow, deliveries to the
# outside when they are asked for; both also when they are named.
WAVES: tuple[tuple[Service, ...], ...] = ((postgres,), (hbase, spark_connect, api), (web, outside), (watchdog,))
SERVICES = {service.NAME: service for wave in WAVES for service in wave}


@dataclass(frozen=True)
class State:
    """How one service is: `state` is running, stopped, dead (it ended by itself), external or absent."""

    service: str
    state: str
    pid: int | None = None
    address: str | None = None
    memory_bytes: int | None = None
    since: str | None = None


def up(settings: Settings, only: Sequence[str] = (), with_airflow: bool = False, with_outside: bool = False) -> dict[str, str]:
    """Start the services (all, or those named), Airflow's processes and the deliveries when asked: what was done with each.

    That is started, running, external or absent. Raises the first error after the others of its wave are through; what runs
    already stays.
    """
    wanted = _wanted(only, with_airflow) | ({outside.NAME} if with_outside else set())
    done: dict[str, str] = {}
    with _only_one(settings):
        home.prepare(settings)
        for wave in WAVES:
            done |= _up_together(settings, [service for service in wave if service.NAME in wanted])
        if with_airflow:
            airflow_home.prepare(settings)
            for components in airflow.WAVES:
                done |= _up_together(settings, components)
            airflow.tell(settings)
    return done


def down(settings: Settings) -> dict[str, bool]:
    """Stop all services in reverse order: for each whether it was running."""
    if not settings.home.exists():
        return dict.fromkeys(SERVICES, False)
    stopped = {}
    with _only_one(settings):
        for service in reversed(_known(settings)):
            name = service.NAME
            stopped[name] = (
                service.stop(settings)
                if isinstance(service, airflow.Component)
                else process.stop(settings, name, service.STOP_SIGNAL)
            )
            if stopped[name]:
                log.print(f"{name}: stopped")
    return stopped


def status(settings: Settings) -> list[State]:
    """How each service is, in starting order."""
    return [_state(settings, service) for service in _known(settings)]


def as_json(states: Sequence[State]) -> list[dict[str, object]]:
    """States as plain values."""
    return [asdict(state) for state in states]


def _wanted(only: Sequence[str], with_airflow: bool) -> set[str]:
    unknown = sorted(set(only) - set(SERVICES))
    if unknown:
        raise WrongUse(f"unknown service {', '.join(unknown)}: there are {', '.join(SERVICES)}")
    usual = set(SERVICES) - {watchdog.NAME, outside.NAME}
    return (set(only) or usual) | ({watchdog.NAME} if with_airflow else set())


def _known(settings: Settings) -> list[Service]:
    """All services in starting order; Airflow's processes in homes that have ever started them."""
    return [*SERVICES.values(), *(airflow.COMPONENTS if airflow.is_here(settings) else ())]


def _up_together(settings: Settings, members: Sequence[Service]) -> dict[str, str]:
    if not members:
        return {}
    with ThreadPoolExecutor(len(members)) as pool:
        futures = {service.NAME: pool.submit(_up, settings, service) for service in members}
    return {name: future.result() for name, future in futures.items()}


def _up(settings: Settings, service: Service) -> str:
    if service is web and not web.SERVICE.exists():
        return "absent"
    log.print(f"{service.NAME} …")
    try:
        started = service.up(settings)
    except FundwatchError:
        log.print(f"{service.NAME}: failed")
        raise
    result = "external" if service.external(settings) is not None else "started" if started else "running"
    log.print(f"{service.NAME}: {result}")
    return result


def _state(settings: Settings, service: Service) -> State:
    address = service.external(settings)
    if address is not None:
        return State(service.NAME, "external", address=address)
    if service is web and not web.SERVICE.exists():
        return State(service.NAME, "absent")
    found = process.find(settings, service.NAME)
    if found is None:
        return State(service.NAME, "stopped" if process.recorded(settings, service.NAME) is None else "dead")
    return State(service.NAME, "running", found.pid, found.address or None, process.memory_bytes(found), found.started_at)


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """One `up` or `down` of a home at a time; the services do not inherit the lock."""
    settings.home.mkdir(parents=True, exist_ok=True)
    handle = os.open(settings.home / "services.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
