"""Step `land`: files pass file control and become lake tables (architecture section 4, spec 07 section 7.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from domain.errors import Failed
from expectations.suites import run_suite
from ingest import control, frames, quarantine
from ingest.kinds import KINDS
from ingest.landing import Landing, Registry, dates_between, possible, scan
from ingest.records import ACCEPTED, MISSING, REFUSED, WAIVED, Expected, Found, Verdict
from lake import operators, store
from lake import registry as lake_registry
from lake.completeness import WAITED_FOR
from lake.postgres import connection
from lake.runs import close_of
from lake.steps import StepContext, StepResult
from lake.tables import TABLES

LISTED_MAX = 200


def run(context: StepContext) -> StepResult:
    """Land every file of the run that proves to be what its sender promised; record what became of each one.

    Refused files are copied to the quarantine folder and land no row; bad rows of accepted files go to `quarantine_row`. A file
    that is not accepted, and that operators decided by the run's time to go on without, is WAIVED.
    A night without files is not an error: every file is then MISSING.
    Raises Failed when rows were lost on the way, ServiceMissing when PostgreSQL does not answer.
    """
    dates = dates_between(context.run.first_date, context.run.last_date)
    asked = possible(registry(context), dates)
    landing = _of_platform(scan(context.settings.landing_dir, dates, context.run.known_as_of), context.run.platform_id)
    found = _inspect(context, landing, asked)
    verdicts = control.judge(asked, landing, found, _history(context, found))
    sizes = {file.path: file.size_bytes for file in landing.files}
    tables = _land(context, [_source(verdict, sizes) for verdict in verdicts if verdict.state == ACCEPTED])
    _nothing_lost(verdicts, tables)
    bad = [_source(v, sizes) for v in verdicts if v.state == ACCEPTED and v.rows_quarantined]
    tables["quarantine_row"] = _write(
        context, "quarantine_row", bad, lambda tasks: frames.quarantining(tasks, context.run.run_id)
    )
    for verdict in verdicts:
        if verdict.state == REFUSED:
            quarantine.keep(context.settings.quarantine_dir, verdict)
    verdicts = control.waive(verdicts, _waived(context))
    tables["file_control"] = store.write(context, "file_control", _control_frame(context, verdicts))
    control_rows = store.of_run(context, "file_control")
    suite = run_suite(context.spark, "file_control", {"file_control": control_rows, "waited_for": control_rows.where(WAITED_FOR)})
    rows_in = sum(verdict.row_count or 0 for verdict in verdicts)
    rows_out = sum(count for name, count in tables.items() if name not in {"file_control", "quarantine_row"})
    suites = [suite.to_json(), *_bureau_suite(context, tables)]
    return StepResult(rows_in, rows_out, tables, _detail(verdicts) | {"expectations": suites})


def _bureau_suite(context: StepContext, tables: dict[str, int]) -> list[dict[str, Any]]:
    """How the checks of what the bureau sent went; nothing was sent, nothing is checked."""
    if not (tables["industry_record"] or tables["reputation_hit"]):
        return []
    close = context.spark.createDataFrame(list(_closes(context).items()), "business_date date, closes_at timestamp")
    names = {"industry": "industry_record", "reputation": "reputation_hit"}
    rows = {name: store.of_run(context, table) for name, table in names.items()}
    return [run_suite(context.spark, "bureau", rows | {"close": close}).to_json()]


def _closes(context: StepContext) -> dict[date, datetime]:
    """When each business date of the run closes."""
    dates = dates_between(context.run.first_date, context.run.last_date)
    return {day: close_of(context.settings, day) for day in dates}


def registry(context: StepContext) -> Registry:
    """Platforms and payment companies as known at the run's `known_as_of`, from PostgreSQL."""
    run, settings = context.run, context.settings
    with connection(settings) as database:
        platforms = lake_registry.platforms(database, run.known_as_of, run.platform_id)
        return Registry(platforms, lake_registry.payment_companies(database), settings.bank_id, settings.bureau_id)


def _waived(context: StepContext) -> dict[Expected, str]:
    """Files that the run goes on without, with the sentence that says by whose decision."""
    with connection(context.settings) as database:
        found = operators.waivers(database, context.run)
    return {Expected(*waiver.key): waiver.sentence for waiver in found}


def _of_platform(landing: Landing, platform_id: str | None) -> Landing:
    if platform_id is None:
        return landing
    return Landing([file for file in landing.files if file.platform_id == platform_id], landing.manifests)


def _per_task(context: StepContext, count: int, work: Callable[..., frames.Batches], ddl: str) -> DataFrame:
    """A frame whose partition N is what `work` yields for task N: one row of the range is one task."""
    return context.spark.range(0, count, 1, count).mapInArrow(work, ddl)


def _inspect(context: StepContext, landing: Landing, asked: dict[Expected, bool]) -> dict[Path, Found]:
    """What every file holds, read by Spark's tasks; only the findings come back to the driver."""
    if not landing.files:
        return {}
    files = [(file, file.key in asked) for file in landing.files]
    tasks = frames.share(files, [file.size_bytes for file in landing.files])
    rows = _per_task(context, len(tasks), frames.inspecting(tasks, _closes(context)), frames.FOUND_DDL).collect()
    return {Path(row.path): _found(row) for row in rows}


