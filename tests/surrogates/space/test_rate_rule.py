"""The rule of learning rates: recovered from made choices, and robust."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.space.rate_rule import (
    CELLS,
    FORMS,
    Adapter,
    Cell,
    Form,
    Stage,
    fit_rule,
    rounded,
)


@dataclass(frozen=True)
class Choice:
    """A rate, as the fit takes it."""

    cell: Cell
    log_size: float
    learning_rate: float
    author: str


def choice(
    stage: Stage, adapter: Adapter, parameters: int, rate: float, author: str = "a"
) -> Choice:
    return Choice((stage, adapter), math.log10(parameters / 1e9), rate, author)


def made(slope: float, levels: list[float], authors: int = 6, seed: int = 0) -> list[Choice]:
    """Choices exactly on a rule, at random sizes."""
    rng = np.random.default_rng(seed)
    return [
        choice(*cell, int(10**size), 10 ** (level + slope * (size - 9)), f"author {number}")
        for cell, level in zip(CELLS, levels, strict=True)
        for number, size in enumerate(rng.uniform(6, 11, authors))
    ]


@given(
    slope=st.floats(-0.6, 0.2),
    levels=st.lists(st.floats(-6, -4), min_size=len(CELLS), max_size=len(CELLS)),
    form=st.sampled_from(FORMS[1:]),
)
def test_a_rule_is_recovered_by_every_form_that_contains_it(
    slope: float, levels: list[float], form: Form
) -> None:
    rule = fit_rule(made(slope, levels), form)
    assert [rule.levels[cell] for cell in CELLS] == pytest.approx(levels, abs=1e-6)
    assert list(rule.slopes.values()) == pytest.approx([slope] * len(CELLS), abs=1e-6)


def test_a_slope_of_each_adapter_is_of_the_adapter() -> None:
    choices = [
        choice(stage, adapter, size, 1e-4 * (size / 1e9) ** (-0.5 if adapter == "full" else 0.0))
        for stage, adapter in CELLS
        for size in (10**7, 10**8, 10**10)
    ]
    slopes = fit_rule(choices, "slope by adapter").slopes
    expected = [-0.5 * (adapter == "full") for _, adapter in CELLS]
    assert list(slopes.values()) == pytest.approx(expected, abs=1e-6)


def test_constants_know_no_size() -> None:
    rule = fit_rule(made(-0.5, [-5.0] * len(CELLS)), "constants")
    assert rule.rate("sft", "full", 10**6) == rule.rate("sft", "full", 10**10)


def test_one_rate_that_is_off_moves_little() -> None:
    choices = made(-0.2, [-5.0] * len(CELLS), authors=10)
    off = choice("sft", "full", 10**9, 0.5, "careless")
    rule = fit_rule([*choices, off])
    assert rule.rate("sft", "full", 10**9) == pytest.approx(1e-5, rel=0.3)


def test_an_author_counts_once_however_many_rows_there_are() -> None:
    choices = made(-0.2, [-5.0] * len(CELLS))
    one = choice("rl", "lora", 10**9, 3e-5, "another")
    first, second = fit_rule([*choices, one]), fit_rule([*choices, *[one] * 20])
    assert first.levels == pytest.approx(second.levels)


def test_a_rule_needs_rates_of_each_kind() -> None:
    with pytest.raises(ValueError, match="no rates for"):
        fit_rule([choice("sft", "full", 10**9, 1e-5)])


@given(size=st.integers(10**4, 10**12), cell=st.sampled_from(CELLS))
def test_a_range_holds_its_default_and_reaches_a_decade(
    size: int, cell: tuple[Stage, Adapter]
) -> None:
    rule = fit_rule(made(-0.2, [-4.7, -3.7, -6.1, -5.0, -5.8, -4.7]))
    one = rule.range(cell[0], [cell[1]], size)
    assert one.lower < one.default < one.upper
    assert one.default / one.lower == pytest.approx(10, rel=0.1)
    both = rule.range(cell[0], ["full", "lora"], size)
    assert both.lower <= one.lower
    assert both.upper >= one.upper


def test_bounds_have_the_digits_that_people_read() -> None:
    assert rounded(2.8712e-5) == 2.9e-5
