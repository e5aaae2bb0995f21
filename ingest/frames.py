"""What runs inside Spark's tasks: files in, Arrow batches out; nothing here needs a session."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from ingest.kinds import KINDS
from ingest.read import blocks, fingerprint, inspect
from ingest.records import Arrived, Found
from ingest.rows import Block
from ingest.values import arrow_type

TASK_BYTES = 32 * 1024 * 1024
TASK_FILES = 128
SMALL_BYTES = 256 * 1024
SMALL_FILES = 32
TASKS_MIN = 2
FOUND_DDL = """path string, sha256 string, sequence_no bigint, row_count bigint, control_sum string,
rows_quarantined bigint, amounts_unreadable bigint, fault_codes array<string>, fault_sentences array<string>"""
_FOUND_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("sequence_no", pa.int64()),
        ("row_count", pa.int64()),
        ("control_sum", pa.string()),
        ("rows_quarantined", pa.int64()),
        ("amounts_unreadable", pa.int64()),
        ("fault_codes", pa.list_(pa.string())),
        ("fault_sentences", pa.list_(pa.string())),
    ]
)
Batches = Iterator[pa.RecordBatch]
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """An accepted file that a task reads, with what its rows carry in front."""

    business_date: date
    platform_id: str
    sender_id: str
    file_name: str
    kind: str
    path: Path
    sha256: str
    size_bytes: int


def share(items: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
    """Spread files over tasks of about equal bytes: the largest first, each to the task with the least so far."""
    total = sum(sizes)
    # one task is quickest while its files are small: a second one costs more than it takes over
    tasks_min = TASKS_MIN if total > SMALL_BYTES or len(items) > SMALL_FILES else 1
    wanted = max(tasks_min, total // TASK_BYTES + 1, len(items) // TASK_FILES + 1)
    count = max(1, min(len(items), wanted))
    tasks: list[list[T]] = [[] for _ in range(count)]
    heap = [(0, index) for index in range(count)]
    for index in sorted(range(len(items)), key=lambda at: -sizes[at]):
        load, task = heapq.heappop(heap)
        tasks[task].append(items[index])
        heapq.heappush(heap, (load + sizes[index], task))
    return tasks


def inspecting(
    tasks: list[list[tuple[Arrived, bool]]], closes: Mapping[date, datetime] | None = None
) -> Callable[[Iterable[pa.RecordBatch]], Batches]:
    """A function for `mapInArrow` over task numbers: what is found in each task's files (True: read it, False: only hash it).

    `closes` says when each business date closes.
    """
    moments = dict(closes or {})

    def run(numbers: Iterable[pa.RecordBatch]) -> Batches:
        for task in _task_numbers(numbers):
            found = [
                inspect(arrived, moments.get(arrived.business_date)) if is_expected else fingerprint(arrived)
                for arrived, is_expected in tasks[task]
            ]
            yield _found_batch(found)

    return run


def landing(tasks: list[list[Source]], run_id: int, kind: str) -> Callable[[Iterable[pa.RecordBatch]], Batches]:
    """A function for `mapInArrow` over task numbers: the typed good rows of each task's files, all of one kind."""
    schema = landed_schema(kind)

    def run(numbers: Iterable[pa.RecordBatch]) -> Batches:
        for task in _task_numbers(numbers):
            for source in tasks[task]:
                for block in blocks(source.path, source.kind, source.sha256):
                    yield _landed_batch(source, run_id, block, schema)

    return run


def quarantining(tasks: list[list[Source]], run_id: int) -> Callable[[Iterable[pa.RecordBatch]], Batches]:
    """A function for `mapInArrow` over task numbers: the faults of the rows of each task's files."""

    def run(numbers: Iterable[pa.RecordBatch]) -> Batches:
        for task in _task_numbers(numbers):
            for source in tasks[task]:
                for block in blocks(source.path, source.kind, source.sha256):
                    yield _fault_batch(source, run_id, block)

    return run


def landed_schema(kind: str) -> pa.Schema:
    """Arrow schema of a landed table: the front columns, the file, the line, then the columns of the kind."""
    return pa.schema([*_FRONT, *((column.name, arrow_type(column)) for column in KINDS[kind].columns)])


_FRONT = (
    ("business_date", pa.date32()),
    ("run_id", pa.int64()),
    ("platform_id", pa.string()),
    ("sender_id", pa.string()),
    ("file_name", pa.string()),
    ("line_no", pa.int64()),
)
_FAULT_SCHEMA = pa.schema(
    [
        *_FRONT,
        ("file_kind", pa.string()),
        ("column_name", pa.string()),
        ("reason", pa.string()),
        ("raw_text", pa.string()),
    ]
)


def _task_numbers(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    # a task owns one core: Arrow's own thread pools cost twelve times the work on small blocks
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    for batch in batches:
        yield from batch.column(0).to_pylist()


def _front(source: Source, run_id: int, line_nos: pa.Array) -> list[pa.Array]:
    constants = (
        pa.scalar(source.business_date, pa.date32()),
        pa.scalar(run_id, pa.int64()),
        pa.scalar(source.platform_id),
        pa.scalar(source.sender_id),
        pa.scalar(source.file_name),
    )
    return [*(pa.repeat(constant, len(line_nos)) for constant in constants), line_nos]


def _landed_batch(source: Source, run_id: int, block: Block, schema: pa.Schema) -> pa.RecordBatch:
    line_nos, columns = block.good()
    return pa.RecordBatch.from_arrays([*_front(source, run_id, line_nos), *columns.values()], schema=schema)


def _fault_batch(source: Source, run_id: int, block: Block) -> pa.RecordBatch:
    faults = list(block.faults())
    line_nos = pa.array([fault.line_no for fault in faults], pa.int64())
    texts = (
        [source.kind] * len(faults),
        [fault.column for fault in faults],
        [fault.reason for fault in faults],
        [fault.raw_text for fault in faults],
    )
    arrays = [*_front(source, run_id, line_nos), *(pa.array(column, pa.string()) for column in texts)]
    return pa.RecordBatch.from_arrays(arrays, schema=_FAULT_SCHEMA)


def _found_batch(found: list[Found]) -> pa.RecordBatch:
    rows = [
        {
            "path": str(one.path),
            "sha256": one.sha256,
            "sequence_no": one.sequence_no,
            "row_count": one.row_count,
            "control_sum": str(one.control_sum),
            "rows_quarantined": one.rows_quarantined,
            "amounts_unreadable": one.amounts_unreadable,
            "fault_codes": [code for code, _ in one.faults],
            "fault_sentences": [sentence for _, sentence in one.faults],
        }
        for one in found
    ]
    return pa.RecordBatch.from_pylist(rows, schema=_FOUND_SCHEMA)
