"""Reconciliation on DuckDB: every code raised and not raised, items over time, promise 1 (spec 07)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.calendars import Calendar
from domain.channel_fees import FeeTerm
from domain.errors import BadInput
from domain.ids import item_id
from lake.tables import TABLES
from recon.on_duckdb import create_inputs, reconciled
from recon.outputs import WRITTEN
from recon.pipeline import Scope


def at(*parts: int) -> datetime:
    """A UTC moment as the lake stores it: without zone."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[arg-type,misc]


DAY = date(2026, 8, 3)
NOON = at(2026, 8, 3, 4)
NEAR_CUTOFF = at(2026, 8, 3, 14, 30)  # 22:30 in Shanghai, cut-off 23:00
P = "P01"
LENDER, BORROWER, OTHER, INCOME = "P01-L-1", "P01-B-1", "P01-L-2", "P01-F-INCOME"
SPECIAL, CHANNEL, PAYABLE = "P01-X-SPECIAL", "P01-X-CHANNEL-PC01", "P01-X-WITHDRAWAL"
ROLES = {
    LENDER: "INVESTOR", OTHER: "INVESTOR", BORROWER: "BORROWERS", INCOME: "PLATFORM_INCOME",
    SPECIAL: "SPECIAL_ACCOUNT", CHANNEL: "CHANNEL_RECEIVABLE", PAYABLE: "WITHDRAWAL_PAYABLE",
}  # fmt: skip
CONTROL = {SPECIAL, CHANNEL, PAYABLE}
FILES = ("postings", "balances", "channel", "statement")
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Move:
    """One movement as a book has it."""

    day: date
    request: str
    kind: str
    debit: str
    credit: str
    amount: int
    seq: int = 1
    at: datetime | None = None

    @property
    def moment(self) -> datetime:
        return self.at or datetime.combine(self.day, NOON.time())


@dataclass
class Books:
    """Movements of V, B and C, and closings of V that were altered alone; files that did not come."""

    first: date
    days: int
    v: list[Move] = field(default_factory=list)
    b: list[Move] = field(default_factory=list)
    c: list[Move] = field(default_factory=list)
    o: list[dict[str, Any]] | None = None
    entries: list[dict[str, Any]] | None = None
    held: dict[tuple[date, str], int] = field(default_factory=dict)
    altered: dict[tuple[date, str], int] = field(default_factory=dict)
    missing: list[tuple[date, str]] = field(default_factory=list)
    statement_error: dict[date, int] = field(default_factory=dict)
    failed: list[Move] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    batch_of: dict[str, str] = field(default_factory=dict)
    reversals: dict[str, str] = field(default_factory=dict)

    def dates(self) -> list[date]:
        return [self.first + timedelta(days=i) for i in range(self.days)]

    def agree(self, *moves: Move) -> Books:
        """Moves that every book has."""
        self.v += moves
        self.b += moves
        self.c += [m for m in moves if m.kind in ("RECHARGE", "WITHDRAW")]
        return self


def closing(moves: list[Move], day: date) -> dict[str, int]:
    totals = dict.fromkeys(ROLES, 0)
    for move in moves:
        if move.day <= day:
            totals[move.debit] -= move.amount
            totals[move.credit] += move.amount
    return totals


def row(table: str, **values: Any) -> dict[str, Any]:
    return {name: values.get(name) for name in TABLES[table].columns} | {"run_id": 1}


def order_type(kind: str) -> str:
    return "DISBURSE" if kind in ("TENDER", "COMMISSION") else kind


def orders(books: Books) -> list[dict[str, Any]]:
    """What an honest platform lists: one order a request of the bank, or of its own where the bank has none, without fees."""
    found: dict[tuple[date, str], dict[str, Any]] = {}
    for book in ([m for m in books.b if m.kind != "SETTLEMENT"], books.v):
        before = {request for _, request in found}
        for m in book:
            if m.kind != "COMMISSION" and m.request not in before:
                one = {"day": m.day, "request": m.request, "type": order_type(m.kind), "amount": 0}
                found.setdefault((m.day, m.request), one)["amount"] += m.amount
    return list(found.values())


def cash(books: Books) -> list[dict[str, Any]]:
    """The statement's entries when the bank booked what custody did."""
    found = []
    for m in books.b:
        if (m.debit == SPECIAL) != (m.credit == SPECIAL):
            found.append({"day": m.day, "ref": m.request, "amount": m.amount if m.debit == SPECIAL else -m.amount})
    return found


def original(books: Books, move: Move) -> int | None:
    """Number of the movement that a reversal takes back."""
    return next((number for number, one in enumerate(books.b) if one.request == books.reversals.get(move.request)), None)


