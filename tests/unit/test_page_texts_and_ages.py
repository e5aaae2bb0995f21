"""The page's words exist in both languages, its vendored files are what they claim, ages fall into one bucket."""

from __future__ import annotations

import gzip
import itertools
import json
from hashlib import sha256
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from dashboard.ages import AGE_BUCKETS, bucket_of
from dashboard.assets import address, assets
from dashboard.figures import FIGURES
from dashboard.filters import BUCKET_NAMES
from dashboard.summaries import matrix
from dashboard.texts import LANGUAGES, texts
from domain.vocabulary import MovementType, PlanType, Severity
from recon.rules import load_rules

STATIC = Path(__file__).resolve().parents[2] / "dashboard" / "static"


def keys_of(entries: dict[str, Any]) -> dict[str, Any]:
    """The keys of texts and of their tables."""
    return {key: keys_of(value) if isinstance(value, dict) else None for key, value in entries.items()}


def leaves_of(entries: dict[str, Any]) -> list[str]:
    """All texts, those of tables included."""
    return [leaf for value in entries.values() for leaf in (leaves_of(value) if isinstance(value, dict) else [value])]


def places_of(entries: dict[str, Any]) -> dict[str, Any]:
    """The names in braces of every text."""
    return {
        key: places_of(value) if isinstance(value, dict) else sorted(name for _, name, _, _ in Formatter().parse(value) if name)
        for key, value in entries.items()
    }


def test_every_text_exists_in_both_languages() -> None:
    english, chinese = (texts(language).entries for language in LANGUAGES)
    assert keys_of(english) == keys_of(chinese)
    assert all(leaves_of(english)) and all(leaves_of(chinese))


def test_every_break_code_has_a_name_and_the_next_step_of_the_rules_in_both_languages() -> None:
    breaks = {entry.code: entry for entry in load_rules().breaks}
    assert sorted(breaks) == [f"B{number:02d}" for number in range(1, 29)]
    for language in LANGUAGES:
        words = texts(language)
        assert {code for code in breaks if words.code(code) == code} == set()
        actions = {code: entry.action if language == "en" else entry.action_zh for code, entry in breaks.items()}
        assert {code: words.name("code_action", code) for code in breaks} == actions


def test_texts_of_both_languages_have_the_same_places_to_fill() -> None:
    english, chinese = (places_of(texts(language).entries) for language in LANGUAGES)
    assert english == chinese


def test_every_word_of_a_closed_list_has_a_name() -> None:
    entries = texts("en").entries
    assert entries["severities"].keys() == set(Severity)
    assert entries["plans"].keys() == set(PlanType)
    assert entries["movements"].keys() == set(MovementType)
    assert entries["buckets"].keys() == set(BUCKET_NAMES)
    assert entries["codes"].keys() == entries["code_action"].keys()
    assert set(FIGURES) <= entries["tile"].keys() == entries["tile_text"].keys()
    assert {sort for figure in FIGURES.values() for sort in figure.sorts} == entries["sort"].keys()


def test_vendored_files_have_the_recorded_hash() -> None:
    vendored = json.loads((STATIC / "VENDOR.json").read_text())
    assert {path.name for path in STATIC.glob("*.min.js")} == set(vendored)
    for name, entry in vendored.items():
        assert sha256((STATIC / name).read_bytes()).hexdigest() == entry["sha256"]


def test_a_file_is_kept_for_ever_only_under_the_address_of_its_bytes() -> None:
    for name, asset in assets().items():
        assert address(name) == f"/static/{name}?v={asset.digest}"
        assert gzip.decompress(asset.packed) == asset.plain
    assert {"style.css", "chart.js", "htmx.min.js", "vendor/echarts.min.js"} <= assets().keys()


@pytest.mark.parametrize(
    ("age", "bucket"),
    [(0, "0"), (1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-7"), (7, "4-7"), (8, "8-30"), (30, "8-30"), (31, "31-")],
)
def test_an_age_falls_into_the_bucket_of_the_spec(age: int, bucket: str) -> None:
    assert bucket_of(age) == bucket


def test_buckets_leave_no_gap_and_do_not_overlap() -> None:
    bounds = list(AGE_BUCKETS.values())
    for (_, high), (low, _) in itertools.pairwise(bounds):
        assert high is not None
        assert low == high + 1
    assert bounds[-1][1] is None


def test_totals_of_the_matrix_are_the_sums_of_its_cells() -> None:
    rows = [
        {"code": "B01", "age_working_days": 0, "items": 2, "amount_minor": 300},
        {"code": "B01", "age_working_days": 9, "items": 1, "amount_minor": 50},
        {"code": "B20", "age_working_days": 0, "items": 1, "amount_minor": 7},
    ]
    codes = matrix(rows)
    assert codes["B01"] == {"0": (2, 300), "*": (3, 350), "8-30": (1, 50)}
    assert codes["*"]["*"] == (4, 357)
    assert list(codes) == ["B01", "B20", "*"]
