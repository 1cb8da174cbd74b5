"""What the offline models say of a dataset before its first trial."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.offline.models import OfflineModels
from surrogates.online.offline_prior import Deviations, OfflineOpinion
from surrogates.space.encoding import SpaceEncoder


def test_the_opinion_is_standardised_over_the_space(
    offline: OfflineModels, encoder: SpaceEncoder
) -> None:
    opinion = OfflineOpinion(offline, encoder, None, seed=0)
    score = opinion.score(encoder.sample(1024, seed=5))
    assert score.mean() == pytest.approx(0.0, abs=0.1)
    assert score.std() == pytest.approx(1.0, abs=0.1)


def test_inputs_hold_cube_opinion_and_deviations_in_that_order(
    offline: OfflineModels, encoder: SpaceEncoder
) -> None:
    opinion = OfflineOpinion(offline, encoder, None, seed=0)
    configs = encoder.sample(9, seed=3)
    x, split = opinion.inputs(configs), opinion.split
    assert x.shape == (9, split.cube + 1 + split.past)
    assert split.past > 0
    np.testing.assert_array_equal(x[:, : split.cube], encoder.matrix(configs))
    np.testing.assert_array_equal(x[:, split.cube], opinion.trusted_score(configs))


def test_deviations_are_what_the_opinion_leaves_of_each_task(
    offline: OfflineModels, encoder: SpaceEncoder
) -> None:
    assert offline.past is not None
    cube = encoder.matrix(encoder.sample(256, seed=1))
    m = np.random.default_rng(0).normal(size=256)
    found = Deviations.of(offline.past, cube, m)
    assert found is not None
    r = found(cube, m) * np.sqrt(found.count)
    np.testing.assert_allclose(r.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(r.T @ m / 256, 0.0, atol=1e-9)
    told = offline.past.predict(cube)[found.kept].T
    against = np.column_stack([np.ones(256), m])
    np.testing.assert_allclose(r, told - against @ found.line.T, atol=1e-9)
    assert found.variance == pytest.approx((r**2).mean())


def test_parts_can_be_left_out(offline: OfflineModels, encoder: SpaceEncoder) -> None:
    configs = encoder.sample(5, seed=3)
    bare = OfflineOpinion(offline, encoder, None, 0, without=("ranker", "past_tasks"))
    assert bare.prior is None
    assert bare.split.past == 0
    assert not bare.inputs(configs)[:, bare.split.cube].any()


def test_without_a_history_there_is_no_opinion(encoder: SpaceEncoder) -> None:
    opinion = OfflineOpinion(None, encoder, None, seed=0)
    assert not opinion.known
    assert not opinion.score(encoder.sample(5, seed=3)).any()
    assert opinion.split.past == 0