def lake_rows(books: Books) -> Rows:
    """The input tables that land and extract would have written."""
    rows: Rows = {name: [] for name in ("file_control", "virtual_posting", "virtual_balance", "channel_order",
                                        "bank_statement_line", "ledger_movement", "ledger_balance",
                                        "platform_order", "quarantine_row", "ledger_order", "channel_settlement")}  # fmt: skip
    base = {"platform_id": P, "currency": "CNY"}
    for number, o in enumerate(orders(books) if books.o is None else books.o):
        rows["platform_order"].append(
            row("platform_order", **base, business_date=o["day"], file_name="P01.orders.csv.gz", line_no=number,
                request_no=o["request"], order_type=o["type"], amount_minor=o["amount"],
                order_status=o.get("status", "SUCCESS"), created_at=datetime.combine(o["day"], NOON.time())))  # fmt: skip
    for number, e in enumerate(cash(books) if books.entries is None else books.entries, start=1):
        rows["bank_statement_line"].append(
            row("bank_statement_line", **base, business_date=e["day"], file_name="P01.statement.csv.gz", line_no=number,
                line_type="ENTRY", entry_no=number, amount_minor=e["amount"], bank_ref=e["ref"]))  # fmt: skip
    for number, m in enumerate(books.v):
        rows["virtual_posting"].append(
            row("virtual_posting", **base, business_date=m.day, file_name="P01.postings.csv.gz", line_no=number,
                request_no=m.request, seq=m.seq, movement_type=m.kind, debit_account_no=m.debit,
                credit_account_no=m.credit, amount_minor=m.amount, txn_at=m.moment))  # fmt: skip
    for number, m in enumerate(books.b):
        rows["ledger_movement"].append(
            row("ledger_movement", **base, business_date=m.day, movement_id=number, request_no=m.request,
                seq=m.seq, order_type=order_type(m.kind), movement_type=m.kind, debit_account_no=m.debit,
                debit_role=ROLES[m.debit], credit_account_no=m.credit,
                credit_role=ROLES[m.credit], amount_minor=m.amount, recorded_at=m.moment,
                reversal_of=original(books, m)))  # fmt: skip
    for number, m in enumerate([*books.c, *books.failed]):
        rows["channel_order"].append(
            row("channel_order", **base, business_date=m.day, file_name="P01.channel.csv.gz", line_no=number,
                channel_order_no=f"C{number}", request_no=m.request, order_type=m.kind, amount_minor=m.amount,
                account_no=m.debit if m.kind == "WITHDRAW" else m.credit, txn_at=m.moment,
                channel_status="SUCCESS" if number < len(books.c) else "FAILED",
                settlement_batch_no=books.batch_of.get(m.request)))  # fmt: skip
    for number, one in enumerate(books.batches):
        rows["channel_settlement"].append(
            row("channel_settlement", **base, sender_id="PC01", file_name="P01.settlement.csv.gz", line_no=number,
                settled_on=one["business_date"], **one))  # fmt: skip
    for day in books.dates():
        for kind in FILES:
            accepted = (day, kind) not in books.missing
            rows["file_control"].append(
                row("file_control", platform_id=P, business_date=day, sender_id=P, file_kind=kind, file_name=f"P01.{kind}.csv.gz",
                    state="ACCEPTED" if accepted else "MISSING", reason_code=None if accepted else "MISSING"))  # fmt: skip
        v, b, opening = closing(books.v, day), closing(books.b, day), closing(books.b, day - timedelta(days=1))
        for account, role in ROLES.items():
            rows["ledger_balance"].append(
                row("ledger_balance", **base, business_date=day, account_no=account, account_role=role,
                    is_control=account in CONTROL, opening_minor=opening[account], closing_minor=b[account],
                    held_minor=0))  # fmt: skip
            if account not in CONTROL:
                rows["virtual_balance"].append(
                    row("virtual_balance", **base, business_date=day, account_no=account,
                        closing_minor=v[account] + books.altered.get((day, account), 0),
                        held_minor=books.held.get((day, account), 0)))  # fmt: skip
        rows["bank_statement_line"].append(
            row("bank_statement_line", **base, business_date=day, line_type="CLOSING",
                amount_minor=-b[SPECIAL] + books.statement_error.get(day, 0)))  # fmt: skip
    return rows


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        marks = ", ".join("?" for _ in rows[0])
        connection.executemany(f"insert into {table} values ({marks})", [list(r.values()) for r in rows])


def run(
    rows: Rows, first: date, last: date, carried: list[dict[str, Any]] = (), history: list[dict[str, Any]] = (), **clock: Any
) -> Rows:  # type: ignore[assignment]
    """One run over first..last; what it would write."""
    with duckdb.connect() as connection:
        create_inputs(connection)
        for table, content in rows.items():
            insert(connection, table, [r for r in content if first <= r["business_date"] <= last])
        insert(connection, "carried", list(carried))
        insert(connection, "match_history", list(history))
        scope = Scope(1, first, last, min([first, *(r["opened_on"] for r in carried)]), ZoneInfo("Asia/Shanghai"), **clock)
        with reconciled(connection, scope) as views:
            results: Rows = {}
            for table in WRITTEN:
                names = TABLES[table].columns
                found = connection.execute(f"select * from {views[table]} order by all").fetchall()
                results[table] = [dict(zip(names, values, strict=True)) for values in found]
            return results


def reconcile(books: Books) -> Rows:
    return run(lake_rows(books), books.dates()[0], books.dates()[-1])


def one_by_one(books: Books) -> Rows:
    """Single runs, each with the carried rows of the last complete date before it and the matches of all before it."""
    rows, together = lake_rows(books), {table: [] for table in WRITTEN}
    carried: list[dict[str, Any]] = []
    for day in books.dates():
        result = run(rows, day, day, carried, together["match_group"])
        if not any(missing == day for missing, _ in books.missing):
            carried = result["recon_carry"]
        for table in WRITTEN:
            together[table] += result[table]
    return {table: sorted(content, key=repr) for table, content in together.items()}


def found(result: Rows) -> list[tuple[str, str, date, date]]:
    return sorted((r["code"], r["match_key"], r["opened_on"], r["business_date"]) for r in result["open_item"])


def codes(result: Rows) -> list[str]:
    return sorted(r["code"] for r in result["open_item"])


RECHARGE = Move(DAY, "R1", "RECHARGE", CHANNEL, LENDER, 10_000)
TENDER = Move(DAY, "T1", "TENDER", LENDER, BORROWER, 6_000)
FEE = Move(DAY, "T1", "COMMISSION", BORROWER, INCOME, 100, seq=2)
SETTLED = Move(DAY, "S1", "SETTLEMENT", SPECIAL, CHANNEL, 4_000)
WITHDRAWN = Move(DAY, "W1", "WITHDRAW", LENDER, PAYABLE, 500)


def truth(days: int = 1) -> Books:
    """Books that agree: recharge, tender with fee, withdrawal, and a settlement that only the bank has."""
    books = Books(DAY, days).agree(RECHARGE, TENDER, FEE, WITHDRAWN)
    books.b.append(SETTLED)
    return books


def item(result: Rows, code: str, day: date = DAY) -> dict[str, Any]:
    (only,) = [r for r in result["open_item"] if r["code"] == code and r["business_date"] == day]
    return only


def assert_promise(books: Books, result: Rows) -> None:
    """Promise 1 per account and date, from the books themselves, and for the channel in total."""
    incomplete = {day for day, _ in books.missing}
    for day in books.dates():
        if day in incomplete:
            continue
        v, b = closing(books.v, day), closing(books.b, day)
        effects = [e for e in result["open_item_effect"] if e["business_date"] == day]
        for account in ROLES.keys() - CONTROL:
            explained = sum(
                e["effect_minor"] if e["book"] == "V" else -e["effect_minor"]
                for e in effects
                if e["account_no"] == account and e["recon_id"] in ("R3", "R6")
            )
            assert v[account] + books.altered.get((day, account), 0) - b[account] == explained, (day, account)


