"""A day's order from balances: found where there is one, never guessed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon import sequence


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=30, unique=True), st.randoms(use_true_random=False))
def test_the_records_of_a_day_find_back_into_their_order(balances: list[int], chance: random.Random) -> None:
    steps = list(pairwise(balances))
    shuffled = chance.sample(steps, len(steps))
    found = sequence.order(shuffled)
    assert found is not None and [shuffled[number] for number in found] == steps


def test_a_balance_that_comes_back_leaves_one_way_when_the_other_would_strand_a_record() -> None:
    # 0 → 100 → 0 → 50: to take the 50 first would leave the 100 behind
    assert sequence.order([(0, 50), (0, 100), (100, 0)]) == [1, 2, 0]


def test_two_possible_ways_are_no_order() -> None:
    with pytest.raises(sequence.SeveralWays):
        sequence.order([(0, 100), (100, 0), (0, 50), (50, 0)], 0)
    with pytest.raises(sequence.SeveralWays):
        sequence.order([(0, 100), (100, 0)])


def test_the_last_closing_says_where_a_day_begins_that_ends_where_it_began() -> None:
    assert sequence.order([(0, 100), (100, 0)], 100) == [1, 0]


def test_records_that_do_not_hang_together_have_no_order() -> None:
    assert sequence.order([(0, 100), (200, 300)]) is None
    assert sequence.order([(0, 100), (500, 600), (600, 500)]) is None
