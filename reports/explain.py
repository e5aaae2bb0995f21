"""How a figure of a bundle came about, for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from domain.errors import BadInput
from reports.figures import FIGURES


def explain(folder: Path, code: str) -> dict[str, Any]:
    """The figures of a code, one a currency, with the dates and run of the set; BadInput when bundle or code is not there."""
    try:
        figure_set = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"{folder} is not a report bundle: it has no readable {FIGURES}") from None
    figures = [figure for figure in figure_set["figures"] if figure["code"] == code]
    if not figures:
        raise BadInput(f"{folder} has no figure {code!r}")
    head = ("pack_id", "platform_id", "period", "as_of", "known_as_of", "run_id", "parameters")
    return {**{name: figure_set[name] for name in head}, "figures": figures}


def text(explained: dict[str, Any]) -> str:
    """The explanation as lines."""
    lines = []
    for figure in explained["figures"]:
        lines += [
            f"{figure['id']}  {figure['name_zh']}  {figure['name_en']}",
            f"  value        {_value(figure)}",
            *([f"  formula      {figure['formula']}", f"  numerator    {figure['numerator']}"] if figure["formula"] else []),
            *([f"  denominator  {figure['denominator']}"] if figure["denominator"] is not None else []),
            f"  definition   {figure['definition']}, {figure['legal_ref']}, rounding {figure['rounding']}",
            *(f"  query        {name}: {query}" for name, query in sorted(figure["queries"].items())),
            *([f"  evidence     {figure['evidence_rows']} rows of the numerator in:"] if figure["evidence"] else []),
            *(
                f"               {file['path']} ({file['rows']} rows, sha256 {file['rows_sha256']})"
                for file in figure["evidence"]
            ),
        ]
    lines.append(f"as of {explained['as_of']}, known as of {explained['known_as_of']}, run {explained['run_id']}")
    return "\n".join(lines)


def _value(figure: dict[str, Any]) -> str:
    """The value with its unit, or why there is none; figures of the first format had no reason."""
    if reason := figure.get("reason"):
        return f"not available: {reason['zh']} {reason['en']}"
    currency = f", {figure['currency']}" if figure["currency"] else ""
    return f"{figure['value']} ({figure['unit']}{currency})"