def test_books_that_agree_give_matches_and_no_open_item() -> None:
    result = reconcile(truth())
    assert codes(result) == []
    assert sorted((r["recon_id"], r["match_key"]) for r in result["match_group"]) == [
        ("R1", "R1"), ("R1", "T1"), ("R1", "W1"), ("R3", "R1#1"), ("R3", "T1#1"), ("R3", "T1#2"), ("R3", "W1#1"), ("R4", "R1"),
        ("R4", "W1"), ("R5", "S1"),
    ]  # fmt: skip
    assert all(r["amount_minor"] == 0 for r in result["balance_equation"] if r["is_residual"])


def without(moves: list[Move], request: str, seq: int = 1) -> list[Move]:
    return [m for m in moves if (m.request, m.seq) != (request, seq)]


def changed(moves: list[Move], request: str, seq: int = 1, **values: Any) -> list[Move]:
    return [replace(m, **values) if (m.request, m.seq) == (request, seq) else m for m in moves]


def test_a_posting_only_the_platform_has_is_b01_with_its_effect_and_identity() -> None:
    books = truth()
    books.b = without(books.b, "T1")
    result = reconcile(books)
    open_item = item(result, "B01")
    assert codes(result) == ["B01"]
    assert open_item["item_id"] == item_id("R3", P, "CNY", "T1#1", "2026-08-03")
    assert (open_item["severity"], open_item["amount_minor"], open_item["age_working_days"]) == ("HIGH", 6_000, 0)
    assert "V has TENDER P01-L-1 > P01-B-1 6000, B has no record" in open_item["explanation"]
    assert "(minor units of CNY)" in open_item["explanation"]
    assert open_item["evidence"] == '{"V":["P01.postings.csv.gz:1"],"B":[]}'
    assert [(e["book"], e["account_no"], e["effect_minor"]) for e in result["open_item_effect"]] == [
        ("V", BORROWER, 6_000), ("V", LENDER, -6_000),
    ]  # fmt: skip
    assert_promise(books, result)


def test_a_movement_only_the_bank_has_is_b02() -> None:
    books = truth()
    books.v = without(books.v, "T1", 2)
    result = reconcile(books)
    assert found(result) == [("B02", "T1#2", DAY, DAY)]
    assert item(result, "B02")["evidence"] == '{"V":[],"B":["movement:2"]}'
    assert_promise(books, result)


@pytest.mark.parametrize(
    ("change", "code", "differs"),
    [
        ({"amount": 6_001}, "B04", "amount differ"),
        ({"credit": INCOME}, "B05", "accounts differ"),
        ({"credit": INCOME, "amount": 7_000}, "B05", "accounts, amount differ"),
        ({"kind": "PRINCIPAL"}, "B07", "movement type differ"),
    ],
)
def test_an_attribute_that_differs_has_its_code_and_effects_of_both_books(
    change: dict[str, Any], code: str, differs: str
) -> None:
    books = truth()
    books.v = changed(books.v, "T1", **change)
    result = reconcile(books)
    assert codes(result) == [code]
    assert differs in item(result, code)["explanation"]
    assert {e["book"] for e in result["open_item_effect"]} == {"V", "B"}
    assert_promise(books, result)


def test_a_posting_written_twice_is_one_b08_and_never_a_match() -> None:
    books = truth()
    books.v.append(TENDER)
    result = reconcile(books)
    assert found(result) == [("B08", "T1#1", DAY, DAY)]
    assert "a key that repeats is never confirmed" in item(result, "B08")["explanation"]
    assert [(e["book"], e["effect_minor"]) for e in result["open_item_effect"]] == [("V", 6_000), ("V", -6_000)]
    assert "T1#1" not in [r["match_key"] for r in result["match_group"]]
    assert_promise(books, result)


def test_a_movement_booked_twice_by_the_bank_is_b09_on_both_comparisons() -> None:
    books = truth()
    books.b.append(RECHARGE)
    result = reconcile(books)
    assert found(result) == [("B09", "R1", DAY, DAY), ("B09", "R1#1", DAY, DAY)]
    assert_promise(books, result)


def test_candidates_that_tie_on_both_sides_are_b28() -> None:
    books = truth()
    books.v.append(TENDER)
    books.b.append(TENDER)
    result = reconcile(books)
    assert codes(result) == ["B28"]
    assert_promise(books, result)


@pytest.mark.parametrize(
    ("mutate", "code"),
    [
        (lambda c: without(c, "R1"), "B11"),
        (lambda c: [*c, replace(RECHARGE, request="R9")], "B12"),
        (lambda c: changed(c, "R1", amount=9_999), "B04"),
        (lambda c: changed(c, "W1", debit=OTHER), "B05"),
        (lambda c: changed(c, "W1", kind="RECHARGE", credit=LENDER), "B07"),
        (lambda c: [*c, RECHARGE], "B10"),
    ],
)
def test_the_channel_is_compared_with_custody(mutate: Any, code: str) -> None:
    books = truth()
    books.c = mutate(books.c)
    result = reconcile(books)
    assert [(r["recon_id"], r["code"]) for r in result["open_item"]] == [("R4", code)]


ORDER = {"day": DAY, "request": "R9", "type": "RECHARGE", "amount": 700}


@pytest.mark.parametrize(
    ("change", "found_codes"),
    [
        ([ORDER], {("B03", "R9")}),
        ([{**ORDER, "type": "TENDER"}], {("B03", "R9")}),
        ([{**ORDER, "status": "FAILED"}, {**ORDER, "request": "R8", "type": "UNFREEZE"}], set()),
        ([{**ORDER, "status": "PROCESSING"}], set()),
    ],
)
def test_an_order_that_neither_ledger_moved_is_b03_unless_it_failed_or_waits(
    change: list[dict[str, Any]], found_codes: set[tuple[str, str]]
) -> None:
    books = truth()
    books.o = [*orders(books), *change]
    result = reconcile(books)
    assert {(r["code"], r["match_key"]) for r in result["open_item"]} == found_codes
    if found_codes:
        expected = "CRITICAL" if change[0]["type"] == "TENDER" else "HIGH"
        assert item(result, "B03")["severity"] == expected
        assert "O has " in item(result, "B03")["explanation"] and "V has no record" in item(result, "B03")["explanation"]
    assert_promise(books, result)


