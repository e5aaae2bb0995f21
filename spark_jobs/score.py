"""Step `score`: points, probability of bad and reasons of every borrower with an open loan, by the approved model (spec 06 6.5).

The model's artefact is compiled to one SQL expression and run over `person_feature`; nothing else scores. Of a date, the newest
approved model that was not trained on anything later counts. Without one, or when its file is not the registered one, the run has
no scores of those dates and says why: never some scores, and the night goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from domain.errors import BadInput
from fundwatch.settings import Settings
from lake import store
from lake.credit_models import Approved, approved_for
from lake.runs import dates
from lake.steps import StepContext, StepResult
from lake.tables import TABLES
from models.artefact import NUMBER, Artefact, load
from models.features import FEATURES
from models.score import REASONS
from models.sql import score_select

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_KEPT = ("business_date", "run_id", "platform_id", "borrower_ref", "subject_hash", "as_of")
_SHOWN = ("auc", "auc_95", "ks", "ece", "brier", "rows", "bads")
NO_MODEL = "no model was approved that is trained up to a date not after the run's dates"


@dataclass(frozen=True)
class Use:
    """A model and the dates [first, last] of a run that it scores."""

    model: Approved
    first: date
    last: date


def run(context: StepContext) -> StepResult:
    """Write `score` from the run's `person_feature` rows; the detail names models with their figures, or why there are none."""
    features = store.of_run(context, "person_feature")
    uses = models_in_use(approved_for(context.settings, context.run), dates(context.run))
    artefacts: list[Artefact] = []
    detail: dict[str, Any] = {"skipped": NO_MODEL} if not uses else {}
    try:
        artefacts = [load_registered(context.settings, use.model) for use in uses]
    except BadInput as error:
        uses, detail = [], {"refused": str(error)}
    if not uses:
        store.write(context, "score", context.spark.createDataFrame([], TABLES["score"].ddl))
        return StepResult(0, 0, {"score": 0}, detail)
    parts = [
        scored(artefact, features.where(F.col("business_date").between(use.first, use.last)))
        for use, artefact in zip(uses, artefacts, strict=True)
    ]
    written = store.write(context, "score", reduce(lambda one, other: one.unionByName(other), parts))
    rows_in = features.where(F.col("business_date") >= uses[0].first).count()
    return StepResult(rows_in, written, {"score": written}, {"models": [_told(use) for use in uses]})


def models_in_use(approved: list[Approved], days: list[date]) -> list[Use]:
    """Which model scores which dates: of each date the first of `approved` (newest approval first) that was not trained later."""
    uses: list[Use] = []
    for day in days:
        model = next((one for one in approved if one.trained_to <= day), None)
        if model is None:
            continue
        if uses and uses[-1].model == model:
            uses[-1] = Use(model, uses[-1].first, day)
        else:
            uses.append(Use(model, day, day))
    return uses


def load_registered(settings: Settings, model: Approved) -> Artefact:
    """The artefact of a registered model; BadInput when its file is missing, edited, another one, or asks for other features."""
    artefact = load(settings.models_dir / f"{model.model_id}.json", model.sha256)
    for feature in artefact.features:
        declared = FEATURES.get(feature.code)
        if declared is None or (declared.scale, NUMBER) != (feature.scale, feature.kind):
            raise BadInput(f"model {artefact.model_id} needs feature {feature.code}, which is not declared so any more")
    return artefact


def scored(artefact: Artefact, features: DataFrame) -> DataFrame:
    """Rows of `person_feature` as rows of lake table `score`."""
    select = score_select(artefact, "{features}", _KEPT)
    rows = features.sparkSession.sql(select, features=features)
    return rows.select(
        "business_date",
        "run_id",
        "platform_id",
        "borrower_ref",
        "subject_hash",
        F.lit(artefact.model_id).alias("model_id"),
        "points",
        F.col("pd").cast("decimal(12,9)").alias("pd"),
        "band",
        *(f"reason_{number}" for number in range(1, REASONS + 1)),
        F.col("as_of").alias("feature_as_of"),
    )


def _told(use: Use) -> dict[str, Any]:
    """What the manifest keeps of a model: its id, its file's hash, who stands for it, the figures of its card."""
    metrics = use.model.metrics
    truth = metrics.get("against_truth")
    return {
        "model_id": use.model.model_id,
        "sha256": use.model.sha256,
        "trained_to": use.model.trained_to,
        "maker": use.model.maker,
        "checker": use.model.checker,
        "dates": [use.first, use.last],
        "estimate": metrics["estimate"],
        "held_out": {name: metrics["held_out"][name] for name in _SHOWN},
        "calibration": metrics["held_out"]["calibration"],
        "against_truth": truth,
    }
