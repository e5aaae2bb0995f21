"""The page's words exist in both languages, its vendored files are what they claim, ages fall into one bucket."""

from __future__ import annotations

import itertools
import json
from hashlib import sha256
from pathlib import Path

import pytest

from dashboard.ages import AGE_BUCKETS, bucket_of
from dashboard.app import matrix
from dashboard.texts import LANGUAGES, texts

STATIC = Path(__file__).resolve().parents[2] / "dashboard" / "static"


def test_every_text_exists_in_both_languages() -> None:
    english, chinese = (texts(language).entries for language in LANGUAGES)
    assert english.keys() == chinese.keys()
    assert english["codes"].keys() == chinese["codes"].keys()
    assert all(english.values()) and all(chinese.values())


def test_vendored_files_have_the_recorded_hash() -> None:
    vendored = json.loads((STATIC / "VENDOR.json").read_text())
    assert {path.name for path in STATIC.glob("*.js")} == set(vendored)
    for name, entry in vendored.items():
        assert sha256((STATIC / name).read_bytes()).hexdigest() == entry["sha256"]


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


def test_totals_of_the_matrix_are_the_sums_of_its_cells_and_currencies_stay_apart() -> None:
    rows = [
        {"code": "B01", "currency": "CNY", "age_working_days": 0, "items": 2, "amount_minor": 300},
        {"code": "B01", "currency": "CNY", "age_working_days": 9, "items": 1, "amount_minor": 50},
        {"code": "B20", "currency": "CNY", "age_working_days": 0, "items": 1, "amount_minor": 7},
        {"code": "B20", "currency": "EUR", "age_working_days": 0, "items": 1, "amount_minor": 1},
    ]
    tables = matrix(rows)
    assert tables["CNY"]["B01"] == {"0": (2, 300), "*": (3, 350), "8-30": (1, 50)}
    assert tables["CNY"]["*"]["*"] == (4, 357)
    assert tables["EUR"]["*"] == {"0": (1, 1), "*": (1, 1)}
    assert list(tables["CNY"]) == ["B01", "B20", "*"]