@pytest.mark.parametrize(
    ("change", "code", "differs"),
    [
        ({"amount": 6_001}, "B16", "amount differ"),
        ({"status": "FAILED"}, "B06", "status differ"),
        ({"type": "RECHARGE"}, "B07", "movement type differ"),
    ],
)
def test_an_order_must_be_what_both_ledgers_moved(change: dict[str, Any], code: str, differs: str) -> None:
    books = truth()
    books.o = [{**o, **change} if o["request"] == "T1" else o for o in orders(books)]
    result = reconcile(books)
    assert [(r["recon_id"], r["code"], r["match_key"]) for r in result["open_item"]] == [("R1", code, "T1")]
    assert differs in item(result, code)["explanation"]


def test_an_order_listed_twice_is_b08_and_one_that_is_not_listed_is_b02_of_r1() -> None:
    books = truth()
    listed = orders(books)
    books.o = [*[o for o in listed if o["request"] != "W1"], *[o for o in listed if o["request"] == "T1"]]
    result = reconcile(books)
    assert sorted((r["recon_id"], r["code"], r["match_key"]) for r in result["open_item"]) == [
        ("R1", "B02", "W1"), ("R1", "B08", "T1"),
    ]  # fmt: skip


def test_a_request_on_which_the_ledgers_differ_has_the_item_of_r3_alone() -> None:
    books = truth()
    books.o = [{**o, "amount": o["amount"] + 1} for o in orders(books)]
    books.v = without(books.v, "T1")
    result = reconcile(books)
    assert sorted((r["recon_id"], r["code"], r["match_key"]) for r in result["open_item"]) == [
        ("R1", "B16", "R1"), ("R1", "B16", "W1"), ("R3", "B02", "T1#1"),
    ]  # fmt: skip


@pytest.mark.parametrize("together", [True, False])
def test_an_order_that_waits_for_more_than_three_working_days_is_b13_until_it_is_answered(together: bool) -> None:
    books = truth(8)
    pending = {**ORDER, "status": "PROCESSING"}
    days = books.dates()
    again = [{**pending, "day": day} for day in days[1:5]]
    books.o = [*orders(books), pending, *again, {**ORDER, "day": days[6], "status": "CLOSED"}]
    result = reconcile(books) if together else one_by_one(books)
    # Monday's order: Friday is its fourth working day, Sunday brings the answer
    assert found(result) == [("B13", "R9", DAY, days[4]), ("B13", "R9", DAY, days[5])]
    assert {r["age_working_days"] for r in result["open_item"]} == {4}


def test_an_entry_that_nobody_knows_is_b27_and_explains_the_statement_s_difference() -> None:
    books = truth(2)
    books.entries = [*cash(books), {"day": DAY, "ref": None, "amount": 250}, {"day": DAY, "ref": "??", "amount": -40}]
    books.statement_error = dict.fromkeys(books.dates(), 210)
    result = reconcile(books)
    assert sorted((r["code"], r["match_key"]) for r in result["open_item"] if r["business_date"] == DAY) == [
        ("B27", "??"), ("B27", "@entry-2026-08-03-2"),
    ]  # fmt: skip
    assert {r["amount_minor"] for r in result["balance_equation"] if r["is_residual"]} == {0}
    assert {(e["book"], e["account_no"], e["effect_minor"]) for e in result["open_item_effect"]} == {
        ("S", "SPECIAL_ACCOUNT", 250), ("S", "SPECIAL_ACCOUNT", -40),
    }  # fmt: skip


@pytest.mark.parametrize("amount", [4_100, None])
def test_a_settlement_that_the_statement_has_otherwise_or_not_at_all_is_b22(amount: int | None) -> None:
    books = truth()
    books.entries = [] if amount is None else [{"day": DAY, "ref": "S1", "amount": amount}]
    books.statement_error = {DAY: (amount or 0) - 4_000}
    result = reconcile(books)
    assert [(r["recon_id"], r["code"], r["match_key"]) for r in result["open_item"]] == [("R5", "B22", "S1")]
    assert {r["amount_minor"] for r in result["balance_equation"] if r["is_residual"]} == {0}


def test_an_amount_set_aside_in_one_ledger_only_is_b26_beside_a_wrong_balance() -> None:
    books = truth(2)
    books.held = {(DAY, LENDER): 30}
    books.altered = {(DAY, LENDER): 5}
    result = reconcile(books)
    assert sorted((r["code"], r["match_key"], r["amount_minor"]) for r in result["open_item"]) == [
        ("B20", LENDER, 5), ("B26", f"{LENDER}:held", 30),
    ]  # fmt: skip


def position(table: str, day: date, **values: Any) -> dict[str, Any]:
    return row(table, platform_id=P, business_date=day, currency="CNY", loan_no="LOAN-1", **values)


def positions(day: date, reported: int, by_book: int, owed: int) -> Rows:
    """Two open claims and a closed one of a loan: the first as reported and as book B makes it, the second 400 both ways."""
    claim = {"claim_no": "C-1", "principal_minor": reported, "outstanding_principal_minor": by_book, "is_open": True}
    other = {"claim_no": "C-2", "principal_minor": 400, "outstanding_principal_minor": 400, "is_open": True}
    closed = {"claim_no": "C-0", "principal_minor": 90, "outstanding_principal_minor": 0, "is_open": False}
    return {
        "claim_snapshot": [position("claim_snapshot", day, **one) for one in (claim, other, closed)],
        "loan_snapshot": [position("loan_snapshot", day, outstanding_principal_minor=owed)],
    }


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ((600, 600, 1_000), []),
        ((601, 600, 1_000), [("B23", "C-1", 1)]),
        ((600, 600, 995), [("B23", "LOAN-1:claims", 5)]),
        ((590, 600, 995), [("B23", "C-1", 10), ("B23", "LOAN-1:claims", 5)]),
    ],
)
def test_a_claim_or_a_loan_that_differs_is_b23_and_a_term_of_b5(
    amounts: tuple[int, int, int], expected: list[tuple[str, str, int]]
) -> None:
    result = run(lake_rows(truth()) | positions(DAY, *amounts), DAY, DAY)
    assert sorted((r["code"], r["match_key"], r["amount_minor"]) for r in result["open_item"]) == expected
    terms = {r["term"]: r["amount_minor"] for r in result["balance_equation"] if r["equation"] == "B-5"}
    reported, by_book, owed = amounts
    assert terms == {
        "OP_PLATFORM": reported + 400, "OP_CUSTODY": owed, "CLAIM_ITEMS": reported - by_book, "LOAN_ITEMS": by_book + 400 - owed,
        "RESIDUAL": 0,
    }  # fmt: skip


