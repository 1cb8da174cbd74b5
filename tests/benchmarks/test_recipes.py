"""The errors of the rule on recipes left out, and the family's own rows."""

from __future__ import annotations

import pytest

from benchmarks.recipes import author, errors, leave_out, measured_optima, size
from surrogates.space.rate_rule import CHOSEN, FORMS, REACH
from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.rows import history_files, read_history
from tasks.inputs.auto_space import TOO_HIGH
from tasks.inputs.recipes import FAMILY, load_recipes


def test_the_rule_is_the_simplest_that_is_not_worse_on_authors_left_out() -> None:
    recipes = load_recipes()
    found = {form: errors(leave_out(recipes, author, form), author) for form in FORMS}
    means = {form: table.mean() for form, table in found.items()}
    assert means[CHOSEN] == min(means.values())
    sizes = {
        form: errors(leave_out(recipes, size, form), size).mean() for form in (CHOSEN, "constants")
    }
    assert sizes[CHOSEN] < sizes["constants"]


def test_the_reach_and_the_limit_are_those_of_the_scatter() -> None:
    left_out = leave_out(load_recipes(), author)
    factors = [10**each.residual for each in left_out]
    within = sum(1 / REACH < factor < REACH for factor in factors) / len(factors)
    assert within > 0.9
    assert sum(factor > TOO_HIGH for factor in factors) / len(factors) < 0.02


def test_the_familys_rows_are_those_of_the_history() -> None:
    measured = measured_optima(read_history(history_files(BUNDLED_HISTORY)))
    own = {
        (row.model, row.adapter, row.stage): row.learning_rate
        for row in load_recipes()
        if row.author == FAMILY
    }
    assert len(measured) == len(own)
    for row in measured.itertuples():
        assert own[row.model, row.adapter, row.stage] == pytest.approx(row.learning_rate)
