"""Reading landscapes: what is averaged, what is left out, what is recorded twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.insights.landscape import Landscape, stage_of
from surrogates.core.base import HistoryError
from tests.benchmarks.insights.landscapes import history_of, small_space, unit

SPACE = small_space()


def rate(config: dict) -> float:
    return unit(config, "sft_learning_rate")


def test_repeats_are_averaged_and_scores_standardised_within_their_group():
    table = history_of(rate, seeds=3, noise=0.1, models=("small", "large"), datasets=2)
    land = Landscape.of(table, SPACE)
    assert (len(land), len(land.runs), len(land.groups)) == (160, 480, 4)
    for rows in land.groups.values():
        assert land.z[rows].mean() == pytest.approx(0.0, abs=1e-6)
        assert land.z[rows].std() == pytest.approx(1.0, abs=1e-6)
    first = table[(table["dataset_id"] == "d0") & (table["model_id"] == "large")]
    means = first.groupby("config.sft_learning_rate")["score"].mean()
    rows = land.groups["d0 | large"]
    found = pd.Series(land.score[rows], index=land.values["sft_learning_rate"].iloc[rows])
    assert found.sort_index().to_numpy() == pytest.approx(means.sort_index().to_numpy())


def test_failed_partial_and_thin_parts_are_left_out():
    table = history_of(rate, datasets=3, configurations=8).assign(fraction=1.0, state="completed")
    table.loc[0, "state"] = "failed"
    table.loc[1, "fraction"] = 0.5
    flat = table["dataset_id"] == "d1"
    table.loc[flat, "score"] = 1.0
    thin = (table["dataset_id"] == "d2") & (np.arange(len(table)) % 2 == 0)
    land = Landscape.of(table[~thin], SPACE)
    assert land.runs.groupby("dataset").size().to_dict() == {"d0": 6}
    with pytest.raises(HistoryError, match="autopipe collect"):
        Landscape.of(table[flat], SPACE)


def test_a_trial_recorded_twice_counts_once_and_unknown_seeds_are_repeats():
    table = history_of(rate, datasets=1)
    again = table.assign(score=table["score"] + 1.0)
    both = pd.concat([table, again], ignore_index=True)
    land = Landscape.of(both, SPACE)
    assert len(land.runs) == len(table)
    assert land.score.min() == pytest.approx(again["score"].min())
    assert len(Landscape.of(both.drop(columns="seed"), SPACE).runs) == 2 * len(table)


def test_only_varied_hyperparameters_are_axes_and_inactive_ones_are_nan():
    table = history_of(rate, datasets=1).assign(**{"config.rl_num_generations": 8})
    land = Landscape.of(table, SPACE)
    assert "rl_num_generations" not in land.names
    inactive = np.isnan(land.unit[:, land.names.index("lora_rank")])
    assert inactive.tolist() == (land.values["adapter"] == "full").tolist()


def test_ranks_ignore_how_far_apart_scores_are():
    table = history_of(rate, noise=0.1, datasets=2)
    bent = table.assign(score=np.exp(3.0 * (table["score"] - table["score"].min())))
    one, two = (Landscape.of(t, SPACE, ranks=True) for t in (table, bent))
    assert two.z == pytest.approx(one.z)
    assert Landscape.of(bent, SPACE).z.max() > 1.3 * two.z.max()
    assert (one.z.mean(), one.z.std()) == pytest.approx((0.0, 1.0), abs=1e-6)


def test_stages_come_from_prefixes():
    names = ("sft_share", "rl_beta", "dpo_beta", "lora_rank", "rank")
    assert [stage_of(name) for name in names] == ["sft", "rl", "dpo", "shared", "shared"]
