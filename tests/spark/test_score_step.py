"""Step `score` on a real lake: scores by the approved model, or none and the reason; never some."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from fundwatch import credit_models as files
from fundwatch.settings import Settings, load
from lake import credit_models as registry
from lake import store
from lake.steps import Run, StepContext
from lake.tables import TABLES
from models.artefact import Artefact
from models.features import FEATURES
from models.sample import Candidate, Sample
from models.score import score
from models.training import Origin, train
from spark_jobs import score as step
from spark_jobs.training_frame import bounded_sample, candidates

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BEFORE, DAY = date(2032, 5, 3), date(2032, 5, 4)
RUN_ID = 7_800_001


@pytest.fixture(scope="module")
def model(loans_of_a_known_world: Callable[..., Sample]) -> Artefact:
    """A model of real feature names, trained up to DAY."""
    sample = loans_of_a_known_world(3000)
    names = {"applications": "app_member_cnt_90", "days_late": "own_max_dpd_365", "on_time_ratio": "own_on_time_ratio"}
    renamed = replace(sample, columns={new: sample.columns[old] for old, new in names.items()})
    chosen = [one for one in candidates() if one.code in names.values()]
    return train(renamed, chosen, Origin(DAY, {"GOOD": sample.goods, "BAD": sample.bads}, 200_000))


@pytest.fixture
def settings(database: Any, session_home: Path) -> Settings:
    found = load()
    for path in found.models_dir.glob("*"):
        path.unlink()
    return found


@pytest.fixture
def context(spark: SparkSession, database: Any, settings: Settings) -> StepContext:
    """A run over two dates with features of three borrowers on each."""
    store.ensure_tables(spark)
    run = Run(RUN_ID, BEFORE, DAY, None, None, 0)
    found = StepContext(run, settings, spark)
    values = [(None, None, None), (0, 0, Decimal(1)), (9, 45, Decimal(0))]
    rows = []
    for day in (BEFORE, DAY):
        for number, (applied, late, share) in enumerate(values):
            row: dict[str, Any] = dict.fromkeys(TABLES["person_feature"].columns)
            row |= {"business_date": day, "run_id": RUN_ID, "platform_id": "P01", "borrower_ref": f"hash-{number}"}
            row |= {"subject_hash": f"hash-{number}", "as_of": datetime(2032, 5, day.day, 15, tzinfo=UTC), "has_industry": 1}
            row |= {"app_member_cnt_90": applied, "own_max_dpd_365": late}
            rows.append(tuple((row | {"own_on_time_ratio": share}).values()))
    store.write(found, "person_feature", spark.createDataFrame(rows, TABLES["person_feature"].ddl))
    with psycopg.connect(database.url("jobs")) as connection:
        connection.execute(
            """insert into run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
               values (%s, %s, %s, 0, '{}', 'x', 'OPEN', ledger.clock_now())""",
            [RUN_ID, BEFORE, DAY],
        )
    return found


def approve(settings: Settings, model: Artefact, trained_to: date = DAY) -> None:
    files.write(settings, model)
    registry.register(settings, model.model_id, model.sha256, trained_to, model.content["metrics"], "ann")
    registry.decide(settings, model.model_id, "ben", True, "figures looked at")


def test_the_approved_model_scores_dates_it_was_not_trained_beyond(
    context: StepContext, settings: Settings, model: Artefact
) -> None:
    approve(settings, model)
    result = step.run(context)
    rows = store.of_run(context, "score").orderBy("borrower_ref").collect()
    assert (result.rows_in, result.rows_out, dict(result.tables)) == (3, 3, {"score": 3})
    assert {row["business_date"] for row in rows} == {DAY}
    features = {
        row["borrower_ref"]: row.asDict()
        for row in store.of_run(context, "person_feature").where(f"business_date = '{DAY}'").collect()
    }
    for row in rows:
        wanted = score(model, features[row["borrower_ref"]])
        reasons = tuple(row[f"reason_{number}"] for number in range(1, 5) if row[f"reason_{number}"] is not None)
        assert (row["points"], row["band"], reasons, row["model_id"]) == (
            wanted.points,
            wanted.band,
            wanted.reasons,
            model.model_id,
        )
        assert abs(float(row["pd"]) - wanted.pd) <= 5e-10
        assert row["feature_as_of"] == features[row["borrower_ref"]]["as_of"]
    assert rows[1]["points"] > rows[2]["points"]
    (told,) = result.detail["models"]
    assert (told["model_id"], told["sha256"], told["dates"]) == (model.model_id, model.sha256, [DAY, DAY])
    assert told["held_out"]["auc"] == model.content["metrics"]["held_out"]["auc"] and told["calibration"]
    assert json.dumps(result.detail, default=str)
    # again: the same rows, not more
    assert step.run(context).rows_out == 3


def test_without_an_approved_model_there_are_no_scores_and_the_reason_is_told(
    context: StepContext, settings: Settings, model: Artefact
) -> None:
    assert step.run(context).detail == {"skipped": step.NO_MODEL}
    files.write(settings, model)
    registry.register(settings, model.model_id, model.sha256, DAY, model.content["metrics"], "ann")
    result = step.run(context)
    assert (result.rows_out, result.detail) == (0, {"skipped": step.NO_MODEL})
    assert store.of_run(context, "score").count() == 0


@pytest.mark.parametrize("harm", ["edited", "missing"])
def test_an_edited_or_missing_artefact_refuses_every_score_of_the_run_and_clears_those_of_an_earlier_try(
    context: StepContext, settings: Settings, model: Artefact, harm: str
) -> None:
    approve(settings, model)
    assert step.run(context).rows_out == 3
    path = settings.models_dir / f"{model.model_id}.json"
    if harm == "edited":
        path.write_text(model.text.replace('"points": ', '"points": 1', 1), encoding="utf-8")
    else:
        path.unlink()
    result = step.run(context)
    assert result.rows_out == 0 and harm in result.detail["refused"]
    assert store.of_run(context, "score").count() == 0


def test_the_sample_is_bounded_in_the_same_way_every_time_whatever_the_partitions(spark: SparkSession) -> None:
    columns = "key string, subject string, disbursed_on date, outcome string, " + ", ".join(
        f"{code} {feature.ddl}" for code, feature in FEATURES.items()
    )
    rows = [(f"P01|L{n:04d}", f"s{n}", DAY, "BAD" if n % 5 == 0 else "GOOD", *(None for _ in FEATURES)) for n in range(200)]
    once = bounded_sample(spark.createDataFrame(rows, columns), {"P01|L0000": 0.5}, cap=50)
    again = bounded_sample(spark.createDataFrame(rows[::-1], columns).repartition(7), {"P01|L0000": 0.5}, cap=50)
    assert len(once) == 50 and once == again
    assert once.content_sha256() == again.content_sha256()


def test_every_declared_feature_may_enter_a_model_and_none_is_the_truth() -> None:
    assert [one.code for one in candidates()] == list(FEATURES)
    assert all(isinstance(one, Candidate) and one.zh and one.en and "true" not in one.code for one in candidates())
