"""The processes around a service: those of its session and all their children, also those that made a session of their own.

A killed scheduler leaves its workers and their tasks behind; whoever starts or stops it ends them first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

import psutil

from domain.errors import Failed
from fundwatch.services.process import CLOCK_SLACK_S, KILL_WAIT_S, Started


def of(state: Started) -> list[psutil.Process]:
    """Living processes of the session that the service leads or led, without the service itself, and their descendants."""
    try:
        if abs(psutil.Process(state.pid).create_time() - state.create_time) > CLOCK_SLACK_S:
            return []  # its number was given to another program: nothing of the old session is left
    except psutil.NoSuchProcess:
        pass  # the leader is gone, its session may live on: that is what is looked for
    found: dict[int, psutil.Process] = {}
    for candidate in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(candidate.pid) == state.pid and candidate.create_time() >= state.create_time - CLOCK_SLACK_S:
                found |= {member.pid: member for member in (candidate, *candidate.children(recursive=True))}
    found.pop(state.pid, None)
    return [member for member in found.values() if _lives(member)]


def terminate(members: Iterable[psutil.Process]) -> None:
    """Ask processes to end; those that have ended are left out."""
    for member in members:
        with suppress(psutil.Error):
            member.terminate()


def kill(members: Sequence[psutil.Process]) -> None:
    """SIGKILL processes and wait until they are gone. Raises Failed when one does not end."""
    for member in members:
        with suppress(psutil.Error):
            member.kill()
    _, alive = psutil.wait_procs(members, timeout=KILL_WAIT_S)
    stuck = [member.pid for member in alive if _lives(member)]
    if stuck:
        raise Failed(f"pids {', '.join(map(str, stuck))} do not end")


def _lives(member: psutil.Process) -> bool:
    try:
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
