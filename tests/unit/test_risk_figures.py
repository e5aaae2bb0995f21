"""Numbers and addresses of the risk pages: how they look, what is refused, what no spreadsheet may run."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts import charts
from dashboard.csv_text import safe
from dashboard.figure_rows import _after, _cursor
from dashboard.figures import DENOMINATORS, FIGURES, INDICATORS, definitions, figure_id
from dashboard.filters import Filters, asked
from dashboard.formats import percent, shown, signed
from dashboard.tiles import Tile, share
from domain.errors import BadInput, WrongUse
from fundwatch.settings import load


def test_numbers_look_as_people_write_them() -> None:
    assert shown(-123456, "MINOR", "CNY") == "-1,234.56"
    assert shown(123, "MINOR", "JPY") == "123"
    assert percent(Decimal("0.00005")) == "0.01"
    assert signed(Decimal("-0.0065"), "RATIO", "CNY") == "\u22120.65"
    assert shown(None, "COUNT", "CNY") == signed(None, "MINOR", "CNY") == "\u2013"


@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_a_share_is_rounded_half_up_to_six_digits_as_the_night_does(numerator: int, denominator: int) -> None:
    value = share(numerator, denominator)
    assert value is not None
    assert value == Decimal((numerator * 2_000_000 + denominator) // (2 * denominator)).scaleb(-6)


@pytest.mark.parametrize(
    ("value", "limit", "state"),
    [
        (None, Decimal(1), "missing"),
        (Decimal("0.05"), None, "none"),
        (Decimal("0.051"), Decimal("0.05"), "over"),
        (Decimal("0.05"), Decimal("0.05"), "near"),
        (Decimal("0.04"), Decimal("0.05"), "within"),
        (0, Decimal(0), "within"),
        (1, Decimal(0), "over"),
    ],
)
def test_a_tile_is_judged_by_its_limit(value: Any, limit: Any, state: str) -> None:
    assert Tile("par30", "RATIO", value, limit=limit).state == state


@given(
    st.integers(-(2**62), 2**62), st.text("P01-:#", min_size=1, max_size=8), st.text(max_size=20).filter(lambda t: "\0" not in t)
)
def test_a_cursor_leads_back_to_where_the_page_ended(value: int, platform: str, key: str) -> None:
    row = {"sort_value": value, "platform_id": platform, "key": key}
    assert _after(_cursor(row)) == {"after_value": value, "after_platform": platform, "after_key": key}


@pytest.mark.parametrize(
    "data", [[], {}, [1, 2, 3], ["1", "P01", "x"], [True, "P01", "x"], [2**63, "P01", "x"], [1, "P01", "\0"], "x"]
)
def test_a_cursor_that_is_not_ours_is_refused(data: Any) -> None:
    with pytest.raises(BadInput):
        _after(urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("="))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert safe(text) == f"'{text}"


def test_numbers_and_dates_of_a_file_stay_what_they_are() -> None:
    assert safe(Decimal("-1.50")) == Decimal("-1.50")
    assert safe(date(2026, 8, 31)) == "2026-08-31"
    assert safe("P01-L-000001") == "P01-L-000001"


@pytest.mark.parametrize("unknown", [{"bucket": "M9"}, {"band": "F"}, {"age": "17"}])
def test_a_filter_that_does_not_exist_is_refused(unknown: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as refused:
        asked(**unknown)
    assert refused.value.status_code == 422


def test_an_address_carries_every_filter_and_drops_what_is_empty() -> None:
    filters = Filters("zh", "P01", "CNY", bucket="M1", sort="loan", after="x")
    assert filters.url("/rows/par30", after="") == "/rows/par30?lang=zh&platform=P01&currency=CNY&bucket=M1&sort=loan"
    assert filters.scoped() == Filters("zh", "P01", "CNY")


def test_figures_are_known_by_the_identity_they_have_in_reports() -> None:
    assert [figure_id(code, "CNY") for code in INDICATORS["outstanding"]] == ["CN_2017.BAL_AMT"]
    assert all(definitions(figure) for figure in INDICATORS)
    assert set(DENOMINATORS) | set(DENOMINATORS.values()) <= set(FIGURES)


def test_a_chart_says_in_words_what_it_draws() -> None:
    rows = [{"bucket": "M1", "count": 3, "amount_minor": 12_345_678}]
    drawn = charts(rows, [], "en", "CNY")
    assert drawn["bands"] is None
    assert drawn["buckets"] is not None
    assert "3 loans" in drawn["buckets"].sentence
    assert json.loads(drawn["buckets"].option)["aria"]["decal"] == {"show": True}


def test_a_limit_that_is_no_number_is_refused_when_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNDWATCH_LIMIT_PAR30", "0.05")
    assert load().limits == {"par30": Decimal("0.05")}
    for wrong in ("five", "-1", "NaN"):
        monkeypatch.setenv("FUNDWATCH_LIMIT_PAR30", wrong)
        with pytest.raises(WrongUse, match="limit_par30"):
            load()
