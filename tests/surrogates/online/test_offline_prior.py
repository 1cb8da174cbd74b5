"""The offline models as seen from one dataset, before its first trial."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.offline.models import OfflineModels
from surrogates.online.offline_prior import OfflinePrior
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


def test_inputs_hold_cube_and_prior_mean_in_that_order(
    prior: OfflinePrior, encoder: SpaceEncoder
) -> None:
    configs = encoder.sample(9, seed=3)
    x = prior.inputs(configs)
    np.testing.assert_array_equal(x[:, :-1], encoder.matrix(configs))
    np.testing.assert_array_equal(x[:, -1], prior.trusted_mean(configs))


def test_parts_can_be_left_out(offline: OfflineModels, encoder: SpaceEncoder) -> None:
    bare = OfflinePrior(offline, encoder, None, 0, ablate=("ranker",))
    assert bare.mean_prior is None
    assert not bare.inputs(encoder.sample(5, seed=3))[:, -1].any()


def test_without_a_history_the_prior_mean_is_zero(encoder: SpaceEncoder) -> None:
    prior = OfflinePrior(None, encoder, None, seed=0)
    assert not prior.mean(encoder.sample(5, seed=3)).any()
