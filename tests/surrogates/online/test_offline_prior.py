"""The offline models as seen from one dataset, before its first trial."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.offline.models import OfflineModels
from surrogates.online.offline_prior import OfflinePrior, TaskDeviations
from surrogates.space.encoding import SpaceEncoder


@pytest.fixture(scope="module")
def prior(offline: OfflineModels, encoder: SpaceEncoder) -> OfflinePrior:
    return OfflinePrior(offline, encoder, None, seed=0)


def test_the_prior_mean_is_standardised_over_the_space(
    prior: OfflinePrior, encoder: SpaceEncoder
) -> None:
    mean = prior.mean(encoder.sample(1024, seed=5))
    assert mean.mean() == pytest.approx(0.0, abs=0.1)
    assert mean.std() == pytest.approx(1.0, abs=0.1)


def test_inputs_hold_cube_prior_mean_and_deviations_in_that_order(
    prior: OfflinePrior, encoder: SpaceEncoder
) -> None:
    configs = encoder.sample(9, seed=3)
    x, columns = prior.inputs(configs), prior.input_columns
    assert x.shape == (9, columns.cube + 1 + columns.past)
    assert columns.past > 0
    np.testing.assert_array_equal(x[:, : columns.cube], encoder.matrix(configs))
    np.testing.assert_array_equal(x[:, columns.cube], prior.trusted_mean(configs))


def test_deviations_are_what_the_prior_mean_leaves_of_each_task(
    offline: OfflineModels, encoder: SpaceEncoder
) -> None:
    assert offline.past is not None
    cube = encoder.matrix(encoder.sample(256, seed=1))
    m = np.random.default_rng(0).normal(size=256)
    found = TaskDeviations.of(offline.past, cube, m)
    assert found is not None
    r = found(cube, m) * np.sqrt(len(found.kept))
    np.testing.assert_allclose(r.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(r.T @ m / 256, 0.0, atol=1e-9)
    assert found.variance == pytest.approx((r**2).mean())


def test_parts_can_be_left_out(offline: OfflineModels, encoder: SpaceEncoder) -> None:
    configs = encoder.sample(5, seed=3)
    bare = OfflinePrior(offline, encoder, None, 0, ablate=("ranker", "past_tasks"))
    assert bare.mean_prior is None
    assert bare.input_columns.past == 0
    assert not bare.inputs(configs)[:, bare.input_columns.cube].any()


def test_without_a_history_the_prior_mean_is_zero(encoder: SpaceEncoder) -> None:
    prior = OfflinePrior(None, encoder, None, seed=0)
    assert not prior.mean(encoder.sample(5, seed=3)).any()
    assert prior.input_columns.past == 0
