"""The ranker and the past tasks' mean as one prior_mean, weighed on held-out datasets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ConfigSpace import ConfigurationSpace

from surrogates.history.outcomes import Trials
from surrogates.history.table import read_history
from surrogates.offline.blend import Blend, leave_one_dataset_out_mean, mix
from surrogates.offline.models import OfflineModels
from surrogates.offline.past_tasks import PastTasks
from surrogates.online.offline_prior import OfflinePrior
from surrogates.space.encoding import SpaceEncoder

SPACE = ConfigurationSpace(dict.fromkeys("abcd", (0.0, 1.0)))
ENCODER = SpaceEncoder(SPACE)


def smooth(datasets: int = 8, trials: int = 20) -> pd.DataFrame:
    """A bowl that moves a little: few trials say its shape to a smooth model."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(datasets):
        configs = ENCODER.sample(trials, seed=number)
        centre = 0.5 + 0.08 * rng.normal(size=4)
        score = -((ENCODER.matrix(configs) - centre) ** 2).sum(axis=1)
        frame = pd.DataFrame(configs).add_prefix("config.")
        frames.append(frame.assign(dataset_id=f"d{number}", score=score))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return smooth()


@pytest.fixture(scope="module")
def offline(table: pd.DataFrame) -> OfflineModels:
    return OfflineModels.fit(table, SPACE)


def test_where_scores_are_smooth_the_past_tasks_count(offline: OfflineModels) -> None:
    assert offline.ranker is not None
    assert offline.blend.share > 0
    assert offline.blend.skill.kendall_tau > offline.ranker.skill.kendall_tau + 0.01
    assert offline.blend.skill.datasets == 8


def test_where_they_add_nothing_the_ranker_is_left_alone(table: pd.DataFrame) -> None:
    """Scores are steps of a choice, which boosted trees know exactly."""
    steps = table.assign(score=(table["config.a"] > 0.5) * 1.0 + (table["config.b"] > 0.3) * 0.4)
    offline = OfflineModels.fit(steps, SPACE)
    assert offline.ranker is not None
    assert offline.blend == Blend(0.0, offline.ranker.skill)


def test_a_dataset_says_nothing_of_itself(table: pd.DataFrame) -> None:
    history = read_history(table, ENCODER)
    assert history is not None
    trials, past = Trials.of(history, ENCODER), PastTasks.fit(history, ENCODER)
    assert past is not None
    told = past.predict(trials.cube)
    for number, task in enumerate(past.tasks):
        rows = trials.dataset == task.name
        assert rows.any()
        others = np.delete(told[:, rows], number, axis=0).mean(axis=0)
        np.testing.assert_allclose(leave_one_dataset_out_mean(past, trials)[rows], others)


def test_mixing_forgets_the_scales_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    a, b, group = rng.normal(size=20), rng.normal(size=20), np.repeat(["x", "y"], 10)
    one = mix(0.5, a, b, group)
    np.testing.assert_allclose(one, mix(0.5, 7 * a + 3, 0.1 * b - 5, group), atol=1e-6)
    np.testing.assert_array_equal(np.argsort(mix(0.0, a, b, group)[:10]), np.argsort(a[:10]))
    np.testing.assert_array_equal(np.argsort(mix(1.0, a, b, group)[:10]), np.argsort(b[:10]))


def test_a_single_dataset_holds_out_nothing(table: pd.DataFrame) -> None:
    offline = OfflineModels.fit(table[table["dataset_id"] == "d0"], SPACE)
    assert offline.blend.share == 0.0


def test_the_prior_mean_is_standardised_over_the_space(offline: OfflineModels) -> None:
    prior = OfflinePrior(offline, ENCODER, None, seed=0)
    mean = prior.mean(ENCODER.sample(500, seed=3))
    assert abs(mean.mean()) < 0.2
    assert 0.8 < mean.std() < 1.2
    best = ENCODER.matrix(prior.favourites[:20])
    assert np.abs(best - 0.5).mean() < 0.2
    # Asked again, one by one, it gives the same.
    configs = ENCODER.sample(5, seed=4)
    alone = OfflinePrior(offline, ENCODER, None, seed=0)
    np.testing.assert_array_equal(
        prior.mean(configs), np.concatenate([alone.mean([c]) for c in configs])
    )


def test_it_is_saved_with_the_models(offline: OfflineModels, tmp_path) -> None:
    offline.save(tmp_path)
    assert OfflineModels.load(tmp_path).blend == offline.blend
