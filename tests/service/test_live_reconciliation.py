"""What platforms tell of their postings against book B while the day goes on: same verdicts as the night's, in whatever order."""

from __future__ import annotations

import csv
import io
import random
import time
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recon import platform_orders
from recon.on_duckdb import create_inputs, reconciled
from recon.pipeline import Scope
from transactional.keys import add_key
from transactional.live.worker import EVENTS_A_TURN_MAX, POSTINGS_A_TURN_MAX

CHANNEL, INCOME = "P01-X-CHANNEL-PC01", "P01-F-INCOME"
START = datetime(2026, 8, 3, 4, tzinfo=UTC)  # noon in Shanghai, far from the cut-off
WAIT_S = 300
TURN = f"SELECT live.turn({EVENTS_A_TURN_MAX}, {POSTINGS_A_TURN_MAX}, {WAIT_S})"
UNREAD = """SELECT EXISTS (SELECT FROM live.cursor c
                 JOIN outbox.event e ON e.transaction_id >= c.done_to AND e.topic = 'ledger.posted')
  OR EXISTS (SELECT FROM live.cursor c JOIN live.posting p ON p.transaction_id >= c.done_to)
  OR EXISTS (SELECT FROM live.open_key WHERE due_at <= ledger.clock_now())"""
NO_ORDERS = {"orders": 0, "orders_new": 0, "orders_unchanged": 0}
Line = dict[str, Any]


