"""Agreement between models and between seeds, on histories whose noise is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.insights.agreement import (
    agreement,
    intraclass,
    model_order,
    noise,
    random_regret,
    reliability,
    repeated,
    retest,
    summarise_agreement,
    summarise_noise,
)
from benchmarks.insights.landscape import Landscape
from surrogates.core.metrics import regret_at
from tests.benchmarks.insights.landscapes import history_of, small_space, unit

SD = 1 / np.sqrt(3)  # of a coordinate that is uniform on -1 to 1


def rate(config: dict) -> float:
    return unit(config, "sft_learning_rate")


def runs_of(**options) -> pd.DataFrame:
    return Landscape.of(history_of(rate, **options), small_space()).runs


def test_without_noise_models_agree_fully_whatever_their_scale():
    runs = runs_of(models=("b", "a"), datasets=3)
    runs.loc[runs["model"] == "a", "score"] = np.exp(runs["score"])
    table = summarise_agreement(agreement(runs))
    assert table[["proxy", "target"]].to_numpy().tolist() == [["b", "a"]]
    assert table[["spearman", "kendall", "overlap5"]].to_numpy() == pytest.approx(1.0)
    assert (table[["regret1", "regret3", "regret5"]] == 0.0).all(axis=None)
    assert table["datasets"].tolist() == [3]


def test_the_correlation_is_the_one_that_was_made_and_noise_can_be_allowed_for():
    """Each model adds deviation of half the variance: true Pearson correlation 1 / 1.5 = 0.67."""
    own = {"s": SD / np.sqrt(2), "l": SD / np.sqrt(2)}
    options = {"models": ("s", "l"), "datasets": 8, "configurations": 120, "own": own}
    clean = summarise_agreement(agreement(runs_of(**options))).iloc[0]
    assert clean["spearman"] == pytest.approx(0.65, abs=0.06)
    noisy = summarise_agreement(agreement(runs_of(**options, noise=0.5))).iloc[0]
    assert noisy["spearman"] < clean["spearman"] - 0.1
    assert noisy["disattenuated"] == pytest.approx(clean["spearman"], abs=0.08)


def test_seeds_allow_for_all_noise():
    own = {"s": SD / np.sqrt(2), "l": SD / np.sqrt(2)}
    runs = runs_of(
        models=("s", "l"), datasets=8, configurations=100, own=own, noise=0.5, seeds=2
    ).assign(score_se=0.0)
    single = runs[(runs["seed"] == 0)]
    stability = 1.0 - noise(runs).groupby("model")["noise_share"].mean()
    found = summarise_agreement(agreement(single), stability.to_dict()).iloc[0]
    assert found["disattenuated"] == pytest.approx(found["spearman"])
    assert found["disattenuated_seeds"] == pytest.approx(0.65, abs=0.08)
    assert np.isnan(summarise_agreement(agreement(single), {"s": 0.5})["disattenuated_seeds"][0])
    assert np.isnan(
        summarise_agreement(agreement(single), {"s": 0.5, "l": -0.2})["disattenuated_seeds"][0]
    )


def test_correlations_do_not_depend_on_who_is_the_proxy():
    runs = runs_of(models=("s", "l"), own={"s": 0.3, "l": 0.3}, datasets=4)
    turned = runs.assign(size=-runs["size"])
    one, two = agreement(runs), agreement(turned)
    assert (one["proxy"].iloc[0], two["proxy"].iloc[0]) == ("s", "l")
    assert one["spearman"].to_numpy() == pytest.approx(two["spearman"].to_numpy())
    assert one["kendall"].to_numpy() == pytest.approx(two["kendall"].to_numpy())
    assert one["overlap5"].to_numpy() == pytest.approx(two["overlap5"].to_numpy())


def test_only_shared_configurations_count_and_few_are_not_enough():
    runs = runs_of(models=("s", "l"), datasets=2)
    few = runs[(runs["model"] == "l") | (runs["configuration"] % 6 == 0)]
    shared = few.groupby(["dataset", "configuration"])["model"].nunique().eq(2).groupby("dataset")
    expected = shared.sum()[lambda counts: counts >= 5].to_dict()
    table = agreement(few)
    assert dict(zip(table["dataset"], table["configurations"], strict=True)) == expected
    assert agreement(runs[runs["model"] == "l"]).empty
    assert summarise_agreement(agreement(runs[runs["model"] == "l"])).empty
    four = runs.groupby(["group"]).head(4)
    assert agreement(four).empty


def test_models_are_ordered_by_size_where_it_is_known():
    runs = pd.DataFrame({"model": ["a", "b", "c"], "size": [6.0, 5.0, np.nan]})
    assert model_order(runs) == ["b", "a", "c"]


def test_the_noise_of_a_seed_is_measured():
    runs = runs_of(seeds=3, noise=0.2, datasets=8, configurations=60)
    by_group, again = noise(runs), retest(runs)
    found = summarise_noise(by_group, again).iloc[0]
    share = 0.2**2 / (SD**2 + 0.2**2)
    assert found["seed_sd"] == pytest.approx(0.2, rel=0.05)
    assert found["evaluation_share"] == pytest.approx(1.0, rel=0.1)
    assert found["noise_share"] == pytest.approx(share, rel=0.15)
    assert found["icc"] == pytest.approx(1 - share, abs=0.03)
    assert found["spearman"] == pytest.approx(1 - share, abs=0.05)
    assert found["kendall"] < found["spearman"]
    assert (found["datasets"], found["trials"]) == (8, 8 * 60 * 3)
    assert reliability(runs)["reliability"].mean() == pytest.approx(1 - share, abs=0.03)


def test_without_repeats_there_is_no_noise_to_tell():
    runs = runs_of(datasets=2, noise=0.1)
    assert repeated(runs).empty
    assert noise(runs).empty
    assert retest(runs).empty
    assert summarise_noise(noise(runs), retest(runs)).empty


def test_repeats_of_some_configurations_and_of_unknown_seeds_are_used():
    runs = runs_of(seeds=2, noise=0.2, datasets=1)
    some = runs[(runs["seed"] == 0) | (runs["configuration"] < 10)]
    assert noise(some).loc[0, ["configurations", "trials"]].tolist() == [10, 20]
    unknown = some.assign(seed=np.nan)
    assert retest(unknown)["configurations"].tolist() == [10]


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=7), st.integers(1, 4))
def test_the_regret_of_chance_is_the_mean_over_all_choices(scores, k):
    values = np.array(scores, dtype=float)
    places = itertools.combinations(range(len(values)), min(k, len(values)))
    chosen = [np.isin(np.arange(len(values)), place).astype(float) for place in places]
    every = [regret_at(choice, values, min(k, len(values))) for choice in chosen]
    assert random_regret(values, k) == pytest.approx(np.mean(every))


@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-10, 10))
def test_intraclass_correlation_ignores_unit_and_level(seed, scale, shift):
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(6), 3)
    scores = rng.normal(size=6)[classes] + rng.normal(size=18)
    icc = intraclass(scores, classes)
    assert -0.5 <= icc <= 1.0
    assert intraclass(scale * scores + shift, classes) == pytest.approx(icc, abs=1e-9)


def test_intraclass_correlation_at_its_ends():
    classes = np.repeat(np.arange(5), 2)
    assert intraclass(classes.astype(float), classes) == pytest.approx(1.0)
    assert np.isnan(intraclass(np.arange(4.0), np.arange(4)))
    # The example of Shrout and Fleiss (1979): six targets, four judges, ICC(1, 1) = 0.17.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    scores, classes = np.array(ratings, float).ravel(), np.repeat(np.arange(6), 4)
    assert intraclass(scores, classes) == pytest.approx(0.17, abs=0.005)
