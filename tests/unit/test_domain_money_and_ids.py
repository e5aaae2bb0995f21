"""Money and identifiers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInput
from domain.ids import entity_id, is_text_id, item_id
from domain.money import Money, format_minor, largest_remainder, parse_minor, round_half_up

AMOUNTS = st.integers(-(10**15), 10**15)


def test_money_adds_only_within_a_currency() -> None:
    assert Money(1, "CNY") + Money(2, "CNY") == Money(3, "CNY")
    assert Money(1, "CNY") - Money(2, "CNY") == -Money(1, "CNY")
    with pytest.raises(BadInput, match="CNY and EUR"):
        Money(1, "CNY") + Money(1, "EUR")


@pytest.mark.parametrize("amount", [1.0, True, "1", Decimal(1)])
def test_money_is_made_of_integers_only(amount: object) -> None:
    with pytest.raises(BadInput, match="integer of minor units"):
        Money(amount, "CNY")  # type: ignore[arg-type]


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(BadInput, match="XXX"):
        Money(1, "XXX")


@given(AMOUNTS, st.sampled_from(["CNY", "EUR", "JPY"]))
def test_formatted_money_parses_back_to_the_same_amount(amount: int, currency: str) -> None:
    assert parse_minor(format_minor(amount, currency).replace(",", ""), currency) == amount


@pytest.mark.parametrize(
    ("text", "currency"), [("1.005", "CNY"), ("0.5", "JPY"), ("x", "CNY"), ("NaN", "CNY"), ("Infinity", "CNY"), ("", "CNY")]
)
def test_text_that_is_no_exact_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(BadInput):
        parse_minor(text, currency)


@pytest.mark.parametrize(("value", "rounded"), [("2.5", 3), ("-2.5", -3), ("2.49", 2), ("0.5", 1), ("-0.4", 0)])
def test_halves_round_away_from_zero(value: str, rounded: int) -> None:
    assert round_half_up(Decimal(value)) == rounded


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any))
def test_parts_by_largest_remainder_add_up_and_are_within_one_of_their_share(total: int, weights: list[int]) -> None:
    parts = largest_remainder(total, weights)
    assert sum(parts) == total
    assert all(abs(part * sum(weights) - total * weight) < sum(weights) for part, weight in zip(parts, weights, strict=True))


@pytest.mark.parametrize("weights", [[0, 0], [-1, 2], []])
def test_weights_that_cannot_share_are_refused(weights: list[int]) -> None:
    with pytest.raises(BadInput):
        largest_remainder(10, weights)


@pytest.mark.parametrize(
    ("text", "fits"), [("P01-L-000123", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("a b", False), ("a\n", False)]
)
def test_text_ids_are_short_and_plain(text: str, fits: bool) -> None:
    assert is_text_id(text) is fits


def test_entity_and_item_ids_are_stable_over_releases() -> None:
    assert entity_id("P01", "L-1") == 4_101_193_917_020_420_102
    assert item_id("R3", "P01", "CNY", "REQ-1#1", "2026-08-31") == "0cf0ac9e6dd06fd58bff9377ca9aa8f0"


@given(st.text(max_size=20), st.text(max_size=20))
def test_entity_ids_fit_eight_bytes_and_are_positive(first: str, second: str) -> None:
    assert 0 <= entity_id(first, second) < 2**63
