"""The result as one readable page without any other file, in English and Chinese: identity, tiers, breaks, quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from recon.kinds import KINDS
from recon.spec import Spec

if TYPE_CHECKING:
    import duckdb

OUTCOMES_ZH = {"equal": "相同", "differs": "不同", "no candidate": "无候选", "speaks for it": "支持", "does not": "不支持"}
ROWS_MAX = 500
"""Rows of breaks and of the quarantine on the page; it says how many there are and where the rest is."""


@cache
def _template() -> Template:
    environment = Environment(loader=PackageLoader("recon"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("reconciliation.html")


def write(connection: duckdb.DuckDBPyConnection, spec: Spec, summary: Mapping[str, Any], out: Path) -> None:
    """Write ``index.html`` from a summary and the result tables of a connection."""
    decimals = spec.decimals()

    def money(minor: int | None) -> str:
        if minor is None:
            return ""
        whole, part = divmod(abs(minor), 10**decimals)
        return f"{'−' if minor < 0 else ''}{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")

    text = _template().render(
        money=money,
        summary=summary,
        spec=spec,
        kinds=KINDS,
        outcomes_zh=OUTCOMES_ZH,
        rows_max=ROWS_MAX,
        breaks=_rows(connection, f"from breaks order by abs(effect_minor) desc, break_id, currency limit {ROWS_MAX}"),
        explanations=_explanations(connection),
        faults=_rows(connection, f"from quarantine order by side, file, line limit {ROWS_MAX}"),
        labels={name: _label(spec, name) for name in summary["sides"]},
    )
    (out / "index.html").write_text(text, encoding="utf-8")


def _label(spec: Spec, side: str) -> dict[str, str]:
    source = getattr(spec, side)
    default = {"left": ("left", "左方"), "right": ("right", "右方"), "third": ("third", "第三方")}[side]
    return {"en": source.label.en, "zh": source.label.zh} if source.label else {"en": default[0], "zh": default[1]}


def _rows(connection: duckdb.DuckDBPyConnection, text: str) -> list[dict[str, Any]]:
    cursor = connection.execute(text)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _explanations(connection: duckdb.DuckDBPyConnection) -> dict[str, list[dict[str, Any]]]:
    """Signals of the breaks that are shown, by break."""
    shown = f"select break_id from breaks order by abs(effect_minor) desc, break_id, currency limit {ROWS_MAX}"
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(connection, f"from explanations where subject_id in ({shown}) order by subject_id, step, signal"):
        found.setdefault(row["subject_id"], []).append(row)
    return found
