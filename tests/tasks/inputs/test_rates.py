"""The rule of learning rates: recovered from made recipes, robust, and near to practice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.inputs.rates import CELLS, FORMS, Form, fit_rule, reference_rule, rounded, shown
from tasks.inputs.recipes import Adapter, Recipe, Stage


def recipe(
    stage: Stage, adapter: Adapter, parameters: int, rate: float, author: str = "a"
) -> Recipe:
    return Recipe(
        model="m",
        parameters=parameters,
        adapter=adapter,
        stage=stage,
        learning_rate=rate,
        kind="release",
        author=author,
        source="here",
    )


def made(slope: float, levels: list[float], authors: int = 6, seed: int = 0) -> list[Recipe]:
    """Recipes exactly on a rule, at random sizes."""
    rng = np.random.default_rng(seed)
    return [
        recipe(*cell, int(10**size), 10 ** (level + slope * (size - 9)), f"author {number}")
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
    recipes = [
        recipe(stage, adapter, size, 1e-4 * (size / 1e9) ** (-0.5 if adapter == "full" else 0.0))
        for stage, adapter in CELLS
        for size in (10**7, 10**8, 10**10)
    ]
    slopes = fit_rule(recipes, "slope by adapter").slopes
    expected = [-0.5 * (adapter == "full") for _, adapter in CELLS]
    assert list(slopes.values()) == pytest.approx(expected, abs=1e-6)


def test_constants_know_no_size() -> None:
    rule = fit_rule(made(-0.5, [-5.0] * len(CELLS)), "constants")
    assert rule.rate("sft", "full", 10**6) == rule.rate("sft", "full", 10**10)


def test_one_rate_that_is_off_moves_little() -> None:
    recipes = made(-0.2, [-5.0] * len(CELLS), authors=10)
    off = recipe("sft", "full", 10**9, 0.5, "careless")
    rule = fit_rule([*recipes, off])
    assert rule.rate("sft", "full", 10**9) == pytest.approx(1e-5, rel=0.3)


def test_an_author_counts_once_however_many_rows_there_are() -> None:
    recipes = made(-0.2, [-5.0] * len(CELLS))
    one = recipe("rl", "lora", 10**9, 3e-5, "another")
    first, second = fit_rule([*recipes, one]), fit_rule([*recipes, *[one] * 20])
    assert first.levels == pytest.approx(second.levels)


def test_a_rule_needs_recipes_of_each_kind() -> None:
    with pytest.raises(ValueError, match="no recipes for"):
        fit_rule([recipe("sft", "full", 10**9, 1e-5)])


@given(size=st.integers(10**4, 10**12), cell=st.sampled_from(CELLS))
def test_a_range_holds_its_default_and_reaches_a_decade(
    size: int, cell: tuple[Stage, Adapter]
) -> None:
    rule = reference_rule()
    one = rule.range(cell[0], [cell[1]], size)
    assert one.lower < one.default < one.upper
    assert one.default / one.lower == pytest.approx(10, rel=0.1)
    both = rule.range(cell[0], ["full", "lora"], size)
    assert both.lower <= one.lower
    assert both.upper >= one.upper


@pytest.mark.parametrize(
    ("stage", "adapter", "parameters", "lowest", "highest"),
    [  # between the lowest and the highest of well-known choices
        ("sft", "full", 7e9, 5e-6, 4e-5),
        ("sft", "lora", 7e9, 1e-4, 5e-4),
        ("dpo", "full", 7e9, 3e-7, 2e-6),
        ("rl", "full", 7e9, 3e-7, 3e-6),
        ("rl", "lora", 7e9, 5e-6, 5e-5),
        ("sft", "lora", 135e6, 1e-4, 1e-3),
    ],
)
def test_the_bundled_rule_says_what_practitioners_choose(
    stage: Stage, adapter: Adapter, parameters: float, lowest: float, highest: float
) -> None:
    assert lowest < reference_rule().rate(stage, adapter, int(parameters)) < highest


def test_rates_are_shown_as_people_write_them() -> None:
    assert shown(0.00029) == "2.9e-4"
    assert shown(1e-3) == "1.0e-3"
    assert rounded(2.8712e-5) == 2.9e-5
