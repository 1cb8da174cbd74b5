"""Marginal effects and best regions of landscapes with a known shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.insights.landscape import Landscape
from benchmarks.insights.marginals import (
    best_region,
    compact,
    marginal_effects,
    pair_effects,
    top_weights,
)
from tests.benchmarks.insights.landscapes import history_of, small_space, unit


def hill(config: dict) -> float:
    """Best at an SFT learning rate of 1e-3; LoRA worse; rank 8 the best of LoRA's."""
    lora = config["adapter"] == "lora"
    rank = 0.3 * (config["lora_rank"] == 8) if lora else 0.0
    return -(unit(config, "sft_learning_rate") ** 2) - 0.5 * lora + rank


@pytest.fixture(scope="module")
def land() -> Landscape:
    return Landscape.of(history_of(hill, noise=0.02, configurations=60), small_space())


def test_a_hill_is_seen_as_one(land):
    table = marginal_effects(land, bins=5).set_index("hyperparameter").loc["sft_learning_rate"]
    assert table["effect"].argmax() == 2
    assert table["centre"].iloc[2] == pytest.approx(1e-3, rel=0.2)
    assert table["effect"].iloc[[0, 4]].max() < -0.5
    assert (table["trials"].sum(), set(table["datasets"])) == (360, {6})
    assert table["low"].is_monotonic_increasing
    assert (table["low"] <= table["centre"]).all()
    assert (table["centre"] <= table["high"]).all()


def test_a_conditional_is_compared_where_it_is_active(land):
    table = marginal_effects(land).set_index(["hyperparameter", "bin"])
    ranks = table.loc["lora_rank"]
    assert ranks["effect"].idxmax() == "8"
    # LoRA's own handicap is no effect of its rank.
    assert (ranks["effect"] * ranks["trials"]).sum() == pytest.approx(0.0, abs=0.05 * 180)
    assert ranks["trials"].sum() == (land.values["adapter"] == "lora").sum()
    adapters = table.loc["adapter"]["effect"]
    assert adapters["full"] > 0.3
    assert adapters["full"] == pytest.approx(-adapters["lora"], abs=0.1)


def test_the_best_region_lies_at_the_top(land):
    table = best_region(land).set_index(["hyperparameter", "choice"])
    rate = table.loc[("sft_learning_rate", "")]
    assert rate["best"] == pytest.approx(0.5, abs=0.05)
    assert float(rate["low_value"]) < 1e-3 < float(rate["high_value"])
    full = table.loc[("adapter", "full")]
    assert full["best"] > 0.8
    assert full["all"] == pytest.approx(0.5, abs=0.05)
    assert full["clear"]
    assert not table.loc[("rl_temperature", ""), "clear"]
    # No LoRA is among the best, but one of its ranks is the best of LoRA's.
    assert 7.0 < float(table.loc[("lora_rank", ""), "best_value"]) < 9.0
    choices = table.loc["adapter", "best"]
    assert choices.sum() == pytest.approx(1.0)


def test_cells_of_a_pair_show_both(land):
    table = pair_effects(land, [("adapter", "sft_learning_rate")], bins=4)
    assert len(table) == 8
    assert table["trials"].sum() == len(land)
    best = table.loc[table["effect"].idxmax()]
    assert best["first_bin"] == "full"
    # A pair with an inactive partner has no rows there.
    assert pair_effects(land, [("lora_rank", "adapter")])["second_bin"].unique().tolist() == [
        "lora"
    ]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_top_weights_are_fair_to_ties_and_follow_the_order(scores, best):
    values = np.array(scores, dtype=float)
    weights = top_weights(values, best)
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() >= 0.0
    for a, b in zip(values, weights, strict=True):
        assert b == pytest.approx(weights[values == a].mean())
        assert (weights[values > a] >= b - 1e-12).all()
    assert top_weights(np.exp(3.0 * values), best) == pytest.approx(weights)


def test_numbers_are_short():
    assert [compact(v) for v in (4.47e-5, 1e-3, 0.0, 0.217, 15.52, 128.0)] == [
        "4.5e-5", "1e-3", "0", "0.22", "15.5", "128"
    ]  # fmt: skip
