"""Suites as data, run by Great Expectations on Spark: a check is SQL for offending rows, GX asserts that there are none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from domain.errors import Failed, WrongUse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STOP_DAG, INCOMPLETE, ALERT_ONLY = "STOP_DAG", "INCOMPLETE", "ALERT_ONLY"
ACTIONS = frozenset({STOP_DAG, INCOMPLETE, ALERT_ONLY})
SEVERITIES = frozenset({"critical", "warning", "info"})
OFFENDERS_SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One thing that must hold: SQL over ``{name}`` frames that returns the rows for which it does not."""

    name: str
    severity: str
    action_on_fail: str
    sql: str


@dataclass(frozen=True)
class CheckResult:
    """How a check went: the number of offending rows, and the first of them as JSON objects."""

    check: Check
    offending_rows: int
    first_rows: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result as the manifest of a run keeps it."""
        return {
            "check": self.check.name,
            "severity": self.check.severity,
            "action_on_fail": self.check.action_on_fail,
            "success": self.offending_rows == 0,
            "offending_rows": self.offending_rows,
            "first_rows": list(self.first_rows),
        }


@dataclass(frozen=True)
class SuiteResult:
    """How the checks of a suite went, in the order of the suite."""

    suite: str
    results: tuple[CheckResult, ...]

    def to_json(self) -> dict[str, Any]:
        """The result as the manifest of a run keeps it."""
        return {"suite": self.suite, "success": not any(one.offending_rows for one in self.results)} | {
            "checks": [one.to_json() for one in self.results]
        }

    def failed(self, action: str) -> list[CheckResult]:
        """Checks with offending rows whose action is `action`."""
        return [one for one in self.results if one.offending_rows and one.check.action_on_fail == action]


def load_suite(name: str) -> list[Check]:
    """The checks of ``expectations/NAME.yaml``; raises WrongUse for what a suite may not say."""
    path = Path(__file__).with_name(f"{name}.yaml")
    if not path.is_file():
        raise WrongUse(f"there is no suite {name!r} in {path.parent}")
    declared = yaml.safe_load(path.read_text(encoding="utf-8"))
    checks = [Check(**check) for check in declared["checks"]]
    names = [check.name for check in checks]
    if declared["suite"] != name or len(set(names)) != len(names):
        raise WrongUse(f"{path.name}: the suite must be named {name} and its checks must have names of their own")
    for check in checks:
        if check.severity not in SEVERITIES or check.action_on_fail not in ACTIONS:
            raise WrongUse(f"{path.name}: {check.name} has an unknown severity or action_on_fail")
    return checks


def run_suite(spark: SparkSession, name: str, frames: Mapping[str, DataFrame]) -> SuiteResult:
    """Evaluate a suite and stop for what stops the night; other faults are in the result.

    Raises Failed, naming suite, check and first offending row, when a check with STOP_DAG fails.
    """
    result = evaluate(spark, name, frames)
    stops = result.failed(STOP_DAG)
    if stops:
        row = json.dumps(stops[0].first_rows[0], ensure_ascii=False) if stops[0].first_rows else "none shown"
        others = f" ({len(stops) - 1} more checks failed)" if len(stops) > 1 else ""
        raise Failed(
            f"suite {name}, check {stops[0].check.name}: {stops[0].offending_rows} offending rows, the first is {row}{others}"
        )
    return result


def evaluate(spark: SparkSession, name: str, frames: Mapping[str, DataFrame]) -> SuiteResult:
    """Run every check of a suite in one Spark job over `frames` (the names that the suite's SQL uses in braces)."""
    checks = load_suite(name)
    offending = _offending(spark, checks, frames)
    found = {row["check_name"]: int(row["count"]) for row in offending.groupBy("check_name").count().collect()}
    counts = _validate(name, checks, found)
    first = _first_rows(offending, [check for check in checks if counts[check.name]])
    return SuiteResult(name, tuple(CheckResult(check, counts[check.name], first.get(check.name, ())) for check in checks))


def _offending(spark: SparkSession, checks: list[Check], frames: Mapping[str, DataFrame]) -> DataFrame:
    """All offending rows of a suite: (check_name, row_json)."""
    parts = [
        f"select '{check.name}' as check_name, to_json(struct(*)) as row_json from (\n{check.sql}\n) as offending"
        for check in checks
    ]
    query = "\nunion all\n".join(parts)
    return spark.sql(query, **{frame: frames[frame] for frame in frames if f"{{{frame}}}" in query})


def _validate(name: str, checks: list[Check], found: Mapping[str, int]) -> dict[str, int]:
    """Offending rows per check, asserted to be none by Great Expectations over what Spark counted in one job.

    Given the offending rows themselves, GX counts with one Spark job a check: most of the time of a small night's checks.
    """
    context = _ephemeral_context()
    import pandas  # type: ignore[import-untyped]
    from great_expectations import ExpectationSuite
    from great_expectations.expectations import ExpectColumnMaxToBeBetween

    names = [check.name for check in checks]
    counted = pandas.DataFrame({"check_name": names, "offending_rows": [found.get(one, 0) for one in names]})
    batch = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe(name)
        .get_batch({"dataframe": counted})
    )
    expectations = [
        ExpectColumnMaxToBeBetween(
            column="offending_rows",
            max_value=0,
            row_condition=f'check_name == "{check.name}"',
            condition_parser="pandas",
            severity=check.severity,
            meta={"check": check.name},
        )
        for check in checks
    ]
    validated = batch.validate(ExpectationSuite(name=name, expectations=expectations))
    counts: dict[str, int] = {}
    for one in validated.results:
        check_name = one.expectation_config.meta["check"]
        if one.result.get("observed_value") is None:
            raise Failed(f"suite {name}, check {check_name} could not be run: {one.exception_info}")
        counts[check_name] = int(one.result["observed_value"])
    return counts


def _ephemeral_context() -> Any:
    """A Great Expectations context in memory that asks nobody and draws nothing."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _first_rows(offending: DataFrame, failed: list[Check]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """The first few offending rows (by their text) of each failed check."""
    first = {}
    for check in failed:
        rows = offending.where(f"check_name = '{check.name}'").orderBy("row_json").limit(OFFENDERS_SHOWN).collect()
        first[check.name] = tuple(json.loads(row.row_json) for row in rows)
    return first
