"""A simulated world as the rows that `land` and `extract` would have written, for the reconciliation on DuckDB."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from domain.vocabulary import CONTROL_ROLES, FileKind
from lake.tables import TABLES
from simulator.file_format import Row
from simulator.parameters import CURRENCY
from simulator.world import World

_LANDED = {
    FileKind.ORDERS: "platform_order",
    FileKind.POSTINGS: "virtual_posting",
    FileKind.BALANCES: "virtual_balance",
    FileKind.CHANNEL: "channel_order",
    FileKind.STATEMENT: "bank_statement_line",
}
_TIMES = ("txn_at", "created_at")


def _typed(row: Row) -> dict[str, Any]:
    return {name: _utc(datetime.fromisoformat(str(cell))) if name in _TIMES else cell for name, cell in row.items()}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def landed_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """Rows of every file by lake table; a damaged file is refused whole, a status that is none lies in quarantine."""
    rows: dict[str, list[dict[str, Any]]] = {
        "file_control": [],
        "quarantine_row": [],
        **{table: [] for table in _LANDED.values()},
    }
    for feed in world.feeds:
        place = {"business_date": feed.business_date, "platform_id": feed.platform_id, "run_id": 1}
        state = {"state": "REFUSED" if feed.damage else "ACCEPTED", "reason_code": feed.damage}
        sent = {"sender_id": feed.sender, "file_name": feed.file_name}
        rows["file_control"].append({**place, **state, **sent, "file_kind": feed.kind.value})
        if feed.kind in _LANDED and not feed.damage:
            rows[_LANDED[feed.kind]] += [
                {**place, **sent, "line_no": number, **_typed(row)} for number, row in enumerate(feed.rows, start=3)
            ]
        bad = {"column_name": "loan_status", "reason": "not a word of the list", "raw_text": "99", "file_kind": feed.kind.value}
        rows["quarantine_row"] += [
            {**place, **sent, **bad, "line_no": number}
            for number, row in enumerate(feed.rows, start=3)
            if row.get("loan_status") == "99"
        ]
    return rows


def ledger_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """Movements, orders and daily balances of book B."""
    movements: list[dict[str, Any]] = []
    balances: list[dict[str, Any]] = []
    orders: list[dict[str, Any]] = []
    for state in world.states:
        roles = state.book.roles
        base = {"platform_id": state.platform_id, "currency": CURRENCY, "run_id": 1}
        for number, order in enumerate(state.book.orders):
            orders.append({
                **base, "business_date": order.business_date, "order_id": number, "request_no": order.request_no,
                "order_type": order.order_type.value, "amount_minor": order.amount_minor, "recorded_at": _utc(order.at),
            })  # fmt: skip
            for seq, move in enumerate(order.movements, start=1):
                movements.append({
                    **base, "business_date": order.business_date, "movement_id": len(movements) + 1, "seq": seq,
                    "request_no": order.request_no, "order_type": order.order_type.value,
                    "movement_type": move.movement_type.value,
                    "debit_account_no": move.debit, "debit_role": roles[move.debit].value,
                    "credit_account_no": move.credit, "credit_role": roles[move.credit].value,
                    "amount_minor": move.amount_minor, "recorded_at": _utc(order.at),
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
    """Add rows to an input of the reconciliation; columns that no row has stay null."""
    names = [name for name in TABLES[table].columns if name in rows[0]]
    content = pa.table({name: [row[name] for row in rows] for name in names})
    connection.register("content", content)
    connection.execute(f"insert into {table} ({', '.join(names)}) select * from content")
    connection.unregister("content")
