"""kill -9 of PostgreSQL under twenty clients: committed is committed, the service goes on by itself, nothing is there twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fundwatch.services import home, postgres, process
from fundwatch.settings import Settings, load

pytestmark = pytest.mark.chaos


@pytest.fixture
def own_postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home with a PostgreSQL of its own, migrated: the one of the session serves other tests."""
    folder = Path(tempfile.mkdtemp(prefix="fundwatch-chaos-"))
    monkeypatch.setenv("FUNDWATCH_HOME", str(folder))
    monkeypatch.setenv("FUNDWATCH_CLOCK", "system")
    monkeypatch.delenv("FUNDWATCH_DATABASE_URL", raising=False)
    home.prepare(load())
    settings = load()
    try:
        postgres.up(settings)
        yield settings
    finally:
        process.stop(settings, postgres.NAME, postgres.STOP_SIGNAL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(600)
def test_acknowledged_orders_survive_repeated_kills_of_postgres_and_are_there_once(
    own_postgres: Settings, service: Any, under_load: Any, kills: int, orders_a_kill: int
) -> None:
    moments = random.Random(11)
    service.start()
    with under_load(service.url, own_postgres.secret("api_admin_key")) as load:
        for _ in range(kills):
            load.wait_for_more(moments.randrange(orders_a_kill // 2, orders_a_kill))
            server = process.find(own_postgres, postgres.NAME)
            assert server is not None
            os.kill(server.pid, signal.SIGKILL)
            assert postgres.start(own_postgres), "it was not killed"
        load.wait_for_more(orders_a_kill)
        assert service.process.poll() is None, "the service outlives its database"
    load.check(own_postgres.database_url("migrator"))