def _found(row: Any) -> Found:
    return Found(
        Path(row.path),
        row.sha256,
        row.sequence_no,
        row.row_count,
        int(row.control_sum),
        row.rows_quarantined,
        row.amounts_unreadable,
        tuple(zip(row.fault_codes, row.fault_sentences, strict=True)),
    )


def _history(context: StepContext, found: dict[Path, Found]) -> control.History:
    """Last accepted sequence numbers of published dates, and which of tonight's hashes were accepted before."""
    stream = ["sender_id", "platform_id", "file_kind"]
    accepted = store.published_before(context, "file_control", context.run.first_date).where(F.col("state") == ACCEPTED)
    last = accepted.groupBy(*stream).agg(
        F.max("business_date").alias("day"), F.max_by("sequence_no", "business_date").alias("sequence_no")
    )
    if not found:
        return control.History(_last(last))
    tonight = context.spark.createDataFrame([(one.sha256,) for one in found.values()], "sha256 string").distinct()
    seen = (
        accepted.join(tonight, "sha256")
        .groupBy("sha256")
        .agg(
            F.min(F.concat("sender_id", F.lit("/"), "file_name", F.lit(" of "), F.col("business_date").cast("string"))).alias(
                "what"
            )
        )
    )
    return control.History(
        _last(last),
        {row.sha256: row.what for row in seen.collect()},
    )


def _last(rows: DataFrame) -> dict[control.Stream, tuple[date, int]]:
    return {(row.sender_id, row.platform_id, row.file_kind): (row.day, row.sequence_no) for row in rows.collect()}


def _source(verdict: Verdict, sizes: dict[Path, int]) -> frames.Source:
    if verdict.path is None or verdict.sha256 is None:
        raise Failed(f"{verdict.file_name} of {verdict.business_date} is accepted without a file")
    return frames.Source(
        verdict.business_date,
        verdict.platform_id,
        verdict.sender_id,
        verdict.file_name,
        verdict.file_kind,
        verdict.path,
        verdict.sha256,
        sizes[verdict.path],
    )


def _land(context: StepContext, sources: Sequence[frames.Source]) -> dict[str, int]:
    """Write every landed table, one pass a kind over all dates; a kind without files clears what an earlier try wrote."""

    def land_kind(name: str) -> int:
        of_kind = [source for source in sources if source.kind == name]
        return _write(context, KINDS[name].table, of_kind, lambda tasks: frames.landing(tasks, context.run.run_id, name))

    with ThreadPoolExecutor(store.WRITES_AT_ONCE) as writers:
        return dict(zip((kind.table for kind in KINDS.values()), writers.map(land_kind, KINDS), strict=True))


def _write(context: StepContext, table: str, sources: Sequence[frames.Source], work: Callable[..., Any]) -> int:
    if not sources:
        nothing = context.spark.table(TABLES[table].identifier).where(F.lit(False))
        return store.write(context, table, nothing)
    ddl = TABLES[table].ddl
    tasks = frames.share(sources, [source.size_bytes for source in sources])
    return store.write(context, table, _per_task(context, len(tasks), work(tasks), ddl))


def _nothing_lost(verdicts: Sequence[Verdict], tables: dict[str, int]) -> None:
    """Rows of the accepted files = rows landed + rows in quarantine, for every kind."""
    for name, kind in KINDS.items():
        of_kind = [verdict for verdict in verdicts if verdict.state == ACCEPTED and verdict.file_kind == name]
        due = sum((verdict.row_count or 0) - (verdict.rows_quarantined or 0) for verdict in of_kind)
        if tables[kind.table] != due:
            raise Failed(f"{kind.table}: {tables[kind.table]} rows landed, the accepted {name} files hold {due} good rows")


def _control_frame(context: StepContext, verdicts: Sequence[Verdict]) -> DataFrame:
    rows = [
        (
            verdict.business_date,
            context.run.run_id,
            verdict.platform_id,
            verdict.sender_id,
            verdict.file_kind,
            verdict.file_name,
            verdict.state,
            verdict.reason_code,
            verdict.reason,
            verdict.sha256,
            verdict.received_at,
            verdict.sequence_no,
            verdict.row_count,
            verdict.control_sum,
            verdict.rows_quarantined,
        )
        for verdict in verdicts
    ]
    return context.spark.createDataFrame(rows, TABLES["file_control"].ddl)


def _detail(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts by state and reason, and the files that are not accepted (the rest of a long list is in `file_control`)."""
    faulty = [verdict for verdict in verdicts if verdict.state != ACCEPTED]
    states = Counter(verdict.state for verdict in verdicts)
    return {
        "files": {state: states[state] for state in (ACCEPTED, REFUSED, MISSING, WAIVED) if states[state] or state != WAIVED},
        "reasons": dict(Counter(verdict.reason_code for verdict in faulty)),
        "rows_quarantined": sum(verdict.rows_quarantined or 0 for verdict in verdicts),
        "not_accepted": [
            f"{v.business_date} {v.sender_id}/{v.file_name}: {v.reason_code}: {v.reason}" for v in faulty[:LISTED_MAX]
        ],
        "not_accepted_unlisted": max(0, len(faulty) - LISTED_MAX),
    }