def test_a_position_that_differs_over_dates_is_one_item_however_the_dates_are_run() -> None:
    books = truth(3)
    rows = lake_rows(books)
    for name in ("claim_snapshot", "loan_snapshot"):
        rows[name] = [one for day in books.dates() for one in positions(day, 601, 600, 1_000)[name]]
    together = run(rows, books.dates()[0], books.dates()[-1])
    first = run(rows, DAY, DAY)
    second = run(rows, books.dates()[1], books.dates()[1], first["recon_carry"], first["match_group"])
    assert len({one["item_id"] for one in together["open_item"]}) == 1
    assert second["open_item"] == [one for one in together["open_item"] if one["business_date"] == books.dates()[1]]


def test_own_funds_and_the_channel_s_receivable_open_move_and_close() -> None:
    books = truth()
    terms = {(r["equation"], r["term"]): r["amount_minor"] for r in reconcile(books)["balance_equation"]}
    assert {term: value for (equation, term), value in terms.items() if equation == "B-4"} == {
        "OPENING": 0, "RECHARGE": 10_000, "SETTLEMENT": -4_000, "CHANNEL_FEE": 0, "CLOSING": 6_000, "RESIDUAL": 0,
    }  # fmt: skip
    assert terms["B-3", "RESIDUAL"] == terms["B-3", "CLOSING"] == 0


def test_rows_in_quarantine_are_one_b25_a_file_with_the_first_reason() -> None:
    books = truth()
    rows = lake_rows(books)
    for line in (9, 4):
        rows["quarantine_row"].append(
            row("quarantine_row", platform_id=P, business_date=DAY, sender_id=P, file_kind="loans", file_name="P01.loans.csv.gz",
                line_no=line, column_name="currency", reason="unknown word", raw_text="x"))  # fmt: skip
    result = run(rows, DAY, DAY)
    assert found(result) == [("B25", "P01/P01.loans:rows", DAY, DAY)]
    assert "2 rows are in quarantine, the first: line 4, currency: unknown word" in item(result, "B25")["explanation"]


def test_a_channel_order_that_failed_though_custody_booked_it_is_b06() -> None:
    rows = lake_rows(truth())
    rows["channel_order"][0]["channel_status"] = "FAILED"
    result = run(rows, DAY, DAY)
    assert [(r["recon_id"], r["code"], r["match_key"]) for r in result["open_item"]] == [("R4", "B06", "R1")]


def test_a_channel_order_that_failed_is_not_compared() -> None:
    books = truth()
    rows = lake_rows(books)
    rows["channel_order"].append(rows["channel_order"][0] | {"request_no": "R9", "channel_status": "FAILED"})
    assert codes(run(rows, DAY, DAY)) == []


def test_near_the_cut_off_a_missing_side_waits_a_day_and_is_cured_by_the_next_file() -> None:
    books = truth(3)
    late = replace(TENDER, request="T2", at=NEAR_CUTOFF)
    books.v.append(late)
    books.b.append(replace(late, day=DAY + timedelta(days=1), at=NEAR_CUTOFF + timedelta(hours=1)))
    result = reconcile(books)
    assert found(result) == [("B14", "T2#1", DAY, DAY)]
    (match,) = [r for r in result["match_group"] if r["match_key"] == "T2#1"]
    assert match["matched_on"] == DAY + timedelta(days=1)
    assert match["explanation"].endswith("open from 2026-08-03 as B14, cured on 2026-08-04")
    assert_promise(books, result)


def test_near_the_cut_off_a_side_that_never_comes_is_b01_from_the_next_date_and_stays_one_item() -> None:
    books = truth(3)
    books.v.append(replace(TENDER, request="T2", at=NEAR_CUTOFF))
    result = reconcile(books)
    assert [(r["code"], r["opened_code"], r["age_working_days"]) for r in result["open_item"]] == [
        ("B14", "B14", 0), ("B01", "B14", 1), ("B01", "B14", 2),
    ]  # fmt: skip
    assert len({r["item_id"] for r in result["open_item"]}) == 1
    assert_promise(books, result)


@pytest.mark.parametrize(("moment", "code"), [
    (at(2026, 8, 3, 13, 0), "B14"), (at(2026, 8, 3, 12, 59, 59), "B01"), (at(2026, 8, 3, 17, 0), "B14"),
    (at(2026, 8, 2, 17, 0), "B14"), (at(2026, 8, 2, 17, 0, 1), "B01"),
])  # fmt: skip
def test_the_window_is_two_hours_around_either_cut_off_of_the_date(moment: datetime, code: str) -> None:
    books = truth()
    books.v.append(replace(TENDER, request="T2", at=moment))
    assert codes(reconcile(books)) == [code]


def test_an_altered_balance_is_b20_only_on_its_dates() -> None:
    books = truth(4)
    books.altered = {(DAY, LENDER): 5, (DAY + timedelta(days=1), LENDER): 7, (DAY + timedelta(days=3), LENDER): -1}
    result = reconcile(books)
    days = books.dates()
    assert found(result) == [
        ("B20", LENDER, days[0], days[0]), ("B20", LENDER, days[0], days[1]), ("B20", LENDER, days[3], days[3]),
    ]  # fmt: skip
    assert "7 stays unexplained" in item(result, "B20", days[1])["explanation"]
    assert_promise(books, result)


def test_open_items_explain_a_difference_so_that_only_the_rest_is_b20() -> None:
    books = truth()
    books.b = without(books.b, "T1")
    books.altered = {(DAY, LENDER): 5}
    result = reconcile(books)
    assert codes(result) == ["B01", "B20"]
    assert item(result, "B20")["amount_minor"] == 5
    assert_promise(books, result)


