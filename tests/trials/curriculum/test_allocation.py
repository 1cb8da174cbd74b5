from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.curriculum.allocation import knapsack, most_varied


def value(p: float, n: int) -> float:
    return (1.0 - p**n - (1.0 - p) ** n) * p * (1.0 - p) ** 2 if n else 0.0


@given(rates=st.lists(st.floats(0.02, 0.98), min_size=1, max_size=4), slots=st.integers(1, 6))
def test_slots_go_where_they_are_worth_most(rates: list[float], slots: int) -> None:
    """No other way to give them out is better."""
    given_out = knapsack(rates, slots, 4)
    assert sum(given_out) == slots
    found = sum(value(p, 4 * n) for p, n in zip(rates, given_out, strict=True))
    every = (way for way in product(range(slots + 1), repeat=len(rates)) if sum(way) == slots)
    best = max(sum(value(p, 4 * n) for p, n in zip(rates, way, strict=True)) for way in every)
    assert found == pytest.approx(best, abs=1e-9)


def test_a_prompt_that_is_always_right_or_never_gets_nothing() -> None:
    assert knapsack([0.0, 0.3, 1.0], 3, 8)[1] == 3


@given(
    rewards=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=8),
    data=st.data(),
)
def test_no_other_choice_varies_more(rewards: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(rewards)))
    chosen = most_varied(rewards, kept)
    assert len(set(chosen)) == kept
    assert chosen == sorted(chosen)
    best = max(float(np.var(way)) for way in combinations(rewards, kept))
    assert float(np.var([rewards[i] for i in chosen])) == pytest.approx(best)


def test_of_right_and_wrong_ones_half_each_are_kept() -> None:
    rewards = [1, 0, 0, 0, 0, 1, 1, 0]
    assert sum(rewards[i] for i in most_varied(rewards, 4)) == 2
