"""What a score's reason codes mean, in words: the texts that stand in the model that gave them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from domain.ids import is_text_id
from fundwatch.settings import Settings


def reasons(settings: Settings, score: dict[str, Any] | None, language: str) -> list[tuple[str, str]]:
    """Codes of a score's reasons, strongest first, each with its text; the code itself when the model is not here any more."""
    if score is None:
        return []
    codes = [code for number in range(1, 5) if (code := score.get(f"reason_{number}"))]
    model_id = str(score["model_id"])
    texts = _texts(settings.models_dir / f"{model_id}.json", language) if is_text_id(model_id) else {}
    return [(code, texts.get(code, code)) for code in codes]


@lru_cache(maxsize=16)
def _texts(path: Path, language: str) -> dict[str, str]:
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        return {feature["reason_code"]: feature["text"][language] for feature in features}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