def test_a_statement_that_does_not_agree_with_custody_is_b21_of_b1() -> None:
    books = truth()
    books.statement_error = {DAY: 3}
    result = reconcile(books)
    assert found(result) == [("B21", "B-1", DAY, DAY)]
    terms = {r["term"]: r["amount_minor"] for r in result["balance_equation"] if r["equation"] == "B-1"}
    assert terms == {"K": 4_003, "R_IN_TRANSIT": 6_000, "W_PAYABLE": 500, "N": 0, "S": 9_500, "EFFECTS_S": 0, "EFFECTS_B": 0,
                     "RESIDUAL": 3}  # fmt: skip


def test_equations_list_every_term() -> None:
    result = reconcile(truth())
    terms = {(r["equation"], r["term"]): r["amount_minor"] for r in result["balance_equation"]}
    assert {term: value for (equation, term), value in terms.items() if equation == "B-2"} == {
        "S": 9_500, "S_LENDER": 3_500, "S_BORROWER": 5_900, "S_GUARANTOR": 0, "S_PLATFORM_FUNCTIONAL": 100, "RESIDUAL": 0,
    }  # fmt: skip
    assert {term: value for (equation, term), value in terms.items() if equation == "B-6"} == {
        "DELTA_S": 9_500, "RECHARGE": 10_000, "WITHDRAW": -500, "RESIDUAL": 0,
    }  # fmt: skip
    assert terms["PROMISE_1_C", "TOTAL_C"] == terms["PROMISE_1_C", "TOTAL_B"] == 9_500


def test_a_missing_file_raises_b24_only_and_leaves_its_date_uncompared() -> None:
    books = truth(3)
    middle = books.dates()[1]
    carried = replace(TENDER, request="T2")
    books.v += [carried, replace(TENDER, request="T3", day=middle)]
    books.b.append(replace(TENDER, request="T3", day=middle))
    books.missing = [(middle, "postings")]
    result = reconcile(books)
    assert found(result) == [
        ("B01", "T2#1", DAY, DAY), ("B01", "T2#1", DAY, books.dates()[2]), ("B24", "P01/P01.postings", middle, middle),
    ]  # fmt: skip
    assert {r["business_date"] for r in result["balance_equation"]} == {DAY, books.dates()[2]}
    assert "P01.postings is not accepted: MISSING" in item(result, "B24", middle)["explanation"]
    assert_promise(books, result)


def test_a_copy_beside_the_accepted_file_and_an_unexpected_file_are_no_items_and_the_date_is_compared() -> None:
    books = truth()
    books.b = without(books.b, "T1")
    rows = lake_rows(books)
    first = rows["file_control"][0]
    rows["file_control"].append(first | {"state": "REFUSED", "reason_code": "DUPLICATE", "file_name": "again.csv.gz"})
    rows["file_control"].append(first | {"state": "REFUSED", "reason_code": "DUPLICATE", "file_kind": "unknown"})
    rows["file_control"].append(first | {"state": "REFUSED", "reason_code": "UNEXPECTED", "file_kind": "notes"})
    result = run(rows, DAY, DAY)
    assert codes(result) == ["B01"]


def test_an_expected_file_that_repeats_an_earlier_one_is_b24_and_leaves_its_date_uncompared() -> None:
    books = truth()
    books.b = without(books.b, "T1")
    rows = lake_rows(books)
    rows["file_control"][0] |= {"state": "REFUSED", "reason_code": "DUPLICATE", "reason": "the same bytes as yesterday"}
    result = run(rows, DAY, DAY)
    assert codes(result) == ["B24"]
    assert "DUPLICATE, the same bytes as yesterday" in item(result, "B24")["explanation"]


def test_the_nearest_candidate_is_named() -> None:
    books = truth()
    books.v = [*without(books.v, "T1", 2), replace(FEE, seq=3), replace(TENDER, request="T8", amount=50)]
    books.b.append(replace(TENDER, request="T9", amount=50))
    result = reconcile(books)
    nearest = {r["match_key"]: r["nearest_candidate"] for r in result["open_item"]}
    assert nearest["T1#3"] == "T1#2 (COMMISSION P01-B-1 > P01-F-INCOME 100): same request, the sequence number differs"
    assert nearest["T8#1"] == "T9#1 (TENDER P01-L-1 > P01-B-1 50): same accounts and amount, the key differs"
    assert nearest["T9#1"] is not None and nearest["T9#1"].startswith("T8#1")


def test_age_counts_working_days_only() -> None:
    books = truth(8)
    books.v.append(replace(TENDER, request="T2"))
    result = reconcile(books)
    ages = [r["age_working_days"] for r in sorted(result["open_item"], key=lambda r: r["business_date"])]
    assert ages == [Calendar.of("CN").working_days_between(DAY, day) for day in books.dates()]
    assert ages[5:7] == [4, 4]
    risen = {r["age_working_days"]: (r["default_severity"], r["severity"]) for r in result["open_item"]}
    assert risen[1] == ("HIGH", "HIGH") and risen[2] == risen[4] == ("HIGH", "CRITICAL")


def test_age_counts_by_the_calendar_that_the_run_was_given() -> None:
    books = truth(4)
    books.v.append(replace(TENDER, request="T2"))
    closed = Calendar.parse('name = "CN"\nfirst = 2026-08-01\nlast = 2026-08-31\nholidays = [2026-08-04, 2026-08-05]\n')
    result = run(lake_rows(books), books.dates()[0], books.dates()[-1], calendar=closed)
    assert [r["age_working_days"] for r in sorted(result["open_item"], key=lambda r: r["business_date"])] == [0, 0, 0, 1]
    with pytest.raises(BadInput, match="outside calendar CN, which knows 2026-08-04"):
        late = Calendar.parse('name = "CN"\nfirst = 2026-08-04\nlast = 2026-08-31\n')
        run(lake_rows(books), books.dates()[0], books.dates()[-1], calendar=late)


