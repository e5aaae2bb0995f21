"""What the demo sends outside: its signed reports, to a stub of the regulator's drop point that two people approved."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from domain.errors import Failed
from fundwatch.settings import Settings

TARGET, SECRET = "demo-regulator", "outside_demo"
MAKER, CHECKER = "officer", "checker"
PATIENCE_S, POLL_S = 120.0, 0.5
Command = Callable[[Sequence[str]], dict[str, Any]]


def deliver(settings: Settings, command: Command, bundles: Sequence[str]) -> dict[str, Any]:
    """Hand every bundle over to a stub on loopback and wait until it has them; rows in are bundles, rows out deliveries.

    Raises Failed when one is dead or still undelivered after two minutes.
    """
    from transactional.outside.stub import HttpStub

    secret = settings.secrets_dir / SECRET
    if not secret.exists():
        secret.touch(0o600)
        secret.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
    with HttpStub() as stub:
        _approve(settings, stub.url)
        command(["up", "--only", "outside"])
        before = _states(command).count("DELIVERED")
        for bundle in bundles:
            command(["outside", "release", Path(bundle).resolve().relative_to(settings.reports_dir.resolve()).as_posix()])
        _wait(command, before + len(bundles))
        return {"rows_in": len(bundles), "rows_out": len(bundles), "requests": len(stub.heard)}


def _states(command: Command) -> list[str]:
    found = command(["outside", "list", "--target", TARGET, "--limit", "1000"])["deliveries"]
    return [str(one["state"]) for one in found]


def _wait(command: Command, expected: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        states = _states(command)
        if "DEAD" in states:
            raise Failed("a report could not be delivered: fundwatch outside dead")
        if states.count("DELIVERED") >= expected and "PENDING" not in states:
            return
        time.sleep(POLL_S)
    raise Failed(f"reports were not delivered within {PATIENCE_S:.0f} s: fundwatch outside list")


def _approve(settings: Settings, endpoint: str) -> None:
    """The stub as the receiver of released reports: proposed by the officer, decided by the checker."""
    host, port = settings.service_address("api")
    payload = {
        "adapter": "reporting",
        "endpoint": endpoint,
        "secret_names": [SECRET],
        "topics": ["report.released"],
        "is_enabled": True,
        "settings": {},
    }
    asked = {"kind": "OUTSIDE_TARGET", "subject": TARGET, "payload": payload, "reason": "demonstration"}
    with httpx2.Client(base_url=f"http://{host}:{port}/v1", timeout=30) as client:
        proposed = _post(client, settings, MAKER, "approvals", asked)
        decision = {"approve": True, "payload_hash": proposed["payload_hash"], "note": "demonstration"}
        _post(client, settings, CHECKER, f"approvals/{proposed['approval_id']}/decision", decision)


def _post(client: httpx2.Client, settings: Settings, person: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    login = {"login_name": person, "password": settings.secret(f"page_{person}")}
    session = client.post("/sessions", json=login)
    token = session.raise_for_status().json()["token"]
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_urlsafe(16)}
    answer = client.post(f"/{path}", json=body, headers=headers)
    if answer.status_code != 201:
        raise Failed(f"{path} was refused: {answer.text}")
    return dict(answer.json())
