"""The night: the steps of `night.toml` in order, each recorded, in one process with one Spark session."""

from __future__ import annotations

import gc
import importlib
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import BadInput, FundwatchError, ServiceMissing, WrongUse
from fundwatch.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lake.steps import Run, StepResult

Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One step of the night: its name is that of a module in its room."""

    name: str
    spark: bool
    after_publish: bool = False
    room: str = "spark_jobs"


@dataclass(frozen=True)
class Done:
    """A step that ended well: rows read and written, seconds, and what else it tells."""

    step: str
    rows_in: int
    rows_out: int
    seconds: float
    detail: dict[str, Any] = field(default_factory=dict)


def steps() -> list[Step]:
    """The steps of `night.toml`, in order."""
    text = (Path(__file__).parent / "night.toml").read_text(encoding="utf-8")
    return [Step(**entry) for entry in tomllib.loads(text)["step"]]


def step_named(name: str) -> Step:
    """The step with a name; WrongUse when the night has none."""
    for step in steps():
        if step.name == name:
            return step
    raise WrongUse(f"the night has no step {name!r}: it has {', '.join(step.name for step in steps())}")


def nightly(
    settings: Settings,
    to: date,
    from_date: date | None,
    platform_id: str | None,
    known_as_of: datetime | None,
    say: Say,
) -> dict[str, Any]:
    """Collect what was dropped, open a run (or go on with the same one a killed process left), run its steps, publish it.

    ``{"skipped": true}`` when there is nothing to do or operators hold the night. A step that fails leaves the run OPEN and
    unpublished; a failure after publishing does not unpublish, and is raised too.
    """
    from fundwatch.collecting import collect_if_any
    from lake import runs
    from lake.lock import exclusive

    started = time.monotonic()
    collect_if_any(settings)
    with exclusive(settings):
        try:
            run = runs.open_run(settings, to, from_date, platform_id, known_as_of, resume=True, on_abandon=abandoned(say))
        except runs.Held as held:
            return {"skipped": True, "reason": str(held)}
        if run is None:
            return {"skipped": True, "reason": f"every date up to {to} is published"}
        carry_on(settings, run, say)
    return shown(runs.show(settings, run.run_id)) | {"total_seconds": round(time.monotonic() - started, 1)}


def carry_on(settings: Settings, run: Run, say: Say) -> None:
    """Run the steps of a run that are not done yet, publish and history included, in one process with one Spark session.

    The caller holds the night's lock. Errors are those of `run_step`.
    """
    from lake import runs

    say(f"run {run.run_id}: {run.first_date} to {run.last_date}, ledger up to {run.ledger_no_to}")
    before = {name for name, state in runs.step_states(settings, run.run_id).items() if state == "DONE"}
    if before >= {step.name for step in steps()}:
        return
    failed: Exception | None = None
    with spark_session(settings, f"night {run.run_id}") as spark:
        for step in steps():
            if step.name in before:
                say(f"{step.name}: done before")
            elif not (step.after_publish and run.known_as_of):
                try:
                    done = run_step(settings, runs.get(settings, run.run_id), step, spark)
                except Exception as error:
                    if not step.after_publish:
                        raise
                    failed = failed or error  # what else follows the publish is done all the same
                    say(f"{step.name}: {error}")
                    continue
                say(f"{step.name}: {done.rows_in:,} rows in, {done.rows_out:,} out, {done.seconds:.1f} s")
    if failed is not None:
        raise failed


def single_step(settings: Settings, name: str, run_id: int) -> dict[str, Any]:
    """Run one step of a run: before publishing while it is OPEN, `after_publish` steps once it is PUBLISHED (else BadInput)."""
    from lake import runs
    from lake.lock import exclusive

    step = step_named(name)
    with exclusive(settings):
        run = runs.get(settings, run_id)
        if step.after_publish and run.state == "AS_KNOWN":
            return {"run_id": run_id, "step": name, "skipped": True, "reason": "a run as known then is not projected"}
        if step.name == "publish" and run.state in ("PUBLISHED", "AS_KNOWN"):
            return {"run_id": run_id, "step": name, "skipped": True, "reason": "the run was published before"}
        needed = "PUBLISHED" if step.after_publish else "OPEN"
        if run.state != needed:
            raise BadInput(f"step {name} needs a run that is {needed}, and run {run_id} is {run.state}")
        if not step.spark:
            done = run_step(settings, run, step, None)
        else:
            with spark_session(settings, f"{name} {run_id}") as spark:
                done = run_step(settings, run, step, spark)
    result = {"run_id": run_id, "step": name, "rows_in": done.rows_in, "rows_out": done.rows_out, "seconds": done.seconds}
    return result | {"detail": done.detail}


def run_step(settings: Settings, run: Run, step: Step, spark: SparkSession | None) -> Done:
    """Run a step and record it in `run.step`: RUNNING, then DONE with counts and content hashes, or FAILED with the reason.

    What it wrote before is replaced. Services that stop answering in the middle raise ServiceMissing.
    """
    from lake import runs

    started = time.monotonic()
    runs.record_step(settings, run.run_id, step.name, "RUNNING")
    try:
        with _known_errors():
            result = _execute(settings, run, step, spark)
    except Exception as error:
        seconds = round(time.monotonic() - started, 2)
        sentence = str(error).strip().partition("\n")[0][:2000]
        detail = {"error": f"{type(error).__name__}: {sentence}"}
        runs.record_step(settings, run.run_id, step.name, "FAILED", seconds=seconds, detail=detail)
        raise
    # between steps nothing is under way: what the step kept at the server is let go
    gc.collect()
    seconds = round(time.monotonic() - started, 2)
    written: dict[str, Any] = {**result.detail, "tables": dict(result.tables)}
    runs.record_step(settings, run.run_id, step.name, "DONE", result.rows_in, result.rows_out, seconds, written)
    return Done(step.name, result.rows_in, result.rows_out, seconds, _without_content(written))


def _execute(settings: Settings, run: Run, step: Step, spark: SparkSession | None) -> StepResult:
    from dataclasses import replace

    from lake.steps import StepContext

    module = importlib.import_module(f"{step.room}.{step.name}")
    if spark is None or not step.spark:
        result: StepResult = module.run_without_spark(run, settings, [each.name for each in _before_publish()])
        if step.name == "publish" and run.known_as_of is None:
            from transactional.adjustments import verify_published
            from transactional.breaks import review_published

            # what people adjusted and said is judged by the very night that was just published; a night later judges again
            judged = {
                "adjustments": verify_published(settings, run.run_id),
                "breaks": review_published(settings, run.run_id),
            }
            return replace(result, detail={**result.detail, **judged})
        return result
    from lake.content import contents
    from lake.tables import TABLES

    context = StepContext(run, settings, spark)
    result = module.run(context)
    if step.name == "verify":
        from fundwatch.ledger_check import verify_ledger

        # the suites judge what the night extracted; this judges the book it was extracted from
        result = replace(result, detail={**result.detail, "ledger": verify_ledger(settings)})
    if step.after_publish:
        return result
    hashes = contents(context, [name for name, rows in result.tables.items() if rows and name in TABLES])
    return replace(result, detail={**result.detail, "content": hashes})


def _before_publish() -> Sequence[Step]:
    every = steps()
    return every[: [step.name for step in every].index("publish")]


@contextmanager
def spark_session(settings: Settings, app: str) -> Iterator[SparkSession]:
    """A session with the lake's tables in place, stopped at the end."""
    from lake import store
    from lake.session import collected_by_hand
    from lake.session import spark_session as open_session

    with _known_errors(), collected_by_hand() if settings.spark_remote else nullcontext():
        session = open_session(settings, app)
        try:
            store.ensure_tables(session)
            yield session
        finally:
            session.stop()