def everything() -> Books:
    """Five dates with every kind of break, cured and not, a repeated key a day later and a missing file."""
    books = truth(5)
    days = books.dates()
    near = {day: datetime.combine(day, NEAR_CUTOFF.time()) for day in days}
    books.v += [
        replace(TENDER, request="A"),
        replace(TENDER, day=days[2]),
        replace(TENDER, day=days[4], amount=1),
        replace(TENDER, request="C", day=days[1], at=near[days[1]]),
        replace(TENDER, request="D", day=days[1], at=near[days[1]]),
        replace(TENDER, request="E", day=days[2], amount=7),
        replace(TENDER, request="F", day=days[3]),
        replace(TENDER, request="H", day=days[2], at=near[days[2]]),
    ]
    books.b += [
        replace(TENDER, request="A", day=days[2]),
        replace(TENDER, request="C", day=days[2], at=near[days[2]]),
        replace(TENDER, request="E", day=days[2], amount=8),
        replace(TENDER, request="G", day=days[3]),
        replace(RECHARGE, request="R2", day=days[1], at=near[days[1]]),
    ]
    books.c += [replace(RECHARGE, request="R2", day=days[2]), RECHARGE, replace(RECHARGE, request="R3", day=days[4])]
    books.altered = {(days[1], LENDER): 4, (days[2], LENDER): 4, (days[4], LENDER): 4, (days[0], OTHER): -2}
    books.statement_error = {days[2]: 3, days[4]: 3}
    books.missing = [(days[3], "balances")]
    return books


def test_five_dates_in_one_pass_equal_five_single_runs() -> None:
    books = everything()
    together = reconcile(books)
    assert {"B01", "B02", "B04", "B08", "B10", "B12", "B14", "B20", "B21", "B24"} <= set(codes(together))
    single = one_by_one(books)
    for table in WRITTEN:
        assert sorted(together[table], key=repr) == single[table], table
    assert_promise(books, together)


def test_the_result_does_not_depend_on_the_order_of_rows() -> None:
    books = everything()
    rows = lake_rows(books)
    shuffled = {table: random.Random(5).sample(content, len(content)) for table, content in rows.items()}
    days = books.dates()
    assert run(shuffled, days[0], days[-1]) == run(rows, days[0], days[-1])


@pytest.mark.parametrize("line", range(4))
def test_one_line_doubled_is_exactly_one_new_break(line: int) -> None:
    books = truth()
    books.v.append(books.v[line])
    assert codes(reconcile(books)) == ["B08"]


moves = st.builds(
    lambda day, kind, amount, near: (day, kind, amount, near),
    st.integers(0, 3),
    st.sampled_from([("RECHARGE", CHANNEL, LENDER), ("TENDER", LENDER, BORROWER), ("WITHDRAW", OTHER, PAYABLE)]),
    st.integers(1, 999),
    st.booleans(),
)
mutations = st.lists(
    st.tuples(
        st.sampled_from(["drop", "double", "amount", "account", "kind", "later"]), st.sampled_from("vbc"), st.integers(0, 30)
    ),
    max_size=6,
)
alterations = st.dictionaries(
    st.tuples(st.integers(0, 3), st.sampled_from([LENDER, OTHER, BORROWER])), st.integers(-50, 50).filter(bool), max_size=3
)


def mutate(books: Books, what: str, book: str, position: int) -> None:
    """One fault in one book; the ledger itself never repeats a key (its own constraint)."""
    moves = getattr(books, book)
    if not moves or (what == "double" and book == "b"):
        return
    index = position % len(moves)
    move = moves[index]
    if what == "drop":
        del moves[index]
    elif what == "double":
        last = books.dates()[-1]
        moves.append(replace(move, day=min(last, move.day + timedelta(days=position % 3))))
    elif what == "amount":
        moves[index] = replace(move, amount=move.amount + 1 + position)
    elif what == "kind":
        moves[index] = replace(move, kind="PRINCIPAL" if book == "v" else move.kind)
    elif what == "account":
        swap = {LENDER: OTHER, OTHER: LENDER}
        moves[index] = replace(move, debit=swap.get(move.debit, move.debit), credit=swap.get(move.credit, move.credit))
    elif move.day < books.dates()[-1]:
        moves[index] = replace(move, day=move.day + timedelta(days=1), at=move.moment + timedelta(days=1))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(moves, min_size=1, max_size=8), mutations, alterations, st.none() | st.integers(0, 3))
def test_promise_one_holds_for_any_faults_and_single_runs_agree(
    truth_moves: list[Any], faults: list[Any], altered: dict[Any, int], missing: int | None
) -> None:
    books = Books(DAY, 4)
    for number, (day, (kind, debit, credit), amount, near) in enumerate(truth_moves):
        on = DAY + timedelta(days=day)
        moment = datetime.combine(on, NEAR_CUTOFF.time()) if near else None
        books.agree(Move(on, f"Q{number}", kind, debit, credit, amount, at=moment))
    for what, book, position in faults:
        mutate(books, what, book, position)
    books.altered = {(DAY + timedelta(days=day), account): value for (day, account), value in altered.items()}
    result = reconcile(books)
    assert_promise(books, result)
    assert {(r["business_date"], r["account_no"]) for r in result["open_item"] if r["code"] == "B20"} == books.altered.keys()
    assert "B21" not in codes(result)
    if missing is not None:
        books.missing = [(DAY + timedelta(days=missing), "postings")]
        result = reconcile(books)
    single = one_by_one(books)
    for table in WRITTEN:
        assert sorted(result[table], key=repr) == single[table], table


# -- rounding, ambiguity, repetitions, returns, settlements ---------------------------------------------------------------


def interest(*amounts: int, request: str = "I1") -> list[Move]:
    lenders = (LENDER, OTHER, LENDER)
    return [Move(DAY, request, "INTEREST", BORROWER, lenders[n], amount, seq=n + 1) for n, amount in enumerate(amounts)]


@pytest.mark.parametrize(
    ("platform", "bank", "code"),
    [((34, 33, 33), (33, 34, 33), "B17"), ((34, 33, 33), (33, 33, 33), "B17"), ((35, 33, 33), (33, 33, 33), "B04"),
     ((34,), (33,), "B04")],
)  # fmt: skip
def test_a_cent_of_a_split_is_rounding_and_more_or_a_cent_of_a_single_part_is_not(
    platform: tuple[int, ...], bank: tuple[int, ...], code: str
) -> None:
    books = truth()
    books.v += interest(*platform)
    books.b += interest(*bank)
    result = reconcile(books)
    assert set(codes(result)) == {code}
    assert result["open_item"][0]["severity"] == ("INFO" if code == "B17" else "HIGH")
    assert_promise(books, result)


