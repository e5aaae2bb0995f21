"""The registry of credit models in PostgreSQL: which files are models, who made and who approved them (migration 0009)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from domain.errors import BadInput
from fundwatch.settings import Settings
from lake.postgres import connection
from lake.steps import Run

_STATE = "model_id, sha256, trained_to, metrics, maker, registered_at, state, checker, note, decided_at"
_APPROVED = "model_id, sha256, trained_to, metrics, maker, checker, decided_at"


class ModelRefused(BadInput):
    """A registration or decision that is refused; nothing was changed. `code`: OTHER_FILE OWN_MODEL UNKNOWN_MODEL NOTE."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class ModelState:
    """A registered model and its newest decision; `state` is DRAFT until there is one, then APPROVED or REJECTED."""

    model_id: str
    sha256: str
    trained_to: date
    metrics: Mapping[str, Any]
    maker: str
    registered_at: datetime
    state: str
    checker: str | None
    note: str | None
    decided_at: datetime | None


@dataclass(frozen=True)
class Approved:
    """A model that was approved at the moment asked for."""

    model_id: str
    sha256: str
    trained_to: date
    metrics: Mapping[str, Any]
    maker: str
    checker: str
    decided_at: datetime


def register(settings: Settings, model_id: str, sha256: str, trained_to: date, metrics: Mapping[str, Any], maker: str) -> bool:
    """Put a file down as a draft; False when it was registered before. ModelRefused when the id belongs to another file."""
    values = [model_id, sha256, trained_to, json.dumps(metrics), maker]
    with connection(settings, "jobs") as database, _refusals():
        return bool(_one(database, "select credit.register_model(%s, %s, %s, %s, %s)", values))


def decide(settings: Settings, model_id: str, checker: str, approve: bool, note: str) -> bool:
    """Approve or reject a model as a second person; False when that is its state already.

    ModelRefused: no such model, the checker made it, or no note.
    """
    if not 0 < len(note.strip()) <= 500:
        raise ModelRefused("NOTE", "a decision on a model needs a note of 1 to 500 characters")
    with connection(settings, "service") as database, _refusals():
        return bool(_one(database, "select credit.decide_model(%s, %s, %s, %s)", [model_id, checker, approve, note]))


def listed(settings: Settings) -> list[ModelState]:
    """All models, the newest first."""
    with connection(settings, "reader") as database, database.cursor(row_factory=class_row(ModelState)) as cursor:
        return cursor.execute(f"select {_STATE} from credit.model_state order by registered_at desc, model_id").fetchall()


def get(settings: Settings, model_id: str) -> ModelState:
    """One model; BadInput when there is none of this id."""
    found = [model for model in listed(settings) if model.model_id == model_id]
    if not found:
        raise BadInput(f"there is no model {model_id}")
    return found[0]


def approved_for(settings: Settings, run: Run) -> list[Approved]:
    """The models approved when the run was opened, or at its `known_as_of` if that is earlier; newest approval first."""
    query = f"""select {_APPROVED} from credit.models_at((
                  select least(coalesce(%(known)s::timestamptz, opened_at), opened_at) from run.run where run_id = %(run_id)s))"""
    with connection(settings, "jobs") as database, database.cursor(row_factory=class_row(Approved)) as cursor:
        return cursor.execute(query, {"run_id": run.run_id, "known": run.known_as_of}).fetchall()


def _one(database: psycopg.Connection[Any], query: str, values: list[Any]) -> Any:
    row = database.execute(query, values).fetchone()
    return row[0] if row else None


@contextmanager
def _refusals() -> Iterator[None]:
    """What the database refuses, as ModelRefused; errors of other kinds pass."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate != "FW422":
            raise
        raise ModelRefused(error.diag.message_detail or "", error.diag.message_primary or str(error)) from error
