"""Row keys and packed cells: what is written is read, keys sort as their tuples, salts spread."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import BadInput
from hbase_schema.fields import Field, Kind
from hbase_schema.keys import SALTS, salt, salt_column
from hbase_schema.tables import TABLES, ddl

# the machine is shared: how long one example takes says nothing
_RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

_INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.ID: st.integers(0, 2**63 - 1),
    Kind.INT64: st.integers(-(2**63), 2**63 - 1),
    Kind.INT32: st.integers(-(2**31), 2**31 - 1),
    Kind.DATE: st.dates(),
    Kind.INSTANT: _INSTANTS,
    Kind.INSTANT_DESCENDING: _INSTANTS,
    Kind.FLAG: st.booleans(),
}


def _value(field: Field) -> st.SearchStrategy[Any]:
    if field.kind is Kind.RAW:
        return st.binary(min_size=field.width, max_size=field.width)
    if field.kind is Kind.TEXT:
        characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
        return st.text(characters, max_size=field.width).filter(lambda text: len(text.encode()) <= field.width)
    return _VALUES[field.kind]


def _row(fields: tuple[Field, ...], nullable: bool) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({f.name: st.none() | _value(f) if nullable else _value(f) for f in fields})


_NAMES = st.sampled_from(sorted(TABLES))


@_RELAXED
@given(st.data(), _NAMES)
def test_a_cell_gives_back_every_value_and_every_null(data: st.DataObject, name: str) -> None:
    cell = TABLES[name].cell
    row = data.draw(_row(cell.fields, nullable=True))
    packed = cell.encode(row)
    assert len(packed) == cell.width
    assert cell.decode(packed) == row


@_RELAXED
@given(st.data(), _NAMES)
def test_a_key_gives_back_its_values(data: st.DataObject, name: str) -> None:
    key = TABLES[name].key
    row = data.draw(_row(key.fields, nullable=False))
    encoded = key.encode(*(row[name] for name in key.names))
    assert len(encoded) == key.width
    assert key.decode(encoded) == row


@_RELAXED
@given(st.data(), _NAMES)
def test_keys_of_an_entity_sort_as_their_tuples(data: st.DataObject, name: str) -> None:
    key = TABLES[name].key
    entity, *rest = key.fields
    first = data.draw(_value(entity))
    rows = data.draw(st.lists(st.tuples(*map(_value, rest)), min_size=2, max_size=8))

    def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
        # newest first where the field says so
        return tuple(-v.timestamp() if f.kind is Kind.INSTANT_DESCENDING else v for f, v in zip(rest, row, strict=True))

    assert [key.encode(first, *row) for row in sorted(rows, key=order)] == sorted(key.encode(first, *row) for row in rows)


@_RELAXED
@given(st.data(), st.sampled_from([Kind.INT64, Kind.INT32, Kind.DATE, Kind.INSTANT, Kind.ID]))
def test_numbers_and_dates_sort_through_zero(data: st.DataObject, kind: Kind) -> None:
    field = Field("f", kind)
    values = data.draw(st.lists(_VALUES[kind], min_size=2, max_size=10))
    assert [field.encode(value) for value in sorted(values)] == sorted(map(field.encode, values))


@_RELAXED
@given(st.data(), _NAMES)
def test_columns_and_single_rows_give_the_same_bytes(data: st.DataObject, name: str) -> None:
    table = TABLES[name]
    keys = data.draw(st.lists(_row(table.key.fields, nullable=False), min_size=1, max_size=6))
    cells = data.draw(st.lists(_row(table.cell.fields, nullable=True), min_size=len(keys), max_size=len(keys)))
    key_columns = {f.name: pa.array([row[f.name] for row in keys], f.arrow_type) for f in table.key.fields}
    cell_columns = {f.name: pa.array([row[f.name] for row in cells], f.arrow_type) for f in table.cell.fields}

    encoded_keys = table.key.encode_columns(key_columns)
    encoded_cells = table.cell.encode_columns(cell_columns)

    assert encoded_keys.to_pylist() == [table.key.encode(*(row[name] for name in table.key.names)) for row in keys]
    assert encoded_cells.to_pylist() == [table.cell.encode(row) for row in cells]
    assert {n: c.to_pylist() for n, c in table.key.decode_columns(encoded_keys).items()} == {
        n: c.to_pylist() for n, c in key_columns.items()
    }
    assert {n: c.to_pylist() for n, c in table.cell.decode_columns(encoded_cells).items()} == {
        n: c.to_pylist() for n, c in cell_columns.items()
    }


def test_a_slice_of_a_column_is_encoded_as_the_slice() -> None:
    column = pa.array(["a", "bb", None, "", "dddd"])
    field = Field("f", Kind.TEXT, 4)
    assert field.encode_column(column.slice(1, 3)).tobytes() == b"bb\0\0" + bytes(8)


def test_null_and_empty_text_differ() -> None:
    cell = TABLES["acct_bal"].cell
    row: dict[str, Any] = dict.fromkeys(cell.names)
    assert cell.decode(cell.encode(row | {"currency": ""}))["currency"] == ""
    assert cell.decode(cell.encode(row))["currency"] is None


def test_what_does_not_fit_is_refused_by_row_and_by_column() -> None:
    cases: list[tuple[Field, Any, pa.Array]] = [
        (Field("f", Kind.TEXT, 3), "CNYX", pa.array(["CNYX"])),
        (Field("f", Kind.TEXT, 3), "a\0", pa.array(["a\0"])),
        (Field("f", Kind.RAW, 16), b"short", pa.array([b"short"])),
        (Field("f", Kind.ID), -1, pa.array([-1])),
        (Field("f", Kind.ID), 1.5, None),
        (Field("f", Kind.INT32), 2**31, None),
        (Field("f", Kind.INSTANT), datetime(2026, 8, 31), None),  # noqa: DTZ001
        (Field("f", Kind.DATE), datetime(2026, 8, 31, tzinfo=UTC), None),
    ]
    for field, value, column in cases:
        with pytest.raises(BadInput):
            field.encode(value)
        if column is not None:
            with pytest.raises(BadInput):
                field.encode_column(column)


def test_a_cell_of_another_version_or_length_is_refused() -> None:
    cell = TABLES["ord"].cell
    packed = cell.encode(dict.fromkeys(cell.names))
    for other in (b"\x02" + packed[1:], packed[:-1], b""):
        with pytest.raises(BadInput):
            cell.decode(other)


def test_salts_spread_consecutive_entities_evenly() -> None:
    seen = Counter(salt(number.to_bytes(8, "big")) for number in range(16_000))
    assert set(seen) == set(range(SALTS))
    assert max(seen.values()) < 1.1 * 1000 and min(seen.values()) > 0.9 * 1000


@_RELAXED
@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20))
def test_salts_of_a_column_are_those_of_its_rows(entities: list[bytes]) -> None:
    matrix = Field("f", Kind.RAW, 16).encode_column(pa.array(entities, pa.binary()))
    assert salt_column(matrix).tolist() == [salt(entity) for entity in entities]


def test_the_key_of_a_movement_is_salt_layout_account_long_max_minus_time_and_number() -> None:
    at = datetime(2026, 8, 31, 4, 5, 6, 789, tzinfo=UTC)
    microseconds = 1_788_149_106_000_789
    key = TABLES["mv"].key.encode(77, at, 5)
    entity = (77).to_bytes(8, "big")
    assert key == bytes((salt(entity), 1)) + entity + (2**63 - 1 - microseconds).to_bytes(8, "big") + (5).to_bytes(8, "big")


def test_every_table_is_declared_with_one_family_and_fifteen_splits() -> None:
    tables = {table["name"]: table for table in ddl("x_")["tables"]}
    assert sorted(tables) == ["x_acct_bal", "x_cust_360", "x_loan_snap", "x_mv", "x_ord", "x_recon"]
    assert all(list(table["families"]) == ["d"] and table["splits"] == {"prefix_byte": 16} for table in tables.values())
    assert tables["x_acct_bal"]["families"]["d"]["VERSIONS"] == "3"
    assert tables["x_acct_bal"]["families"]["d"]["KEEP_DELETED_CELLS"] == "TRUE"
    assert tables["x_mv"]["families"]["d"]["VERSIONS"] == "2"