class Bank:
    """The service at a standing clock, and platform P01 that tells."""

    def __init__(self, api: Any) -> None:
        self.api, self.now, self.numbers = api, START, count(1)
        self.platform = {
            name: {"Authorization": f"Bearer {add_key(api.admin_url, name)}"} for name in ("P01", "P02")
        }  # fmt: skip
        self.move_clock(0)

    def move_clock(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        assert self.api.client.post("/v1/clock", json={"now": self.now.isoformat()}).status_code == 200

    def tell(self, *lines: Line, platform: str = "P01", key: str | None = None, dry_run: bool = False) -> Any:
        headers = {"Idempotency-Key": key or f"tell-{next(self.numbers)}", **self.platform[platform]}
        postings, orders = ([line for line in lines if ("seq" in line) is is_posting] for is_posting in (True, False))
        body = {"platform_id": platform, "postings": postings, "orders": orders}
        path = "/v1/postings" + ("?dry_run=true" if dry_run else "")
        return self.api.client.post(path, json=body, headers=headers)

    def told(self, *lines: Line) -> dict[str, Any]:
        answer = self.tell(*lines)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def book(self, *lines: Line) -> None:
        moves = [
            (line["movement_type"], line["debit_account_no"], line["credit_account_no"], line["amount_minor"]) for line in lines
        ]
        answer = self.api.post(self.api.order("RECHARGE", *moves, request_no=lines[0]["request_no"]))
        assert answer.status_code == 201, answer.text

    def line(self, request_no: str, **more: Any) -> Line:
        return {
            **{"request_no": request_no, "seq": 1, "movement_type": "RECHARGE", "debit_account_no": CHANNEL},
            **{"credit_account_no": "P01-L-000001", "amount_minor": 1000, "currency": "CNY", "txn_at": self.now.isoformat()},
            **more,
        }

    def order(self, request_no: str, **more: Any) -> Line:
        return {
            **{"request_no": request_no, "order_type": "RECHARGE", "account_no": "P01-L-000001", "amount_minor": 1000},
            **{"currency": "CNY", "order_status": "SUCCESS", "created_at": self.now.isoformat(), **more},
        }

    def turn(self) -> None:
        with psycopg.connect(self.api.service_url) as connection:
            connection.execute(TURN)

    def killed_turn(self) -> None:
        """A worker that dies before its commit."""
        with psycopg.connect(self.api.service_url) as connection:
            connection.execute(TURN)
            with psycopg.connect(self.api.service_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")

    def settle(self) -> None:
        """Turns until everything committed was looked at."""
        deadline = time.monotonic() + 20
        while self.api.rows(UNREAD)[0][0]:
            assert time.monotonic() < deadline
            self.turn()

    def verdicts(self, request_no: str) -> list[tuple[Any, ...]]:
        return self.api.rows(
            f"""SELECT match_key, state, code, failing, effect_minor FROM live.verdict
                WHERE request_no = '{request_no}' ORDER BY verdict_id"""
        )


@pytest.fixture
def bank(api: Any) -> Bank:
    return Bank(api)


def test_a_line_waits_for_its_other_side_becomes_a_break_and_is_cured_late_with_its_history(bank: Bank) -> None:
    bank.told(bank.line("V-1"))
    bank.book(bank.line("B-1"))
    bank.settle()
    assert bank.verdicts("V-1") == [("V-1#1", "WAITING", "B01", "not in B", 1000)]
    assert bank.verdicts("B-1") == [("B-1#1", "WAITING", "B02", "not in V", -1000)]
    bank.move_clock(WAIT_S - 1)
    bank.settle()
    assert bank.api.client.get("/readyz").json()["live"] == {"platforms": 1, "waiting": 2, "breaks": 0, "lag_s": 0.0}
    bank.move_clock(1)
    bank.settle()
    assert [v[1:3] for v in bank.verdicts("V-1")] == [("WAITING", "B01"), ("BREAK", "B01")]
    bank.book(bank.line("V-1"))
    bank.told(bank.line("B-1", amount_minor=999))
    bank.settle()
    assert [v[1:4] for v in bank.verdicts("V-1")][2:] == [("MATCHED", None, "")]
    assert [v[1:] for v in bank.verdicts("B-1")][1:] == [("BREAK", "B02", "not in V", -1000), ("BREAK", "B04", "amount", -1)]
    heard = bank.api.rows(
        "SELECT topic, payload ->> 'match_key', payload ->> 'code' FROM outbox.event WHERE topic ~ '^recon' ORDER BY event_id"
    )
    assert heard == [
        ("recon.break", "B-1#1", "B02"),
        ("recon.break", "V-1#1", "B01"),
        ("recon.break", "B-1#1", "B04"),
        ("recon.cured", "V-1#1", "B01"),
    ]
    before = bank.api.rows("SELECT count(*) FROM live.verdict")
    bank.turn()
    assert bank.api.rows("SELECT count(*) FROM live.verdict") == before
    with psycopg.connect(bank.api.admin_url) as connection, pytest.raises(psycopg.Error, match="never changed"):
        connection.execute("UPDATE live.verdict SET state = 'MATCHED'")


def test_telling_again_changes_nothing_and_the_same_key_in_other_words_is_a_duplicate(bank: Bank) -> None:
    line, ledger = bank.line("V-2"), bank.api.content()
    assert bank.tell(line, dry_run=True).status_code == 200
    assert bank.api.rows("SELECT count(*) FROM live.posting") == [(0,)]
    first = bank.tell(line, line, key="once")
    assert first.json() == {"postings": 2, "new": 1, "unchanged": 1, "repeats": 0, **NO_ORDERS}
    again = bank.tell(line, line, key="once")
    assert again.headers["Idempotency-Replayed"] == "true" and again.json() == first.json()
    assert bank.told(line) == {"postings": 1, "new": 0, "unchanged": 1, "repeats": 0, **NO_ORDERS}
    assert bank.told({**line, "amount_minor": 7}) == {"postings": 1, "new": 1, "unchanged": 0, "repeats": 1, **NO_ORDERS}
    bank.book(line)
    bank.settle()
    assert bank.verdicts("V-2")[-1] == ("V-2#1", "BREAK", "B08", "key repeats in V", 7)
    told = {name: was for name, was in bank.api.content().items() if name not in ("api.answer", "ledger.balance", "ledger.clock")}
    assert {name for name, now in told.items() if now != ledger[name]} == {
        "ledger.trade_order",
        "ledger.movement",
        "ledger.entry",
    }


def test_only_a_platform_itself_tells_and_each_sees_its_own(bank: Bank) -> None:
    line = bank.line("V-3")
    body = {"platform_id": "P01", "postings": [line]}
    assert bank.api.post(body, path="/v1/postings").json()["code"] == "NOT_PERMITTED"
    headers = {"Idempotency-Key": "other", **bank.platform["P02"]}
    assert bank.api.client.post("/v1/postings", json=body, headers=headers).json()["code"] == "NOT_FOUND"
    bad = {**line, "txn_at": "1066-10-14T09:00:00Z"}
    assert bank.tell(bad).json()["field"] == "postings[0].txn_at"
    bank.told(line, bank.line("V-3", seq=2, movement_type="COMMISSION"))
    bank.settle()
    path = "/v1/reconciliation/live"
    seen = bank.api.client.get(path, params={"state": "WAITING", "limit": 1}, headers=bank.platform["P01"]).json()
    more = bank.api.client.get(
        path, params={"state": "WAITING", "limit": 1, "cursor": seen["next_cursor"]}, headers=bank.platform["P01"]
    )
    keys = {row["match_key"] for row in (*seen["rows"], *more.json()["rows"])}
    assert keys == {"V-3#1", "V-3#2"} and more.json()["next_cursor"] is None
    assert bank.api.client.get(path, headers=bank.platform["P02"]).json()["rows"] == []
    assert bank.api.client.get(f"{path}/P01/V-3", headers=bank.platform["P02"]).status_code == 404
    officer = bank.api.staff("ann", "officer")
    sheet = bank.api.client.get(path, params={"format": "csv"}, headers=officer)
    assert {row["match_key"] for row in csv.DictReader(io.StringIO(sheet.text))} == keys
    one = bank.api.client.get(f"{path}/P01/V-3", headers=officer).json()
    assert len(one["postings"]) == 2 and one["movements"] == [] and one["night"] == []
    assert one["verdicts"][0]["effects"] == [{"book": "V", "account_no": "P01-L-000001", "effect_minor": 1000}]
    looks = bank.api.rows(
        "SELECT kind, subject, row_count FROM auth.access_log WHERE kind IN ('EXPORT', 'ACCOUNT_SEEN') ORDER BY 1 DESC"
    )
    assert [(kind, rows) for kind, _, rows in looks] == [("EXPORT", 2), ("ACCOUNT_SEEN", None)]
    assert bank.api.client.get(path, headers=bank.api.staff("vic", "viewer")).status_code == 403


def test_what_custody_moved_before_a_platform_takes_part_is_not_missed(bank: Bank) -> None:
    bank.book(bank.line("OLD-1"))
    bank.turn()
    bank.move_clock(1)
    bank.told(bank.line("V-4"))
    bank.book(bank.line("NEW-1"))
    bank.move_clock(WAIT_S)
    bank.settle()
    assert bank.verdicts("OLD-1") == [] and bank.verdicts("NEW-1")[-1][1] == "BREAK"
    bank.told(bank.line("OLD-1"))
    bank.settle()
    assert [v[1] for v in bank.verdicts("OLD-1")] == ["MATCHED"]


FAULTS = ("none", "only V", "only B", "amount", "accounts", "type", "twice", "twice, next day")


@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_order_of_arrival_repetitions_and_kills_end_in_the_night_s_items(bank: Bank, seed: int) -> None:
    chance, prefix = random.Random(seed), f"S{next(bank.numbers)}"
    first_day = bank.now
    bank.told(bank.line(f"{prefix}-join"))
    bank.book(bank.line(f"{prefix}-join"))
    work: list[tuple[str, list[Line]]] = []
    for number in range(16):
        fault = FAULTS[number % len(FAULTS)]
        request = f"{prefix}-{number}"
        when = {"txn_at": (first_day + timedelta(days=chance.randint(0, 1))).isoformat()}
        fee = {"seq": 2, "movement_type": "COMMISSION", "debit_account_no": "P01-L-000001", "credit_account_no": INCOME}
        custody = [bank.line(request), bank.line(request, **fee, amount_minor=10)]
        changed: Line = {
            "amount": {"amount_minor": 1001},
            "accounts": {"credit_account_no": "P01-L-000002"},
            "type": {"movement_type": "PROFIT"},
        }.get(fault, {})
        told = [bank.line(request, **{**when, **changed}), bank.line(request, **fee, amount_minor=10, **when)]
        if fault != "only V":
            work.append(("book", custody))
        if fault != "only B":
            work += [("tell", told), ("tell", told[:1])]
        if fault.startswith("twice"):
            later = bank.line(request, txn_at=(first_day + timedelta(days=int(fault != "twice"), hours=1)).isoformat())
            work.append(("tell", [later]))
    work += [("turn", [])] * 4 + [("kill", [])] * 2
    chance.shuffle(work)
    for place, (what, lines) in enumerate(work):
        if place == len(work) // 2:
            bank.move_clock(24 * 3600)
        {"book": bank.book, "tell": bank.told, "turn": bank.turn, "kill": bank.killed_turn}[what](*lines)
    bank.move_clock(WAIT_S)
    bank.settle()
    found = breaks(bank, prefix)
    assert found == items_of_the_night(bank, prefix, first_day.date(), "R3")
    assert len({code for _, code, *_ in found}) >= 5
    keys = f"SELECT count(*) FROM live.open_key WHERE request_no LIKE '{prefix}-%'"
    assert bank.api.rows(keys) == [(len(found),)]


@pytest.mark.parametrize("seed", [3, 4])
def test_orders_told_in_any_order_end_in_the_night_s_items_of_r1(bank: Bank, seed: int) -> None:
    chance, prefix = random.Random(seed), "O"
    bank.told(bank.line(f"{prefix}-join"), bank.order(f"{prefix}-join"))
    bank.book(bank.line(f"{prefix}-join"))
    work: list[tuple[str, list[Line]]] = [("turn", [])] * 4
    changes: list[Line] = [{}, {"amount_minor": 999}, {"order_status": "FAILED"}, {"order_type": "WITHDRAW"}]
    for number, change in enumerate([*changes, {}, {}, {}, {}]):
        line, order = bank.line(f"{prefix}-{number}"), bank.order(f"{prefix}-{number}", **change)
        work.append(("tell", [{**order, "order_status": "PROCESSING"}]))
        if number != 4:  # 4: an order that the platform never lists as done
            work.append(("tell", [order]))
        if number == 5:  # listed twice
            work.append(("tell", [{**order, "created_at": (bank.now + timedelta(seconds=9)).isoformat()}]))
        if number != 6:  # 6: an order that neither ledger has; 7: one that only custody has, which is R2's
            work += [("book", [line]), *([("tell", [line])] if number != 7 else [])]
    chance.shuffle(work)
    for what, lines in work:
        {"book": bank.book, "tell": bank.told, "turn": bank.turn}[what](*lines)
    bank.settle()
    bank.move_clock(WAIT_S)
    bank.settle()
    found = breaks(bank, prefix, "R1")
    assert found == items_of_the_night(bank, prefix, bank.now.date(), "R1")
    assert {key: code for key, code, *_ in found} == {
        **{"O-1": "B16", "O-2": "B06", "O-3": "B07", "O-4": "B02", "O-5": "B08", "O-6": "B03"}
    }
    states = bank.api.rows(
        "SELECT match_key, state FROM live.current_verdict WHERE recon_id = 'R1' AND state IN ('LEFT', 'MATCHED')"
    )
    assert set(states) == {("O-join", "MATCHED"), ("O-0", "MATCHED"), ("O-7", "LEFT")}
    words = dict(bank.api.rows("SELECT kind, array_agg(word) FROM live.order_word GROUP BY kind"))
    assert {kind: set(found) for kind, found in words.items()} == {
        "PENDING": set(platform_orders.PENDING_STATUSES),
        "FEE": set(platform_orders.FEES),
        "HOLDING": set(platform_orders.HOLDING),
        "LEFT_OUT": {*platform_orders.NOT_MOVING, *platform_orders.OF_THE_BANK},
    }


def breaks(bank: Bank, prefix: str, recon_id: str = "R2") -> set[tuple[Any, ...]]:
    """Live breaks: key, code, item, opened on, effects."""
    rows = bank.api.rows(
        f"""SELECT match_key, code, item_id, opened_on, effects FROM live.current_verdict
            WHERE request_no LIKE '{prefix}-%' AND state IN ('BREAK', 'WAITING') AND recon_id = '{recon_id}'"""
    )
    return {(*item, tuple((one["book"], one["account_no"], one["effect_minor"]) for one in effects)) for *item, effects in rows}


def items_of_the_night(bank: Bank, prefix: str, first: date, recon_id: str) -> set[tuple[Any, ...]]:
    """What R3 or R1 makes of the same rows, by the night's own statements on DuckDB."""
    last = first + timedelta(days=1)
    posted = bank.api.rows(
        f"""SELECT business_date, platform_id, currency, request_no, seq, movement_type, debit_account_no, credit_account_no,
            amount_minor, txn_at AT TIME ZONE 'UTC' FROM live.posting WHERE request_no LIKE '{prefix}-%'"""
    )
    moved = bank.api.rows(
        f"""SELECT m.business_date, o.platform_id, m.currency, o.request_no, m.seq, m.movement_type, d.account_no, c.account_no,
              m.amount_minor, m.recorded_at AT TIME ZONE 'UTC', d.account_role, c.account_role, m.movement_id, o.order_type
            FROM ledger.movement m JOIN ledger.trade_order o USING (order_id)
            JOIN registry.account d ON d.account_id = m.debit_account_id
            JOIN registry.account c ON c.account_id = m.credit_account_id WHERE o.request_no LIKE '{prefix}-%'"""
    )
    ordered = bank.api.rows(
        f"""SELECT business_date, platform_id, currency, request_no, order_type, account_no, amount_minor, order_status,
            created_at AT TIME ZONE 'UTC' FROM live.platform_order WHERE request_no LIKE '{prefix}-%'"""
    )
    common = (
        "business_date, platform_id, currency, request_no, seq, movement_type, debit_account_no, credit_account_no, amount_minor"
    )
    with duckdb.connect() as connection:
        create_inputs(connection)
        _insert(connection, "virtual_posting", f"{common}, txn_at", posted)
        _insert(connection, "ledger_movement", f"{common}, recorded_at, debit_role, credit_role, movement_id, order_type", moved)
        if ordered:
            columns = (
                "business_date, platform_id, currency, request_no, order_type, account_no, amount_minor, order_status, created_at"
            )
            _insert(connection, "platform_order", columns, ordered)
        days = [(day, "P01", "P01", "postings", "P01.postings.csv.gz", "ACCEPTED") for day in (first, last)]
        _insert(connection, "file_control", "business_date, platform_id, sender_id, file_kind, file_name, state", days)
        control = [(day, "P01", "CNY", CHANNEL, "CHANNEL_RECEIVABLE", True, 0, 0) for day in (first, last)]
        columns = "business_date, platform_id, currency, account_no, account_role, is_control, opening_minor, closing_minor"
        _insert(connection, "ledger_balance", columns, control)
        with reconciled(connection, Scope(1, first, last, first, ZoneInfo("Asia/Shanghai"))) as views:
            rows = connection.execute(
                f"""SELECT i.match_key, i.code, i.item_id, i.opened_on, e.book, e.account_no, e.effect_minor
                    FROM {views["open_item"]} i
                    LEFT JOIN {views["open_item_effect"]} e ON e.item_id = i.item_id AND e.business_date = i.business_date
                    WHERE i.recon_id = ? AND i.business_date = ?""",
                [recon_id, last],
            ).fetchall()
    effects: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for *item, book, account, effect in rows:
        effects.setdefault(tuple(item), []).extend([(book, account, effect)] if book else [])
    return {(key, _by_key(code, found), *rest, tuple(sorted(found))) for (key, code, *rest), found in effects.items()}


def _by_key(code: str, effects: list[tuple[Any, ...]]) -> str:
    """The code without a look at other keys: of several records that fit each other the live run says which side lacks."""
    return {"V": "B01", "B": "B02"}[effects[0][0]] if code == "B28" else code


def _insert(connection: duckdb.DuckDBPyConnection, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(rows[0]))
    connection.executemany(f"insert into {table} ({columns}) values ({marks})", rows)
