"""Training, keeping and proving credit models: what the commands `fundwatch model …` do."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from domain.errors import BadInput
from fundwatch.settings import Settings
from models.artefact import Artefact

UNATTENDED = "scheduler"
"""Maker of a model that was trained without a person; any checker may decide on it."""


def train(settings: Settings, to: date, truth: Path | None, maker: str) -> dict[str, Any]:
    """Train a model on what is published up to a date, keep its file, register it as a draft.

    The same data and code give the same file and id: then nothing new is registered (`skipped`).
    """
    from fundwatch.night import spark_session
    from lake.credit_models import register
    from models.training import Origin
    from models.training import train as fit
    from spark_jobs.training_frame import SAMPLE_CAP, candidates, training_frame

    true_pd = read_truth(truth) if truth else {}
    with spark_session(settings, f"train credit model to {to}") as spark:
        frame = training_frame(settings, spark, to, true_pd)
    artefact = fit(frame.sample, candidates(), Origin(to, frame.outcomes, SAMPLE_CAP))
    path = write(settings, artefact)
    metrics = artefact.content["metrics"]
    is_new = register(settings, artefact.model_id, artefact.sha256, to, metrics, maker)
    told = {"model_id": artefact.model_id, "file": str(path), "sha256": artefact.sha256, "maker": maker, "skipped": not is_new}
    return told | {"outcomes": dict(frame.outcomes), "metrics": metrics, "features": [one.code for one in artefact.features]}


def read_truth(path: Path) -> Mapping[str, float]:
    """True probabilities by ``PLATFORM|LOAN`` of a simulated world's `truth/pd.csv`; BadInput when it is no such file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = {f"{row['platform_id']}|{row['loan_no']}": float(row["true_pd"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(f"{path} is not a file of true probabilities: {error}") from None
    if not found or not all(0 <= value <= 1 for value in found.values()):
        raise BadInput(f"{path} has no rows, or a probability outside 0 to 1")
    return found


def write(settings: Settings, artefact: Artefact) -> Path:
    """Keep an artefact as ``models/MODEL_ID.json`` in one step: a reader sees all of it or nothing."""
    path = settings.models_dir / f"{artefact.model_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as output:
        output.write(artefact.text)
        output.flush()
        os.fsync(output.fileno())
    partial.replace(path)
    return path


def load_registered(settings: Settings, model_id: str) -> tuple[Artefact, Any]:
    """A registered model's artefact and its state; BadInput when there is none, or its file is missing or was edited."""
    from lake.credit_models import get
    from models.artefact import load

    state = get(settings, model_id)
    return load(settings.models_dir / f"{model_id}.json", state.sha256), state


def faults(settings: Settings) -> dict[str, str]:
    """What is wrong, by model or file: registered files that are missing or edited, and files that no registry knows."""
    from lake.credit_models import listed

    found: dict[str, str] = {}
    known = {state.model_id for state in listed(settings)}
    for model_id in sorted(known):
        try:
            load_registered(settings, model_id)
        except BadInput as error:
            found[model_id] = str(error)
    for path in sorted(settings.models_dir.glob("*.json")):
        if path.stem not in known:
            found[path.name] = "is not registered: no person answers for it"
    return found
