"""Published scores against the world's true probabilities: the part of `fundwatch check` about credit."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from fundwatch.settings import Settings

# every borrower's newest published score
_SCORES = """
select distinct on (platform_id, borrower_ref) platform_id, subject_hash, model_id, points, pd
  from mart.score join mart.winner using (business_date, platform_id, run_id)
 order by platform_id, borrower_ref, business_date desc
"""
CHANCE_SDS = 3.0
"""A score counts as one when its AUC lies so many standard deviations above what an order without any knowledge gives."""


def check(settings: Settings, world: Path) -> dict[str, Any]:
    """``{"rows", "models", "against_truth", "bound", "ok"}`` of the newest published scores; rows 0 when nothing is scored.

    What becomes of open loans is not known yet, so the truth alone can judge. `ok` is False only when there are scores and their
    AUC against the true probabilities is no better than an order by chance could be: reversed, mixed up or empty of knowledge.
    """
    from lake.postgres import connection

    with connection(settings, "reader") as database:
        rows = database.execute(_SCORES).fetchall()
    models = sorted({row[2] for row in rows})
    result: dict[str, Any] = {"rows": len(rows), "models": models, "against_truth": None, "bound": None, "ok": True}
    path = world / "truth" / "pd.csv"
    if not rows or not path.exists():
        return result
    truth = _by_subject(path)
    known = [(float(row[4]), -int(row[3]), truth[row[0], row[1]]) for row in rows if (row[0], row[1]) in truth]
    return result | judged([one[0] for one in known], [one[1] for one in known], [one[2] for one in known])


def judged(pd: list[float], minus_points: list[int], truth: list[float]) -> dict[str, Any]:
    """Figures of probabilities and points against the truth, and whether they rank better than chance."""
    from models import metrics

    if len(set(truth)) < 2:
        return {"against_truth": None}
    bound = round(0.5 + CHANCE_SDS * metrics.auc_by_chance_sd(truth), 6)
    found = metrics.against_truth(pd, truth)
    by_points = metrics.auc(minus_points, truth) or 0.0
    ok = (found["auc"] or 0.0) > bound and by_points > bound
    return {"against_truth": found | {"auc_of_points": round(by_points, 6)}, "bound": bound, "ok": ok}


def _by_subject(path: Path) -> Mapping[tuple[str, str], float]:
    """True probability of a platform's borrower: the mean over his loans."""
    found: dict[tuple[str, str], list[float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["platform_id"], row["subject_hash"]), []).append(float(row["true_pd"]))
    return {key: fmean(values) for key, values in found.items()}