def test_a_posting_that_fits_two_movements_equally_well_is_b28_with_both_named_and_none_confirmed() -> None:
    books = truth(2)
    books.v.append(replace(TENDER, request="X", at=NOON))
    books.b += [replace(TENDER, request="Y", at=NOON + timedelta(minutes=29)), replace(TENDER, request="Z", at=NOON)]
    result = reconcile(books)
    assert codes(result) == ["B28"] * 6
    of_v = next(r for r in result["open_item"] if r["match_key"] == "X#1")
    assert "Y#1" in of_v["nearest_candidate"] and "Z#1" in of_v["nearest_candidate"]
    assert not {"X#1", "Y#1", "Z#1"} & {r["match_key"] for r in result["match_group"]}
    assert_promise(books, result)
    assert {table: sorted(rows, key=repr) for table, rows in result.items()} == one_by_one(books)


def test_equal_records_with_their_own_keys_are_sound_and_distant_ones_are_no_candidates() -> None:
    books = truth().agree(replace(TENDER, request="S1"), replace(TENDER, request="S2"))
    assert codes(reconcile(books)) == []
    books.v.append(replace(TENDER, request="X", at=NOON))
    books.b += [replace(TENDER, request=name, at=NOON + timedelta(hours=1)) for name in ("Y", "Z")]
    assert codes(reconcile(books)) == ["B01", "B02", "B02"]


def test_an_entry_that_the_statement_repeats_is_b09_and_explains_the_cash() -> None:
    books = truth()
    books.entries = [*cash(books), cash(books)[0]]
    books.statement_error = {DAY: SETTLED.amount}
    result = reconcile(books)
    assert found(result) == [("B09", "S1", DAY, DAY)]
    books.b.append(replace(SETTLED, seq=2))
    books.entries, books.statement_error = cash(books), {}
    assert codes(reconcile(books)) == []  # one order that moved the same twice


def friday(shift: int = 0) -> date:
    return date(2026, 8, 7) + timedelta(days=shift)


RETURNS = {
    "W1": (friday(3), 500, []),  # the next working day after the failure
    "W2": (friday(0), 500, []),
    "W3": (friday(4), 500, [("B19", friday(), friday(3))]),
    "W4": (None, 500, [("B19", friday(), day) for day in (friday(3), friday(4))]),
    "W5": (friday(3), 501, [("B18", friday(), day) for day in (friday(3), friday(4))]),
    "W6": (friday(4), 500, [("B18", friday(4), friday(4))]),  # it did not fail
}
"""By withdrawal: when it is given back, how much, and the items of it."""


def test_a_failed_withdrawal_is_given_back_to_the_cent_by_the_next_working_day() -> None:
    books = Books(friday(-1), 6)
    for request, (returned, amount, _) in RETURNS.items():
        drawn = Move(friday(-1), request, "WITHDRAW", LENDER, PAYABLE, 500)
        books.agree(drawn)
        if request != "W6":
            books.failed.append(replace(drawn, day=friday()))
        if returned:
            books.agree(Move(returned, f"{request}#B", "BACKROLL", PAYABLE, LENDER, amount))
    result = reconcile(books)
    assert found(result) == sorted((code, name, *days) for name, (*_, items) in RETURNS.items() for code, *days in items)
    assert {table: sorted(rows, key=repr) for table, rows in result.items()} == one_by_one(books)
    assert_promise(books, result)


def test_what_may_lie_on_an_incomplete_date_is_not_called_missing() -> None:
    books, drawn = Books(friday(-1), 6), Move(friday(-1), "W7", "WITHDRAW", LENDER, PAYABLE, 500)
    books.agree(drawn, Move(friday(3), "W7#B", "BACKROLL", PAYABLE, LENDER, 500)).failed = [replace(drawn, day=friday())]
    books.missing = [(friday(), "channel")]  # the failure
    assert codes(reconcile(books)) == ["B24"]
    books.missing = [(friday(3), "channel")]  # the return
    result = reconcile(books)
    assert codes(result) == ["B24"]
    assert {table: sorted(rows, key=repr) for table, rows in result.items()} == one_by_one(books)


TERMS = (FeeTerm("P01", "PC01", date(2026, 1, 1), date(2026, 12, 31), 250_000, 10),)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, []),
        ({"fee_minor": 31, "net_minor": 25_969}, [("B15", "BATCH-1")]),
        ({"order_count": 1, "net_minor": 11_990, "fee_minor": 13, "gross_minor": 12_003}, [("B22", "BATCH-1")]),
        ({"net_minor": 25_999, "gross_minor": 26_025, "fee_minor": 26 + 1}, [("B22", "BATCH-1")]),
        ({"settlement_batch_no": "BATCH-2"}, [("B22", "BATCH-1"), ("B22", "BATCH-2")]),
    ],
)
def test_a_batch_is_the_sum_of_its_orders_less_the_fee_of_the_terms(change: dict[str, Any], shown: list[Any]) -> None:
    books = Books(DAY, 2)
    for number, amount in ((1, 12_003), (2, 13_997)):
        books.agree(replace(RECHARGE, request=f"C{number}", amount=amount))
        books.batch_of[f"C{number}"] = "BATCH-1"
    settled = {"order_count": 2, "gross_minor": 26_000, "fee_minor": 27, "net_minor": 25_973}  # 6.5 is rounded up, and 20
    next_day = DAY + timedelta(days=1)
    books.batches = [{"business_date": next_day, "settlement_batch_no": "BATCH-1", **settled, **change}]
    result = run(lake_rows(books), DAY, next_day, fee_terms=TERMS)
    assert [(code, key) for code, key, _, shown_on in found(result) if shown_on == next_day] == shown
    if change.get("order_count"):
        assert "C1" in (item(result, "B22", next_day)["nearest_candidate"] or "")


def test_a_reversal_of_the_same_date_nets_to_zero_and_one_of_another_date_is_b18() -> None:
    books = truth(2)
    books.reversals = {"R8#B": "R8"}
    booked, undone = replace(RECHARGE, request="R8"), Move(DAY, "R8#B", "RECHARGE", LENDER, CHANNEL, 10_000)
    for book in (books.v, books.b):
        book += [booked, undone]
    assert codes(reconcile(books)) == []
    books.v[-1] = books.b[-1] = replace(undone, day=DAY + timedelta(days=1))
    books.c.append(booked)
    assert found(reconcile(books)) == [("B18", "R8#B", undone.day + timedelta(days=1), undone.day + timedelta(days=1))]
