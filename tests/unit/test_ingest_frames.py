"""Work that tasks do: files are shared out evenly, and what a task yields has the lake's columns in the lake's order."""

from __future__ import annotations

from ingest.frames import SMALL_BYTES, TASK_BYTES, landed_schema, share
from ingest.kinds import KINDS
from lake.tables import TABLES
from simulator.file_format import COLUMNS, SUM_COLUMN


def test_every_kind_lands_in_the_columns_of_its_lake_table_in_their_order() -> None:
    for name, kind in KINDS.items():
        assert tuple(landed_schema(name).names) == TABLES[kind.table].columns, name


def test_files_are_shared_out_once_each_and_about_evenly() -> None:
    sizes = [TASK_BYTES * 3, *[TASK_BYTES // 10] * 20]
    tasks = share(list(range(len(sizes))), sizes)
    assert sorted(index for task in tasks for index in task) == list(range(len(sizes)))
    assert [0] in tasks


def test_small_files_share_few_tasks_and_many_files_get_more() -> None:
    assert len(share([1], [10])) == 1
    assert len(share(list(range(32)), [10] * 32)) == 1
    assert len(share(list(range(33)), [10] * 33)) == 2
    assert len(share([1, 2], [SMALL_BYTES, 1])) == 2
    assert len(share(list(range(1000)), [10] * 1000)) == 8


def test_the_simulator_sends_the_columns_that_ingest_declares() -> None:
    assert {name: kind.names for name, kind in KINDS.items()} == {str(kind): names for kind, names in COLUMNS.items()}
    assert {name: kind.sum_column for name, kind in KINDS.items()} == {str(kind): name for kind, name in SUM_COLUMN.items()}