@contextmanager
def _known_errors() -> Iterator[None]:
    """Turn a service that went away in the middle into ServiceMissing; other errors pass."""
    import psycopg

    try:
        yield
    except FundwatchError:
        raise
    except psycopg.OperationalError as error:
        raise ServiceMissing(f"PostgreSQL does not answer: {str(error).strip().partition(chr(10))[0]}") from error
    except Exception as error:
        if type(error).__name__ == "SparkConnectGrpcException" and "UNAVAILABLE" in str(error):
            raise ServiceMissing("the Spark Connect server does not answer: run `fundwatch up`") from error
        raise


def abandoned(say: Say) -> Callable[[int], None]:
    """Says which run was given up for a new one."""
    return lambda run_id: say(f"run {run_id} was left open by an earlier process: abandoned")


def shown(run: dict[str, Any]) -> dict[str, Any]:
    """A run as `run show` prints it: without the content hashes, which are in the manifest."""
    kept = [{**step, "seconds": _number(step["seconds"]), "detail": _without_content(step["detail"])} for step in run["steps"]]
    order = {step.name: place for place, step in enumerate(steps())}
    return {**run, "steps": sorted(kept, key=lambda step: order.get(step["step"], len(order)))}


def _without_content(detail: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (detail or {}).items() if key != "content"}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
