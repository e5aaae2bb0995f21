"""A simulated world as the rows that `land` and `extract` would have written, for the reconciliation on DuckDB."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from domain.vocabulary import CONTROL_ROLES, FileKind
from lake.tables import TABLES
from simulator.file_format import Cell, Row
from simulator.parameters import CURRENCY
from simulator.world import World

_LANDED = {
    FileKind.ORDERS: "platform_order",
    FileKind.POSTINGS: "virtual_posting",
    FileKind.BALANCES: "virtual_balance",
    FileKind.CHANNEL: "channel_order",
    FileKind.SETTLEMENT: "channel_settlement",
    FileKind.STATEMENT: "bank_statement_line",
    FileKind.GENERAL_LEDGER: "general_ledger_line",
}
_TIMES = ("txn_at", "created_at")


def _typed(row: Row) -> dict[str, Any]:
    return {name: _cell(name, cell) for name, cell in row.items()}


def _cell(name: str, cell: Cell) -> Any:
    if name in _TIMES:
        return _utc(datetime.fromisoformat(str(cell)))
    return date.fromisoformat(str(cell)) if name == "settled_on" else cell


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


def position_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """What the snapshot makes of claims that a file reports otherwise than book B on any date, and of their loans: all other
    claims and loans agree, so they are left out on both sides."""
    claims: list[dict[str, Any]] = []
    loans: dict[tuple[Any, ...], int] = {}
    for state in world.states:
        paid: dict[str, list[tuple[date, int]]] = {}
        for order in state.book.orders:
            for move in order.movements:
                if move.component == "P" and move.claim_no:
                    paid.setdefault(move.claim_no, []).append((order.business_date, move.amount_minor))
        for claim in _reported(world, state.platform_id).values():
            rows = [row for day in world.parameters.dates if (row := _position(claim, paid, day, state.platform_id))]
            if any(row["is_open"] and row["principal_minor"] != row["outstanding_principal_minor"] for row in rows):
                claims += rows
                for row in rows:
                    place = (row["platform_id"], row["business_date"], row["loan_no"])
                    loans[place] = loans.get(place, 0) + row["outstanding_principal_minor"]
    base = {"currency": CURRENCY, "run_id": 1}
    owed = [
        {**base, "platform_id": platform, "business_date": day, "loan_no": loan, "outstanding_principal_minor": minor}
        for (platform, day, loan), minor in loans.items()
    ]
    return {"claim_snapshot": claims, "loan_snapshot": owed}


def _reported(world: World, platform_id: str) -> dict[str, list[tuple[date, Row]]]:
    found: dict[str, list[tuple[date, Row]]] = {}
    for feed in world.feeds:
        if feed.platform_id == platform_id and feed.kind is FileKind.CLAIMS:
            for row in feed.rows:
                found.setdefault(str(row["claim_no"]), []).append((feed.business_date, row))
    return {claim: sorted(rows, key=lambda one: one[0]) for claim, rows in found.items()}


def _position(
    reported: list[tuple[date, Row]], paid: dict[str, list[tuple[date, int]]], day: date, platform_id: str
) -> dict[str, Any] | None:
    known = [row for sent, row in reported if sent <= day]
    if not known:
        return None
    first_on, first = reported[0]
    claim, closed = str(first["claim_no"]), known[-1]["closed_on"]
    is_open = closed is None or date.fromisoformat(str(closed)) > day
    repaid = sum(amount for on, amount in paid.get(claim, []) if first_on < on <= day)
    left = max(int(first["principal_minor"] or 0) - repaid, 0) if is_open else 0
    return {
        "platform_id": platform_id,
        "business_date": day,
        "run_id": 1,
        "currency": CURRENCY,
        "claim_no": claim,
        "loan_no": first["loan_no"],
        "principal_minor": known[-1]["principal_minor"],
        "outstanding_principal_minor": left,
        "is_open": is_open,
    }


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
    if not rows:
        return
    names = [name for name in TABLES[table].columns if name in rows[0]]
    content = pa.table({name: [row[name] for row in rows] for name in names})
    connection.register("content", content)
    connection.execute(f"insert into {table} ({', '.join(names)}) select * from content")
    connection.unregister("content")
