"""A bank that has published one date of a platform with two payment companies, and the rows its files are made of."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from fundwatch import outbound
from lake.tables import TABLES

DAY, T0 = date(2026, 8, 31), datetime(2026, 8, 1, tzinfo=UTC)
_TYPES = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}
SHA = "ab" * 32


@dataclass
class Rows:
    """Rows of the lake as a test gives them: table → run → rows; what is not given is null."""

    given: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)

    def put(self, table: str, run_id: int, *rows: dict[str, Any]) -> None:
        self.given.setdefault((table, run_id), []).extend(rows)

    def __call__(self, table: str, run_id: int, business_date: date) -> pa.RecordBatchReader:
        kinds = [part.strip().split(" ") for part in TABLES[table].ddl.split(",")]
        schema = pa.schema([(name, _TYPES[kind]) for name, kind in kinds])
        front = {"business_date": business_date, "run_id": run_id, "platform_id": "P01"}
        rows = [{**dict.fromkeys(schema.names), **front, **row} for row in self.given.get((table, run_id), [])]
        rows = [row for row in rows if row["business_date"] == business_date]
        return pa.Table.from_pylist(rows, schema).to_reader()


def file_control(kind: str, state: str = "ACCEPTED", sender: str = "P01", **more: Any) -> dict[str, Any]:
    """A verdict on a file."""
    came = state != "MISSING"
    row = {"sender_id": sender, "file_kind": kind, "file_name": f"P01.{kind}.csv.gz", "state": state}
    figures = {"sha256": SHA, "received_at": T0, "sequence_no": 7, "row_count": 3, "control_sum": 100} if came else {}
    return {**row, **figures, **more}


def published() -> Rows:
    """Run 1: three orders, two postings, two accounts, two channel orders; one posting and one channel order are open."""
    rows = Rows()
    for n in (1, 2, 3):
        rows.put("platform_order", 1, {"line_no": n + 2, "request_no": f"R{n}", "amount_minor": n * 100, "currency": "CNY"})
    for n in (1, 2):
        money = {"amount_minor": n * 100, "currency": "CNY"}
        rows.put("virtual_posting", 1, {"line_no": n + 2, "request_no": f"R{n}", "seq": 1, **money})
        rows.put("virtual_balance", 1, {"line_no": n + 2, "account_no": f"A{n}", "closing_minor": n * 1000, "currency": "CNY"})
        rows.put("channel_order", 1, {"sender_id": f"PC0{n}", "line_no": 3, "request_no": f"C{n}", **money})
    rows.put("match_group", 1, {"recon_id": "R1", "match_key": "R1", "currency": "CNY"})
    rows.put("match_group", 1, {"recon_id": "R3", "match_key": "R1#1", "currency": "CNY"})
    rows.put("match_group", 1, {"recon_id": "R4", "match_key": "C1", "currency": "CNY"})
    item = {"severity": "HIGH", "currency": "CNY", "opened_on": DAY, "age_working_days": 0, "suggested_action": "look"}
    rows.put("open_item", 1, {**item, "item_id": "i1", "recon_id": "R3", "code": "B04", "match_key": "R2#1", "amount_minor": 5})
    rows.put("open_item", 1, {**item, "item_id": "i2", "recon_id": "R4", "code": "B12", "match_key": "C2", "amount_minor": 200})
    rows.put(
        "open_item", 1, {**item, "item_id": "i3", "recon_id": "R6", "code": "B26", "match_key": "A2:held", "amount_minor": 9}
    )
    rows.put("open_item", 1, {"item_id": "i4", "recon_id": "R9", "code": "B24", "match_key": "P01/P01.loans", "currency": ""})
    effect = {"item_id": "i1", "recon_id": "R3", "code": "B04", "currency": "CNY"}
    rows.put("open_item_effect", 1, {**effect, "book": "V", "account_no": "A2", "effect_minor": 12})
    rows.put("open_item_effect", 1, {**effect, "book": "B", "account_no": "A2", "effect_minor": 7})
    rows.put(
        "file_control", 1, file_control("orders"), file_control("loans", "MISSING", reason_code="MISSING", reason="did not come")
    )
    bad = {"reason_code": "HASH", "reason": 'the manifest says "x",\nthe file y'}
    rows.put("file_control", 1, file_control("plans", "REFUSED", **bad), file_control("channel", sender="PC01"))
    return rows


class Bank:
    """The installation of a test: its database with the registry and run 1 published, a home of its own, and published rows."""

    def __init__(self, database: Any, home: Path) -> None:
        self.database = database
        self.settings = replace(database.settings, home=home)
        self.rows = published()
        self.execute(
            f"insert into registry.platform values ('P01', 'One', 'One', 'CNY', 'CN_2017', '2026-01-01', '{T0}')",
            f"insert into registry.payment_company values ('PC01', 'Pay', '{T0}'), ('PC02', 'Pay 2', '{T0}')",
            f"insert into registry.payment_company_platform values ('PC01', 'P01', '{T0}'), ('PC02', 'P01', '{T0}')",
        )
        self.publish(1)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.database.url("migrator"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def publish(self, version: int, state: str = "COMPLETE") -> None:
        """Run of the same number as a version of the date."""
        self.execute(
            "insert into run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at) "
            f"values ('{DAY}', '{DAY}', 0, '{{}}', 'x', 'PUBLISHED', '{T0}')",
            f"insert into run.published values ('{DAY}', 'P01', {version}, {version}, '{state}', null, '{T0}')",
        )

    def send(self) -> dict[str, Any]:
        return outbound.send(self.settings, DAY, source=self.rows)

    def folder(self, receiver: str) -> Path:
        return self.settings.outbound_dir / receiver / DAY.isoformat()

    def manifest(self, receiver: str) -> list[dict[str, str]]:
        with (self.folder(receiver) / "manifest.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def lines(self, receiver: str, name: str) -> list[list[str]]:
        return list(csv.reader(gzip.decompress((self.folder(receiver) / name).read_bytes()).decode().splitlines()))

    def told(self, receiver: str, name: str) -> list[dict[str, str]]:
        """The rows of a file by column name, after its trailer was found right."""
        _, names, *rows, trailer = self.lines(receiver, name)
        assert (trailer[0], int(trailer[1])) == ("#TRAILER", len(rows))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def bytes_by_path(self) -> dict[str, bytes]:
        """Every file under outbound/, hidden ones too."""
        root = self.settings.outbound_dir
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    def acknowledgement(self, path: Path, receiver: str, *answers: tuple[str, str, str, str]) -> Path:
        lines = [f"#ACKNOWLEDGEMENT,1,{receiver}", "file_name,sha256,verdict,reason", *(",".join(answer) for answer in answers)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path
