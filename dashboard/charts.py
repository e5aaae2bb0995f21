"""Charts of the overview: the options of `reports.charts`, drawn in the browser, each beside a table with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reports import charts as options


@dataclass(frozen=True)
class Chart:
    """One chart: its option as JSON and the sentence that says the same to those who do not see it."""

    option: str
    sentence: str


def charts(
    buckets: Iterable[Mapping[str, Any]], bands: Iterable[Mapping[str, Any]], language: str, currency: str
) -> dict[str, Chart | None]:
    """The charts `buckets` and `bands`; None where there are no rows."""
    late, scored = list(buckets), list(bands)
    return {
        "buckets": _chart(options.overdue_by_bucket(late, language, currency)) if late else None,
        "bands": _chart(options.score_bands(scored, language, currency)) if scored else None,
    }


def _chart(option: dict[str, Any]) -> Chart:
    sentence = option["aria"]["label"]["description"]
    # the figure element speaks; a second voice inside the drawing would repeat it
    quiet = option | {"aria": option["aria"] | {"label": {"enabled": False}}}
    return Chart(json.dumps(quiet, ensure_ascii=False, separators=(",", ":")), sentence)
