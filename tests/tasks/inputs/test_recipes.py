"""The table of recipes: what is in it, what is refused, and the rule that it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogates.history.rates import SLOPE
from surrogates.space.rate_rule import Adapter, Stage
from tasks.inputs.catalog import load_catalog
from tasks.inputs.recipes import FAMILY, load_recipes, reference_rule, shown
from trials.io.errors import SettingsError

ROW = (
    "recipes:\n  - {model: m, parameters: 1000000, adapter: full, stage: sft, learning_rate: 1e-3,"
    " kind: release, author: somebody, source: here"
)


def test_the_bundled_table_has_many_authors_and_every_row_a_source() -> None:
    recipes = load_recipes()
    assert len(recipes) >= 150
    assert len({recipe.author for recipe in recipes}) >= 40
    for recipe in recipes:
        place, *path = recipe.source.split()
        assert place.startswith(("https://", "data/")), recipe
        assert not any(part.startswith("/") for part in path), recipe
        assert 1e4 < recipe.parameters < 1e12, recipe
        assert 1e-8 < recipe.learning_rate < 1e-2, recipe


def test_no_choice_is_there_twice() -> None:
    keys = [(r.author, r.model, r.cell, r.learning_rate, r.algorithm) for r in load_recipes()]
    assert len(keys) == len(set(keys))


def test_the_family_has_a_row_for_each_model_stage_and_adapter() -> None:
    own = [recipe for recipe in load_recipes() if recipe.author == FAMILY]
    models = load_catalog().models
    assert {(r.model, r.stage, r.adapter) for r in own} == {
        (model, stage, adapter)
        for model in models
        for stage in ("sft", "rl")
        for adapter in ("full", "lora")
    }
    assert all(recipe.parameters == models[recipe.model].parameters for recipe in own)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ROW + ", rate: 1}", "rate"),
        (ROW.replace("1e-3", "0") + "}", "learning_rate"),
        (ROW.replace("full", "half") + "}", "adapter"),
        ("recipes: []", "recipes"),
        ("recipes: [", "line"),
    ],
)
def test_a_table_with_a_mistake_is_refused_with_its_place(
    tmp_path: Path, text: str, found: str
) -> None:
    file = tmp_path / "recipes.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=found) as caught:
        load_recipes(file)
    assert str(file) in str(caught.value)


def test_a_missing_table_says_how_to_restore_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="git checkout"):
        load_recipes(tmp_path / "none.yaml")


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


def test_the_ranker_compares_rates_of_sizes_as_the_rule_does() -> None:
    slopes = list(reference_rule().slopes.values())
    assert slopes == pytest.approx([-SLOPE] * len(slopes), abs=0.05)


def test_rates_are_shown_as_people_write_them() -> None:
    assert shown(0.00029) == "2.9e-4"
    assert shown(1e-3) == "1.0e-3"
