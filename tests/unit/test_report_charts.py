"""Charts: one option for page and PDF, in both languages, without a function in it; the vendored library is what it says."""

from __future__ import annotations

import gzip
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from domain.errors import BadInput, WrongUse
from reports.charts import BANDS, as_json, overdue_by_bucket, score_bands
from reports.drawing import svg

VENDOR = Path(__file__).parents[2] / "reports" / "vendor"
ROWS = [
    {"bucket": "M0", "count": 400, "amount_minor": 999_999_999},
    {"bucket": "M1", "count": 1_200, "amount_minor": 345_678_901},
    {"bucket": "M6+", "count": 3, "amount_minor": 100},
]


def bars(option: dict[str, Any]) -> list[tuple[str, float, str]]:
    series = option["series"][0]["data"]
    return [(name, bar["value"], bar["label"]["formatter"]) for name, bar in zip(option["xAxis"]["data"], series, strict=True)]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_overdue_loans_are_drawn_by_bucket_without_those_that_are_not_late() -> None:
    option = overdue_by_bucket(ROWS, "en")
    assert bars(option)[0] == ("M1\n1–30 days", 3.45678901, "1,200 loans")
    assert bars(option)[1] == ("M2\n31–60 days", 0.0, "0 loans")
    assert bars(option)[-1][0] == "M6+\nover 180 days"
    assert option["yAxis"]["name"] == "Outstanding principal (million CNY)"
    chinese = overdue_by_bucket(ROWS, "zh")
    assert bars(chinese)[0] == ("M1\n1–30天", 345.678901, "1,200笔")
    assert chinese["yAxis"]["name"] == "待偿本金(万元)"


def test_score_bands_are_drawn_from_best_to_worst() -> None:
    option = score_bands([{"band": "E", "count": 1, "amount_minor": 1}, {"band": "AAA", "count": 2, "amount_minor": 2}], "zh")
    assert [name for name, _, _ in bars(option)] == list(BANDS)
    assert [label for _, _, label in bars(option)] == ["2笔", *["0笔"] * 5, "1笔"]


@pytest.mark.parametrize("draw", [overdue_by_bucket, score_bands])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_option_without_rows_is_still_a_chart(draw: Any, language: str) -> None:
    assert svg(draw([], language), 600, 260).startswith("<svg")


def test_rows_and_languages_that_do_not_exist_are_refused() -> None:
    with pytest.raises(BadInput, match="no bucket 'M9'"):
        overdue_by_bucket([{"bucket": "M9", "count": 1, "amount_minor": 1}], "en")
    with pytest.raises(BadInput, match="no band 'Z'"):
        score_bands([{"band": "Z", "count": 1, "amount_minor": 1}], "en")
    with pytest.raises(WrongUse, match="not in 'fr'"):
        overdue_by_bucket([], "fr")


@pytest.mark.parametrize("draw", [overdue_by_bucket, score_bands])
def test_every_bar_stands_out_from_white_and_has_a_pattern(draw: Any) -> None:
    option = draw([], "en")
    assert option["aria"]["decal"]["show"] and option["series"][0]["colorBy"] == "data"
    for bar in option["series"][0]["data"]:
        assert 1.05 / (luminance(bar["itemStyle"]["color"]) + 0.05) >= 3
    drawn = svg(draw([{"bucket": "M1", "band": "A", "count": 1, "amount_minor": 1}], "en"), 600, 260)
    assert len(set(re.findall(r'fill="url\(#([\w-]+)\)"', drawn))) >= 1


def test_the_drawing_is_the_same_each_time_and_has_chinese_text() -> None:
    option = overdue_by_bucket(ROWS, "zh")
    drawn = svg(option, 660, 280)
    assert drawn == svg(json.loads(as_json(option)), 660, 280)
    assert "待偿本金(万元)" in drawn and "1,200笔" in drawn and "<script" not in drawn


def test_an_option_in_a_page_cannot_end_its_element() -> None:
    text = as_json({"name": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(text) and json.loads(text) == {"name": "</script><!--&\u2028"}


def test_the_vendored_library_is_what_its_record_says() -> None:
    record = json.loads((VENDOR / "VENDOR.json").read_text(encoding="utf-8"))["echarts.min.js"]
    content = (VENDOR / "echarts.min.js").read_bytes()
    assert (sha256(content).hexdigest(), record["version"], record["license"]) == (record["sha256"], "6.1.0", "Apache-2.0")
    assert sha256((VENDOR / record["entry"]).read_bytes()).hexdigest() == record["entry_sha256"]
    assert "Apache License" in (VENDOR / record["license_file"]).read_text(encoding="utf-8")
    assert len(gzip.compress(content, 9)) <= 230_000
    assert any(record["entry"] in command for command in record["built_with"])


def test_the_vendored_library_asks_nothing_of_the_network() -> None:
    content = (VENDOR / "echarts.min.js").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[\w.]+", content)) == {"http://www.w3.org"}
    assert not re.search(r"\b(fetch\(|XMLHttpRequest|importScripts|eval\(|new Function)", content)
