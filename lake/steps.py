"""What a step of the night is given and what it gives back (contracts section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from fundwatch.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Run:
    """One execution of the night over consecutive business dates; a row of `run.run`."""

    run_id: int
    first_date: date
    last_date: date
    platform_id: str | None
    known_as_of: datetime | None
    ledger_no_to: int
    packs: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""
    state: str = "OPEN"


@dataclass(frozen=True)
class StepContext:
    """Everything a step may use: its run, the settings, and a Spark session (classic or Connect)."""

    run: Run
    settings: Settings
    spark: SparkSession


@dataclass(frozen=True)
class StepResult:
    """What a step did: rows read and written, and per table the counts the manifest keeps."""

    rows_in: int
    rows_out: int
    tables: Mapping[str, int] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
