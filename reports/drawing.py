"""Drawing an ECharts option without a browser: the vendored ECharts in a JavaScript engine of its own gives SVG."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from reports.charts import Option, as_json


@cache
def _library() -> str:
    return (files("reports") / "vendor" / "echarts.min.js").read_text(encoding="utf-8")


def svg(option: Option, width: int, height: int) -> str:
    """The chart as SVG text of `width` by `height` pixels; the same option gives the same text."""
    from py_mini_racer import MiniRacer

    engine = MiniRacer()  # one a drawing: ids inside the SVG count from the engine's start
    try:
        engine.eval(_library())
        engine.eval(f"const chart = echarts.init(null, null, {{renderer: 'svg', ssr: true, width: {width}, height: {height}}})")
        engine.eval(f"chart.setOption({as_json(option)})")
        return str(engine.eval("chart.renderToSVGString()"))
    finally:
        engine.close()  # an engine left open keeps the interpreter from ending
