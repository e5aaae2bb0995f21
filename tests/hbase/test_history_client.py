"""The history client against a real HBase: round trips, bounds, lost connections, HBase gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from domain.errors import Failed, ServiceMissing
from fundwatch.commands import hbase as commands
from fundwatch.settings import Settings
from hbase_schema import apply
from hbase_schema.client import HistoryClient
from hbase_schema.tables import TABLES

NOON = datetime(2026, 8, 31, 4, tzinfo=UTC)
MV, BALANCES, ORDERS = TABLES["mv"], TABLES["acct_bal"], TABLES["ord"]


def movement(account: int, number: int, amount: int = 100) -> tuple[bytes, bytes]:
    values = dict.fromkeys(MV.cell.names) | {"side": "C", "amount_minor": amount, "currency": "CNY", "movement_id": number}
    return MV.key.encode(account, NOON + timedelta(seconds=number), number), MV.cell.encode(values)


def balance(account: int, on: date, closing: int) -> tuple[bytes, bytes]:
    values: dict[str, Any] = dict.fromkeys(BALANCES.cell.names) | {"closing_minor": closing}
    return BALANCES.key.encode(account, on), BALANCES.cell.encode(values)


def test_the_applied_tables_are_as_declared_and_a_second_apply_changes_nothing(tables: Settings) -> None:
    assert apply.check(tables) == []
    apply.apply(tables)
    app = typer.Typer()
    commands.register(app)
    done = CliRunner().invoke(app, ["hbase", "check", "--json"])
    assert json.loads(done.stdout.splitlines()[-1]) == {"ok": True, "faults": []}


def test_check_names_every_table_that_is_missing(tables: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNDWATCH_HBASE_PREFIX", "nobody_made_")
    faults = apply.check(tables)
    assert sorted(faults) == sorted(f"nobody_made_{name} is missing" for name in TABLES)


def test_every_region_of_a_loaded_table_holds_rows(client: HistoryClient) -> None:
    rows = [(ORDERS.key.encode(number), ORDERS.cell.encode(dict.fromkeys(ORDERS.cell.names))) for number in range(3000)]
    assert client.put_many("ord", rows, timestamp=1) == 3000
    regions = client.regions("ord")
    assert len(regions) == 16
    held = [len(client.scan("ord", start, stop, 3000)) for start, stop in regions]
    assert sum(held) == client.count("ord") == 3000
    assert min(held) > 100


def test_rows_written_twice_are_there_once(client: HistoryClient) -> None:
    rows = [movement(1, number) for number in range(1500)]
    for _ in range(2):
        client.put_many("mv", rows, timestamp=5)
    assert client.scan_prefix("mv", MV.key.prefix(1), 5000) == sorted(rows)


def test_a_timeline_is_newest_first_and_pages_on_without_gap_or_repeat(client: HistoryClient) -> None:
    client.put_many("mv", [movement(2, number) for number in range(25)] + [movement(3, 999)], timestamp=5)
    first = client.movements(2, 10)
    second = client.movements(2, 10, after=first[-1]["key"])
    third = client.movements(2, 10, after=second[-1]["key"])
    assert [row["ledger_no"] for row in first + second + third] == list(range(24, -1, -1))
    assert first[0]["effective_at"] == NOON + timedelta(seconds=24)
    assert client.movements(2, 10, after=third[-1]["key"]) == []


def test_rows_of_later_runs_are_hidden_by_the_run_bound(client: HistoryClient) -> None:
    key, old = movement(4, 1, amount=100)
    new = movement(4, 1, amount=250)[1]
    client.put_many("mv", [(key, old)], timestamp=10)
    client.put_many("mv", [(key, new), movement(4, 2)], timestamp=11)
    assert [row["amount_minor"] for row in client.movements(4, 10, run_bound=10)] == [100]
    assert [row["amount_minor"] for row in client.movements(4, 10, run_bound=11)] == [100, 250]
    assert (client.get("mv", key, run_bound=10), client.get("mv", key)) == (old, new)
    assert client.get("mv", key, run_bound=9) is None


def test_a_row_deleted_by_a_run_is_gone_and_still_known_as_it_was_where_deleted_cells_are_kept(client: HistoryClient) -> None:
    key, cell = balance(5, date(2026, 8, 1), 500)
    client.put_many("acct_bal", [(key, cell)], timestamp=20)
    client.put_many("acct_bal", [(key, None)], timestamp=21)
    assert client.get("acct_bal", key) is None
    assert client.get("acct_bal", key, run_bound=20) == cell


def test_a_balance_holds_until_the_next_row(client: HistoryClient) -> None:
    client.put_many("acct_bal", [balance(6, date(2026, 8, day), day) for day in (1, 5, 9)], timestamp=1)
    client.put_many("acct_bal", [balance(7, date(2026, 8, 3), 33)], timestamp=1)

    def closing(day: int) -> int | None:
        row = client.balance_on(6, date(2026, 8, day))
        return row["closing_minor"] if row else None

    assert [closing(day) for day in (1, 4, 5, 8, 9, 31)] == [1, 1, 5, 5, 9, 9]
    assert client.balance_on(6, date(2026, 7, 31)) is None


class Proxy:
    """A TCP relay in front of HBase that can cut every connection that goes through it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target, self.open = target, list[socket.socket]()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in self.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.server.accept()
                far = socket.create_connection(self.target)
                self.open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    @staticmethod
    def _relay(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65536):
                sink.sendall(data)


def test_a_dropped_connection_is_replaced_and_nothing_is_lost(tables: Settings, hbase_prefix: str) -> None:
    rows = [movement(8, number) for number in range(10)]
    proxy = Proxy(tables.hbase_address())
    with proxy.server, HistoryClient("127.0.0.1", proxy.port, hbase_prefix) as client:
        client.put_many("mv", rows[:5], timestamp=1)
        proxy.cut()
        client.put_many("mv", rows[5:], timestamp=1)
        proxy.cut()
        assert len(client.movements(8, 100)) == 10
        proxy.cut()


def test_a_table_that_is_not_there_is_named_with_the_command_that_makes_it(tables: Settings) -> None:
    with HistoryClient(*tables.hbase_address(), prefix="absent_") as client, pytest.raises(ServiceMissing, match="hbase apply"):
        client.get("mv", b"x")


def test_a_bad_column_family_is_refused_and_not_tried_again(client: HistoryClient) -> None:
    with pytest.raises(Failed, match="NoSuchColumnFamily"):
        client._call(lambda thrift: thrift.getRowWithColumns(client._name("mv"), b"x", [b"q:p"], {}))


def test_hbase_down_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with HistoryClient("127.0.0.1", port) as client, pytest.raises(ServiceMissing, match=f"127.0.0.1:{port}"):
        client.get("mv", b"x")
    assert time.monotonic() - started < 2


def test_a_server_that_never_answers_costs_two_time_limits_at_most() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with (
            HistoryClient("127.0.0.1", silent.getsockname()[1], timeout_seconds=0.5) as client,
            pytest.raises(ServiceMissing),
        ):
            client.get("mv", b"x")
        assert 0.9 < time.monotonic() - started < 3
