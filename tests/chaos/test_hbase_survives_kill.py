"""HBase killed with SIGKILL right after it acknowledged rows: every one of them is there after the restart."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import happybase
import pytest

from fundwatch.services import hbase, home, process
from fundwatch.settings import Settings, load

pytestmark = pytest.mark.chaos

TABLE = "survives"
SINGLE = range(0, 1_200)
BATCHED = range(1_200, 6_200)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home of its own with a running HBase, stopped at the end."""
    monkeypatch.setenv("FUNDWATCH_HOME", str(tmp_path))
    monkeypatch.delenv("FUNDWATCH_HBASE_THRIFT", raising=False)
    settings = load()
    home.prepare(settings)
    try:
        assert hbase.start(settings)
        yield settings
    finally:
        process.stop(settings, hbase.NAME, hbase.STOP_SIGNAL)


def connect(settings: Settings) -> happybase.Connection:
    host, port = settings.hbase_address()
    return happybase.Connection(host, port, timeout=60_000, transport="framed", protocol="binary")


def key(number: int) -> bytes:
    return f"{number:08d}".encode()


def test_every_acknowledged_row_is_there_after_kill_9_and_a_restart(own_home: Settings) -> None:
    connection = connect(own_home)
    connection.create_table(TABLE, {"d": {}})
    table = connection.table(TABLE)
    for number in SINGLE:
        table.put(key(number), {b"d:p": b"single %d" % number})
    with table.batch(batch_size=1_000) as batch:
        for number in BATCHED:
            batch.put(key(number), {b"d:p": b"batched %d" % number})
    before = process.find(own_home, hbase.NAME)
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)

    assert hbase.start(own_home)

    after = process.find(own_home, hbase.NAME)
    assert after is not None and after.pid != before.pid
    found = dict(connect(own_home).table(TABLE).scan(batch_size=1_000))
    wanted = {key(number): {b"d:p": b"single %d" % number} for number in SINGLE}
    wanted |= {key(number): {b"d:p": b"batched %d" % number} for number in BATCHED}
    assert found == wanted
