"""How orders of trials are judged, and the guides that need no training."""

from __future__ import annotations

import itertools
from typing import Any

import ConfigSpace as cs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.language_model.evidence import (
    RANDOM,
    Trials,
    judged,
    random_regret,
    recipes,
    regret,
    scored,
    summary,
    trials_of,
)
from surrogates.space.encoding import SpaceEncoder
from tasks.inputs.recipes import reference_rule


def space() -> cs.ConfigurationSpace:
    found = cs.ConfigurationSpace(seed=0)
    found.add(
        cs.Float("sft_learning_rate", (1e-6, 1e-2), log=True, default=1e-4),
        cs.Categorical("adapter", ["lora", "full"]),
    )
    return found


def trials(count: int = 8) -> Trials:
    configs = SpaceEncoder(space()).sample(count, seed=0)
    score = np.linspace(0.1, 0.8, count)
    return Trials("d", configs, score, np.full(count, 0.05), {"model_log_parameters": 8.0})


@given(st.lists(st.integers(0, 9), min_size=3, max_size=7, unique=True), st.integers(1, 3))
def test_a_random_order_regrets_the_mean_over_all_choices(scores: list[int], k: int) -> None:
    score = np.array(scores, dtype=float)
    every = [
        regret(np.array(order), score, k) for order in itertools.permutations(range(len(score)))
    ]
    assert random_regret(score, k) == pytest.approx(np.mean(every))


def test_a_perfect_guide_regrets_nothing_and_an_inverted_one_most() -> None:
    those = trials()
    found = judged(those, {"right": lambda _: those.score, "wrong": lambda _: -those.score})
    by = found.set_index("guide")
    assert by.loc["right", "spearman"] == pytest.approx(1.0)
    assert by.loc["right", "regret@1"] == 0.0
    assert by.loc["wrong", "spearman"] == pytest.approx(-1.0)
    assert by.loc["wrong", "regret@1"] > by.loc[RANDOM, "regret@1"] > 0.0
    table = summary(pd.concat([found, found.assign(dataset="e")]), ["right", "wrong"])
    assert list(table.index) == [RANDOM, "right", "wrong"]
    assert (table["datasets"] == 2).all()


def test_recipes_prefer_rates_that_people_use_with_the_adapter() -> None:
    rule, size = reference_rule(), 135_000_000
    usual = {a: rule.rate("sft", a, size) for a in ("lora", "full")}
    configs: list[dict[str, Any]] = [
        {"adapter": "lora", "sft_learning_rate": usual["lora"]},
        {"adapter": "full", "sft_learning_rate": usual["full"]},
        {"adapter": "full", "sft_learning_rate": usual["lora"]},
        {"adapter": "lora", "sft_learning_rate": 1e-2},
    ]
    first, second, third, last = recipes(rule, size)(configs)
    assert first == pytest.approx(0.0)
    assert second == pytest.approx(0.0)
    assert first > third > last


def test_a_proxy_without_the_configuration_says_nothing_of_it() -> None:
    those = trials(4)
    known = Trials("d", those.configs[:2], np.array([0.2, 0.6]), np.zeros(2), {})
    values = scored(known, SpaceEncoder(space()))(those.configs)
    assert values.tolist() == pytest.approx([0.2, 0.6, 0.4, 0.4])


def test_only_finished_trials_of_the_model_count_the_default_first() -> None:
    encoder = SpaceEncoder(space())
    configs = encoder.sample(4, seed=1)
    rows = pd.DataFrame(
        [
            {f"config.{name}": value for name, value in config.items()}
            | {"trial_id": f"r/d/{3 - i}", "score": i / 10, "score_se": 0.01}
            for i, config in enumerate(configs)
        ]
    ).assign(dataset_id="d", model_id="m", state="completed", fraction=1.0)
    rows["meta.model_log_parameters"], rows["meta.empty"] = 8.1, np.nan
    rows.loc[0, "state"] = "failed"
    found = trials_of(rows, "d", "m", encoder)
    assert found.score.tolist() == pytest.approx([0.3, 0.2, 0.1])
    assert found.meta == {"model_log_parameters": 8.1}
