"""`fundwatch check` on scores: a score that ranks passes, one that is reversed, mixed up or constant does not."""

from __future__ import annotations

import random

import pytest

from fundwatch.score_check import judged

numbers = random.Random(3)
TRUTH = [numbers.betavariate(1, 9) for _ in range(400)]
NOISY = [max(0.0, one + numbers.gauss(0, 0.05)) for one in TRUTH]


def points(pd: list[float]) -> list[int]:
    return [-round(600 - 300 * one) for one in pd]


def test_a_score_with_knowledge_passes_and_its_figures_are_told() -> None:
    found = judged(NOISY, points(NOISY), TRUTH)
    assert found["ok"] and found["against_truth"]["auc"] > found["bound"] > 0.5
    assert found["against_truth"]["oracle_auc"] > found["against_truth"]["auc"]
    assert found["against_truth"]["auc_of_points"] == pytest.approx(found["against_truth"]["auc"], abs=0.01)


@pytest.mark.parametrize(
    ("pd", "minus_points"),
    [
        ([-one for one in NOISY], points(NOISY)),
        (NOISY, [-one for one in points(NOISY)]),
        (random.Random(5).sample(NOISY, len(NOISY)), points(NOISY)),
        ([0.1] * len(TRUTH), [-600] * len(TRUTH)),
    ],
    ids=["pd reversed", "points reversed", "mixed up", "constant"],
)
def test_a_score_without_knowledge_fails(pd: list[float], minus_points: list[int]) -> None:
    assert not judged(pd, minus_points, TRUTH)["ok"]
