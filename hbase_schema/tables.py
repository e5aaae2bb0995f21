"""The six tables of the history store, declared once (architecture section 5); `ddl` writes them out for the Java program.

One family `d`; a cell's timestamp is the run id that projected it. Amounts are integer minor units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hbase_schema.fields import Field, Kind
from hbase_schema.keys import SALTS, RowKey
from hbase_schema.packing import Cell

FAMILY = "d"
_ID_WIDTH = 64
_WORD_WIDTH = 32


@dataclass(frozen=True)
class HistoryTable:
    """One table: row key, packed cells by qualifier, and how many versions of a cell are kept."""

    name: str
    key: RowKey
    cells: Mapping[str, Cell]
    versions: int = 2
    keep_deleted: bool = False

    @property
    def cell(self) -> Cell:
        """The main cell `d:p`."""
        return self.cells["p"]

    def decode(self, key: bytes, packed: bytes) -> dict[str, Any]:
        """Values of one row: those of its key and those of its cell `d:p`."""
        return {**self.key.decode(key), **self.cell.decode(packed)}


def _id(name: str) -> Field:
    return Field(name, Kind.ID)


def _minor(name: str) -> Field:
    return Field(name, Kind.INT64)


def _text(name: str, width: int = _ID_WIDTH) -> Field:
    return Field(name, Kind.TEXT, width)


def _word(name: str) -> Field:
    return Field(name, Kind.TEXT, _WORD_WIDTH)


def _day(name: str) -> Field:
    return Field(name, Kind.DATE)


def _count(name: str) -> Field:
    return Field(name, Kind.INT32)


_CURRENCY = Field("currency", Kind.TEXT, 3)
_PLATFORM = _text("platform_id", 16)

_MOVEMENT = Cell(
    1,
    (
        Field("side", Kind.TEXT, 1),  # D or C: which side of the movement this account is on
        _id("movement_id"),
        _id("order_id"),
        Field("seq", Kind.INT32),
        _PLATFORM,
        _text("request_no"),
        _word("order_type"),
        _word("movement_type"),
        _text("account_no"),
        _text("counter_account_no"),
        _word("counter_role"),
        _minor("amount_minor"),
        _CURRENCY,
        _text("loan_no"),
        Field("issue_no", Kind.INT32),
        Field("component", Kind.TEXT, 1),
        _text("claim_no"),
        _id("reversal_of"),
        Field("recorded_at", Kind.INSTANT),
        _day("business_date"),
    ),
)
_ORDER = Cell(
    1,
    (
        _PLATFORM,
        _text("request_no"),
        _word("order_type"),
        _minor("amount_minor"),
        _CURRENCY,
        Field("recorded_at", Kind.INSTANT),
        _day("business_date"),
    ),
)
_BALANCE = Cell(
    1,
    (
        _PLATFORM,
        _text("account_no"),
        _CURRENCY,
        _minor("opening_minor"),
        _minor("debit_minor"),
        _minor("credit_minor"),
        _minor("closing_minor"),
        _minor("held_minor"),
    ),
)
_LOAN = Cell(
    1,
    (
        _PLATFORM,
        _text("loan_no"),
        _CURRENCY,
        _word("plan_type"),
        _day("disbursed_on"),
        _minor("disbursed_minor"),
        _minor("outstanding_principal_minor"),
        _minor("outstanding_interest_minor"),
        _minor("overdue_principal_minor"),
        _minor("overdue_interest_minor"),
        _minor("compensated_minor"),
        Field("lender_dpd", Kind.INT32),
        Field("borrower_dpd", Kind.INT32),
        _word("lender_bucket"),
        _word("borrower_bucket"),
    ),
)
_PROFILE = Cell(
    1,
    (
        _PLATFORM,
        _text("customer_no"),
        _text("id_hash", 128),
        _word("party_type"),
        _text("name_masked", 128),
        _text("phone_masked", 32),
        _text("roles", 128),
        _day("opened_on"),
        _day("business_date"),
    ),
)
_ITEM = Cell(
    1,
    (
        _PLATFORM,
        _word("recon_id"),
        _word("code"),
        _word("opened_code"),
        _word("severity"),
        _text("match_key", 160),
        _text("account_no"),
        _CURRENCY,
        _minor("amount_minor"),
        _minor("effect_b_minor"),
        _minor("effect_v_minor"),
        _day("opened_on"),
        _day("account_date"),
        Field("age_working_days", Kind.INT32),
    ),
)

_SEEN = (_PLATFORM, _day("business_date"), Field("as_of", Kind.INSTANT))
_INDUSTRY = Cell(
    1,
    (
        *_SEEN,
        _count("has_industry"),
        _count("app_member_cnt_30"),
        _count("app_member_cnt_90"),
        Field("app_reject_share_180_millionths", Kind.INT64),
        _count("contract_open_cnt"),
        _minor("contract_new_minor_180"),
        _count("industry_max_dpd_365"),
        _count("industry_months_since_overdue"),
        _count("industry_ever_write_off"),
        _count("stacking_flag"),
    ),
)
_REPUTATION = Cell(
    1,
    (
        *_SEEN,
        _count("has_reputation"),
        _count("reputation_hit_cnt_365"),
        _count("reputation_confirmed_tier1"),
        _count("reputation_confirmed_tier2"),
        Field("reputation_neg_weighted_365_millionths", Kind.INT64),
        _count("reputation_max_severity"),
    ),
)
_SCORE = Cell(
    1,
    (
        *_SEEN,
        _word("model_id"),
        _count("points"),
        Field("pd_billionths", Kind.INT64),
        Field("band", Kind.TEXT, 8),
        _word("reason_1"),
        _word("reason_2"),
        _word("reason_3"),
        _word("reason_4"),
    ),
)

_ALL = (
    HistoryTable(
        "mv",
        RowKey(1, (_id("account_id"), Field("effective_at", Kind.INSTANT_DESCENDING), _id("ledger_no"))),
        {"p": _MOVEMENT},
    ),
    HistoryTable("ord", RowKey(1, (_id("order_id"),)), {"p": _ORDER}),
    HistoryTable(
        "acct_bal", RowKey(1, (_id("account_id"), _day("business_date"))), {"p": _BALANCE}, versions=3, keep_deleted=True
    ),
    HistoryTable("loan_snap", RowKey(1, (_id("loan_id"), _day("business_date"))), {"p": _LOAN}),
    HistoryTable("cust_360", RowKey(1, (_id("party_key"),)), {"p": _PROFILE, "i": _INDUSTRY, "n": _REPUTATION, "s": _SCORE}),
    HistoryTable("recon", RowKey(1, (Field("item", Kind.RAW, 16), _day("business_date"))), {"p": _ITEM}),
)

TABLES: dict[str, HistoryTable] = {table.name: table for table in _ALL}
PACKED = "table string, row binary, p binary"


def cell_of(tag: str) -> tuple[HistoryTable, Cell]:
    """The table and cell of a tag: ``TABLE`` for its cell `d:p`, ``TABLE:QUALIFIER`` for another one.

    >>> cell_of("cust_360:s")[1] is TABLES["cust_360"].cells["s"]
    True
    """
    name, _, qualifier = tag.partition(":")
    return TABLES[name], TABLES[name].cells[qualifier or "p"]


TAGS: tuple[str, ...] = tuple(
    table.name if qualifier == "p" else f"{table.name}:{qualifier}" for table in _ALL for qualifier in table.cells
)
"""Every cell of every table."""


def pack_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Arrow batches of rows (`table`, a tag, and the columns of its key and cell) as batches of `PACKED`.

    It lies here, in a module that imports little, because every Python worker of Spark has to import it.
    """
    for batch in batches:
        names = pc.unique(batch.column("table")).to_pylist()
        for name in names:
            part = batch if len(names) == 1 else batch.filter(pc.equal(batch.column("table"), name))
            columns = dict(zip(part.schema.names, part.columns, strict=True))
            table, cell = cell_of(name)
            packed = [part.column("table"), table.key.encode_columns(columns), cell.encode_columns(columns)]
            yield pa.RecordBatch.from_arrays(packed, names=["table", "row", "p"])


def ddl(prefix: str) -> dict[str, Any]:
    """What the Java program is given: every table under a prefix, with its family's attributes under their shell names."""
    return {
        "tables": [
            {
                "name": prefix + table.name,
                "families": {
                    FAMILY: {
                        "COMPRESSION": "SNAPPY",
                        "DATA_BLOCK_ENCODING": "FAST_DIFF",
                        "BLOOMFILTER": "ROW",
                        "VERSIONS": str(table.versions),
                        "KEEP_DELETED_CELLS": "TRUE" if table.keep_deleted else "FALSE",
                    }
                },
                "splits": {"prefix_byte": SALTS},
            }
            for table in _ALL
        ]
    }
