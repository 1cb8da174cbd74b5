"""Functional ANOVA on landscapes whose decomposition is known."""

from __future__ import annotations

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.insights.anova import Basis, decompose
from benchmarks.insights.importance import importance, interactions, own_effect, own_effects, stages
from benchmarks.insights.landscape import Landscape
from surrogates.space.encoding import SpaceEncoder
from tests.benchmarks.insights.landscapes import history_of, small_space, unit

SPACE = small_space()


def one_effect(config: dict) -> float:
    return unit(config, "sft_learning_rate")


def a_pair(config: dict) -> float:
    """Two main effects and the product of the two: variances 1/3, 1/12 and 1/9 (sum 19/36)."""
    x, y = unit(config, "sft_learning_rate"), unit(config, "rl_learning_rate")
    return x + y / 2 + x * y


def found(score, **options):
    land = Landscape.of(history_of(score, **options), SPACE)
    return land, decompose(land, shuffles=50, trees=30)


@pytest.fixture(scope="module")
def pair():
    return found(a_pair, datasets=6, configurations=60, noise=0.05)


def test_the_basis_is_orthonormal_over_the_space():
    space = small_space()
    configs = SpaceEncoder(space).sample(4096, seed=1)
    rows = [{f"config.{k}": v for k, v in c.items()} for c in configs]
    table = pd.DataFrame(rows).assign(dataset_id="d", score=np.arange(len(rows), dtype=float))
    basis = Basis.of(Landscape.of(table, SPACE))
    gram = basis.matrix.T @ basis.matrix / len(basis.matrix)
    assert gram == pytest.approx(np.eye(len(gram)), abs=0.12)
    assert np.abs(gram - np.eye(len(gram))).mean() < 0.01


def test_a_single_effect_explains_all_and_the_rest_nothing():
    land, parts = found(one_effect, noise=0.02)
    table = importance(land, parts).set_index("hyperparameter")
    assert table.index[0] == "sft_learning_rate"
    assert table["main"].iloc[0] == pytest.approx(1.0, abs=0.06)
    assert table["main"].iloc[0] > table["null95"].iloc[0]
    assert table["p"].iloc[0] == pytest.approx(1 / 51)
    assert (table["main"].iloc[1:] < table["null95"].iloc[1:]).all()
    assert table["own"].iloc[0] > 0.85
    assert (table["own"].iloc[1:] < 0.1).all()
    assert parts.models["r2"].iloc[0] > 0.97


def test_a_pair_and_its_shares_are_found(pair):
    land, parts = pair
    table = importance(land, parts).set_index("hyperparameter")
    whole = 19 / 36 + 0.05**2
    assert table.loc["sft_learning_rate", "main"] == pytest.approx(1 / 3 / whole, abs=0.06)
    assert table.loc["rl_learning_rate", "main"] == pytest.approx(1 / 12 / whole, abs=0.06)
    pairs = interactions(land, parts)
    assert set(pairs.loc[0, ["first", "second"]]) == {"sft_learning_rate", "rl_learning_rate"}
    assert pairs.loc[0, "share"] == pytest.approx(1 / 9 / whole, abs=0.06)
    assert pairs.loc[0, "share"] > pairs.loc[0, "null95_largest"] > pairs.loc[1, "share"]
    by_stage = stages(land, parts).set_index("stage")["share"]
    assert by_stage["sft x rl"] == pytest.approx(1 / 9 / whole, abs=0.06)
    models = parts.models.set_index("model")["r2"]
    assert models["main effects and pairs"] > models["main effects"] + 0.1


def test_sobol_shares_are_shares(pair):
    land, parts = pair
    table, pairs = importance(land, parts), interactions(land, parts)
    shares = [*table["sobol"], *pairs["sobol"]]
    assert min(shares) >= 0.0
    assert sum(shares) == pytest.approx(1.0)
    assert (table["sobol_total"] <= 1.0).all()
    assert (table["sobol_total"] >= table["sobol"]).all()
    assert stages(land, parts)["sobol"].sum() == pytest.approx(1.0)


def test_a_child_makes_no_pair_with_the_choice_that_activates_it(pair):
    land, parts = pair
    pairs = interactions(land, parts)
    assert ["adapter", "lora_rank"] not in np.sort(pairs[["first", "second"]], axis=1).tolist()
    assert len(pairs) == 14


def test_pure_noise_predicts_nothing_and_is_not_important():
    rng = np.random.default_rng(0)
    land, parts = found(lambda config: rng.normal())
    assert parts.models["r2"].iloc[0] < 0.05
    table = importance(land, parts)
    assert (table["p"] < 0.05).sum() <= 2
    assert abs(own_effects(land)[land.names].to_numpy()).mean() < 0.1


def test_importance_ignores_unit_and_level_of_scores_and_repeats_itself():
    table = history_of(a_pair, datasets=3, noise=0.1)
    scales = table["dataset_id"].map({"d0": 1.0, "d1": 1000.0, "d2": 0.01})
    results = [
        importance(land, decompose(land, shuffles=20, trees=10))
        for land in (
            Landscape.of(table, SPACE),
            Landscape.of(table, SPACE),
            Landscape.of(table.assign(score=table["score"] * scales - 5.0), SPACE),
        )
    ]
    assert results[0].equals(results[1])
    numbers = [r.select_dtypes("number").to_numpy() for r in results]
    assert numbers[2] == pytest.approx(numbers[0], abs=1e-6, nan_ok=True)


def test_with_one_dataset_nothing_is_held_out():
    land, parts = found(one_effect, datasets=1)
    held_out = parts.models.set_index("model")["r2"]
    assert held_out.drop("main effects, each group on its own").isna().all()
    assert held_out["main effects, each group on its own"] > 0.5
    assert importance(land, parts)["hyperparameter"].iloc[0] == "sft_learning_rate"


def test_a_history_of_one_hyperparameter_has_no_pairs():
    space = cs.ConfigurationSpace({"sft_learning_rate": (1e-4, 1e-2)})
    table = history_of(one_effect, datasets=2)
    land = Landscape.of(table, space)
    parts = decompose(land, shuffles=20, trees=10)
    assert interactions(land, parts).empty
    assert importance(land, parts)["sobol"].tolist() == [pytest.approx(1.0)]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 6), min_size=8, max_size=40),
    seed=st.integers(0, 1000),
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
)
def test_own_effect_is_at_most_one_and_ignores_unit_and_level(values, seed, scale, shift):
    u = np.array(values, dtype=float)
    z = np.random.default_rng(seed).normal(size=len(u))
    effect = own_effect(u, z)
    assert np.isnan(effect) or effect <= 1.0
    assert own_effect(u, scale * z + shift) == pytest.approx(effect, abs=1e-6, nan_ok=True)


def test_own_effect_is_zero_on_average_without_an_effect_and_one_where_cells_decide():
    rng = np.random.default_rng(3)
    u = np.repeat([0.0, 1.0, 2.0], 20)
    assert np.mean([own_effect(u, rng.normal(size=60)) for _ in range(300)]) == pytest.approx(
        0.0, abs=0.01
    )
    assert own_effect(u, u**2) == pytest.approx(1.0)
    assert np.isnan(own_effect(np.ones(10), rng.normal(size=10)))
