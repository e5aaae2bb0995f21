"""The default world through the real reconciliation (on DuckDB): precision and recall against the answer key are 1."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from domain.vocabulary import CONTROL_ROLES, FileKind
from lake.tables import TABLES
from recon.on_duckdb import create_inputs, reconciled
from recon.pipeline import Scope
from simulator.answer_key import Finding, compare, expected_findings
from simulator.bank_day import is_working_day
from simulator.file_format import Row
from simulator.parameters import CURRENCY, WorldParameters
from simulator.world import World, make_world

LANDED = {
    FileKind.ORDERS: "platform_order",
    FileKind.POSTINGS: "virtual_posting",
    FileKind.BALANCES: "virtual_balance",
    FileKind.CHANNEL: "channel_order",
    FileKind.STATEMENT: "bank_statement_line",
}
TIMES = ("txn_at", "created_at")


def typed(row: Row) -> dict[str, Any]:
    return {name: utc(datetime.fromisoformat(str(cell))) if name in TIMES else cell for name, cell in row.items()}


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def landed_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {"file_control": [], "quarantine_row": [], **{table: [] for table in LANDED.values()}}
    for feed in world.feeds:
        place = {"business_date": feed.business_date, "platform_id": feed.platform_id, "run_id": 1}
        state = {"state": "REFUSED" if feed.damage else "ACCEPTED", "reason_code": feed.damage}
        sent = {"sender_id": feed.sender, "file_name": feed.file_name}
        rows["file_control"].append({**place, **state, **sent, "file_kind": feed.kind.value})
        if feed.kind in LANDED and not feed.damage:
            rows[LANDED[feed.kind]] += [
                {**place, **sent, "line_no": number, **typed(row)} for number, row in enumerate(feed.rows, start=3)
            ]
        bad = {"column_name": "loan_status", "reason": "not a word of the list", "raw_text": "99", "file_kind": feed.kind.value}
        rows["quarantine_row"] += [
            {**place, **sent, **bad, "line_no": number}
            for number, row in enumerate(feed.rows, start=3)
            if row.get("loan_status") == "99"
        ]
    return rows


def ledger_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    movements, balances, orders = [], [], []
    for state in world.states:
        roles = state.book.roles
        base = {"platform_id": state.platform_id, "currency": CURRENCY, "run_id": 1}
        for number, order in enumerate(state.book.orders):
            orders.append({
                **base, "business_date": order.business_date, "order_id": number, "request_no": order.request_no,
                "order_type": order.order_type.value, "amount_minor": order.amount_minor, "recorded_at": utc(order.at),
            })  # fmt: skip
            for seq, move in enumerate(order.movements, start=1):
                movements.append({
                    **base, "business_date": order.business_date, "movement_id": len(movements) + 1, "seq": seq,
                    "request_no": order.request_no, "order_type": order.order_type.value,
                    "movement_type": move.movement_type.value,
                    "debit_account_no": move.debit, "debit_role": roles[move.debit].value,
                    "credit_account_no": move.credit, "credit_role": roles[move.credit].value,
                    "amount_minor": move.amount_minor, "recorded_at": utc(order.at),
                })  # fmt: skip
        before: dict[str, int] = {}
        for day in world.parameters.dates:
            closing, held = state.closes[day].balance, state.closes[day].held
            balances += [
                {**base, "business_date": day, "account_no": account, "account_role": role.value,
                 "is_control": role in CONTROL_ROLES, "opening_minor": before.get(account, 0), "closing_minor": closing[account],
                 "held_minor": held[account]}
                for account, role in roles.items()
            ]  # fmt: skip
            before = closing
    return {"ledger_movement": movements, "ledger_balance": balances, "ledger_order": orders}


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    names = [name for name in TABLES[table].columns if name in rows[0]]
    content = pa.table({name: [row[name] for row in rows] for name in names})
    connection.register("content", content)
    connection.execute(f"insert into {table} ({', '.join(names)}) select * from content")
    connection.unregister("content")


@pytest.fixture(scope="module")
def reconciliation() -> Any:
    world = make_world(WorldParameters())
    with duckdb.connect() as connection:
        create_inputs(connection)
        for table, rows in (landed_rows(world) | ledger_rows(world)).items():
            insert(connection, table, rows)
        dates = world.parameters.dates
        with reconciled(connection, Scope(1, dates[0], dates[-1], dates[0], ZoneInfo("Asia/Shanghai"))) as views:
            items = connection.execute(
                f"select distinct opened_code, platform_id, opened_on, match_key, code, recon_id from {views['open_item']}"
            ).fetchall()
            days = connection.execute(
                "select opened_code, platform_id, match_key, opened_on, count(distinct business_date) "
                f"from {views['open_item']} group by all"
            ).fetchall()
            yield world, items, days


def test_the_default_world_s_answer_key_is_found_exactly(reconciliation: Any) -> None:
    world, items, _ = reconciliation
    found = {Finding(code, platform, str(opened_on), key) for code, platform, opened_on, key, *_ in items}
    result = compare(expected_findings(item.as_json() for item in world.items), found)
    assert result["missed"] == []
    assert result["extra"] == []
    assert result["ok"] is True


def test_items_keep_their_code_and_the_rule_that_the_key_names(reconciliation: Any) -> None:
    world, items, _ = reconciliation
    expected = {(item.code, item.platform_id, item.match_key, item.recon_id) for item in world.items}
    assert {(code, platform, key, recon_id) for _, platform, _, key, code, recon_id in items} == expected


def test_items_with_a_cure_are_open_one_date_and_the_others_until_the_end(reconciliation: Any) -> None:
    world, _, days = reconciliation
    open_days = {tuple(key): count for *key, count in days}
    last = world.parameters.end
    for item in world.items:
        broken = {other.business_date for other in world.items if other.code == "B24" and other.platform_id == item.platform_id}
        span = (last - item.business_date).days + 1
        hidden = sum(item.business_date < day <= last for day in broken)
        if item.code == "B13":  # an item only when it has waited for more than three working days
            days_on = [item.business_date + timedelta(days=step) for step in range(span)]
            span = sum(sum(map(is_working_day, days_on[1 : step + 1])) > 3 for step in range(span))
            hidden = sum(sum(is_working_day(one) for one in days_on[1:] if one <= day) > 3 for day in broken if day <= last)
        expected = 1 if item.cured_on or item.code in ("B24", "B25") else span - hidden
        assert open_days[item.code, item.platform_id, item.match_key, item.business_date] == expected, item
