"""The report as JSON for machines: `report.json` with its schema `report.schema.json` (JSON Schema 2020-12) beside it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from domain.errors import CheckFailed
from reports.consistency import Result
from reports.display import exact
from reports.figures import FigureSet

DOCUMENT, SCHEMA = "report.json", "report.schema.json"
FORMAT = "fundwatch.report/1"
_FROM_SET = (
    "pack_id",
    "pack_version",
    "pack_name",
    "legal_ref",
    "platform_id",
    "period",
    "as_of",
    "due_on",
    "known_as_of",
    "zone",
    "run_id",
    "published_version",
    "run_code_version",
    "ledger_no_to",
    "filters",
    "exclusions",
    "waived_files",
)
_FROM_FIGURE = (
    "id",
    "no",
    "section",
    "code",
    "name_zh",
    "name_en",
    "state",
    "unit",
    "counts",
    "currency",
    "definition",
    "legal_ref",
    "reason",
    "numerator",
    "denominator",
    "evidence_rows",
)


def document(figure_set: FigureSet, consistency: list[Result], version: int) -> dict[str, Any]:
    """The report as plain data; values are text: money in major units, shares as fractions of 1, so that none loses a digit."""
    return {
        "$schema": SCHEMA,
        "format": FORMAT,
        "parameters": {name: figure_set[name] for name in _FROM_SET} | {"bundle_version": version},
        "figures": [{name: figure[name] for name in _FROM_FIGURE} | {"value": exact(figure)} for figure in figure_set["figures"]],
        "overdue_by_bucket": figure_set["overdue_by_bucket"],
        "consistency": consistency,
        "evidence": figure_set["evidence"],
    }


@cache
def schema_bytes() -> bytes:
    """The schema that travels with a report."""
    return (files("reports") / SCHEMA).read_bytes()


def check_schema(instance: Any, schema: bytes) -> None:
    """CheckFailed names the first place where `instance` is not what the schema (as bytes of JSON) says."""
    from jsonschema import Draft202012Validator, SchemaError, ValidationError

    try:
        validator = Draft202012Validator(json.loads(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)
        validator.check_schema(validator.schema)
        validator.validate(instance)
    except (SchemaError, ValidationError) as error:
        where = "/".join(str(part) for part in error.absolute_path) or "its root"
        raise CheckFailed(f"{DOCUMENT}: {where}: {error.message}") from error
    except ValueError as error:
        raise CheckFailed(f"{SCHEMA}: cannot be read: {error}") from error
