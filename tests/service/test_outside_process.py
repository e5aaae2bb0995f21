"""The delivery process, its commands, and how long its rows are kept."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from fundwatch.cli import app
from fundwatch.retention.deliveries import SettledDeliveries
from fundwatch.retention.plan import Site
from fundwatch.retention.policy import Policy, policies
from fundwatch.services import process
from transactional.outside.stub import HttpStub

SECRET = "outside_p01"
PATIENCE_S = 20


@pytest.fixture
def stub(api: Any, database: Any) -> Iterator[HttpStub]:
    """A platform that listens to `test.*` and to released reports."""
    path = database.settings.secrets_dir / SECRET
    path.write_text("key\n", encoding="utf-8")
    with HttpStub() as running:
        payload = {
            "adapter": "outreach",
            "endpoint": running.url,
            "secret_names": [SECRET],
            "topics": ["test.*"],
            "is_enabled": True,
            "settings": {"tries_max": 1},
        }
        api.approved("OUTSIDE_TARGET", "p01-hook", payload, platform_id="P01")
        yield running
    path.unlink()


@pytest.fixture
def port(stub: HttpStub) -> Iterator[int]:
    """Port of a running delivery process that ends well when it is asked to."""
    (chosen,) = process.free_ports(1)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-m", "transactional.outside.serve", "--port", str(chosen)], env=environment)
    try:
        _wait(lambda: _get(chosen, "/readyz")[0] == 200)
        yield chosen
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0
    finally:
        child.kill()
        child.wait()


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def _tell(api: Any, *subjects: str) -> None:
    with psycopg.connect(api.service_url) as connection:
        for subject in subjects:
            connection.execute("SELECT outbox.append('test.happened', 'P01', %s, '{}')", (subject,))


def _wait(holds: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        tick.wait(0.02)


def _command(*words: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["outside", *words, "--json"])
    lines = result.stdout.strip().splitlines()
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, json.loads(lines[-1]) if lines else {}


def test_the_process_delivers_tells_its_state_and_the_commands_mend_what_is_dead(api: Any, stub: HttpStub, port: int) -> None:
    stub.faults.append("500")
    _tell(api, "A")
    _wait(lambda: _get(port, "/metrics")[1].count('fundwatch_outside_dead{target="p01-hook"} 1') == 1)
    _tell(api, "A", "B")
    _wait(lambda: len(stub.heard) == 2)
    _wait(lambda: 'fundwatch_outside_pending{target="p01-hook"} 1' in _get(port, "/metrics")[1])
    assert _get(port, "/livez")[0] == 200 and _get(port, "/else")[0] == 404
    code, found = _command("dead")
    assert code == 10 and [one["reason"] for one in found["deliveries"]] == ["HTTP 500"]
    dead = found["deliveries"][0]
    code, shown = _command("show", str(dead["delivery_id"]))
    assert code == 0 and [one["outcome"] for one in shown["attempts"]] == ["RETRY"] and "payload" not in shown
    assert _command("replay", "p01-hook", "--from", str(dead["event_id"])) == (0, {"deliveries": 1, "skipped": False})
    _wait(lambda: len(stub.heard) == 4)
    _wait(lambda: _command("list", "--state", "DELIVERED")[1]["targets"][0]["pending"] == 0)
    assert _command("dead") == (0, {"deliveries": []})
    assert _command("skip", str(dead["delivery_id"]), "--reason", "no need")[0] == 3
    assert _command("show", "999999")[0] == 3
    assert _command("list", "--state", "LOST")[0] == 2


def test_a_released_bundle_is_an_event_and_an_unsigned_one_is_refused(api: Any, stub: HttpStub, database: Any) -> None:
    folder = database.settings.reports_dir / "CN_2017" / "P01" / "2026-08" / "v1"
    folder.mkdir(parents=True)
    assert _command("release", "CN_2017/P01/2026-08/v1")[0] == 3
    for name in ("manifest.json", "manifest.json.sig"):
        (folder / name).write_text("signed", encoding="utf-8")
    assert _command("release", "CN_2017/P01/2026-08/v1")[0] == 0
    events = api.rows("SELECT platform_id, subject, payload ->> 'folder' FROM outbox.event WHERE topic = 'report.released'")
    assert events == [("P01", "CN_2017/P01", "CN_2017/P01/2026-08/v1")]


def test_settled_deliveries_go_in_time_and_waiting_or_dead_ones_never(api: Any, stub: HttpStub, database: Any, port: int) -> None:
    stub.faults.append("400")
    _tell(api, "A")
    _wait(lambda: bool(api.rows("SELECT FROM outside.delivery WHERE state = 'DEAD'")))
    _tell(api, "A", "B")
    _wait(lambda: len(stub.heard) == 2 and bool(api.rows("SELECT FROM outside.delivery WHERE state = 'DELIVERED'")))
    policy = Policy("settled_deliveries", "", "", 90)
    assert "settled_deliveries" in {one.name for one in policies()}
    now = datetime.now(UTC)

    def spark() -> Any:
        raise AssertionError("no Spark here")

    early, late = (Site(database.settings, at, at, spark) for at in (now + timedelta(days=89), now + timedelta(days=91)))
    assert SettledDeliveries().plan(early, policy) == []
    items = SettledDeliveries().plan(late, policy)
    assert [item.count for item in items] == [1] and SettledDeliveries().left(late, items) != []
    SettledDeliveries().delete(late, items)
    assert SettledDeliveries().left(late, items) == []
    assert api.rows("SELECT state FROM outside.delivery ORDER BY delivery_id") == [("DEAD",), ("PENDING",)]
    assert api.rows("SELECT count(*) FROM outside.delivery_attempt") == [(2,)]
