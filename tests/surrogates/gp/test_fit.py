"""Hyperparameters: the objective is what it says, and the search for its best mode is robust."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gpytorch.kernels import MaternKernel
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from surrogates.gp.fit import STEPS, FitData, Hyperparameters, MeanPrior, Posterior, fit, starts


def data(n: int, d: int, seed: int) -> FitData:
    """A smooth function of the first column, and a prior mean that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    cube = rng.random((n, d))
    prior_mean = rng.normal(size=n)
    z = np.sin(4 * cube[:, 0])
    return FitData(cube, prior_mean - prior_mean.mean(), z / z.std(), np.zeros(n))


def theta(d: int, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.normal(size=2), rng.normal(size=2) - 1, 0.3 * rng.normal(size=d)])


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_likelihood_is_that_of_a_normal_distribution(seed: int) -> None:
    import torch

    rng = np.random.default_rng(seed)
    x = data(7, 3, seed)
    p = theta(3, rng)
    found = Hyperparameters.of(p)
    kernel = MaternKernel(nu=2.5, ard_num_dims=3).double()
    kernel.lengthscale = torch.as_tensor(found.lengthscales)
    with torch.no_grad():
        matern = kernel(torch.as_tensor(x.cube)).to_dense().numpy()
    covariance = found.variance * matern + found.noise * np.eye(7)
    mean = found.constant + found.slope * x.prior_mean
    said = Posterior(x, MeanPrior(0.5, 0.2)).log_likelihood(torch.as_tensor(p)).item()
    assert said == pytest.approx(multivariate_normal(mean, covariance).logpdf(x.z), abs=1e-6)


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_gradient_is_that_of_the_value(seed: int, known: bool) -> None:
    rng = np.random.default_rng(seed)
    target = Posterior(data(6, 2, seed), MeanPrior(0.5, 0.2) if known else None)
    at = theta(2, rng)
    gradient = target(at)[1]
    for i in range(len(at)):
        if not known and i == 1:
            continue  # the slope is fixed at 0 by its bounds
        step = np.zeros(len(at))
        step[i] = 1e-5
        slope = (target(at + step)[0] - target(at - step)[0]) / 2e-5
        assert gradient[i] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_no_single_start_is_better_than_all() -> None:
    """Rough scores: from a smooth start they look like noise, eight nats or more below the best."""
    gained = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cube, prior_mean = rng.random((14, 2)), rng.normal(size=14)
        prior_mean -= prior_mean.mean()
        z = np.sin(14 * cube[:, 0]) * np.cos(9 * cube[:, 1]) + 0.3 * prior_mean
        z = (z - z.mean()) / z.std()
        x, prior = (
            FitData(cube, prior_mean, z, np.zeros(14)),
            MeanPrior(0.7, 0.2),
        )
        found = fit(x, prior)
        packed = [found.constant, found.slope, math.log(found.variance)]
        packed += [math.log(found.noise), *np.log(found.lengthscales)]
        target = Posterior(x, prior)
        alone = [float(target.descend(start, STEPS).fun) for start in starts(x, prior)]
        reached = target(np.array(packed))[0]
        assert reached <= min(alone) + 0.1
        gained.append(alone[0] - reached)
    assert max(gained) > 8.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_opinion_is_believed_as_far_as_it_is_right(sign: float) -> None:
    """Held-out skill says 0.8; a task of the opposite sign must not be held to it."""
    rng = np.random.default_rng(1)
    cube, prior_mean = rng.random((10, 3)), rng.normal(size=10)
    prior_mean -= prior_mean.mean()
    z = sign * prior_mean + 0.2 * rng.normal(size=10)
    x = FitData(cube, prior_mean, z / z.std(), np.zeros(10))
    found = fit(x, MeanPrior(0.8, 0.2))
    assert found.slope * sign > 0.3


def test_without_a_prior_nothing_hangs_on_the_opinion() -> None:
    found = fit(data(8, 2, 0), None)
    assert found.slope == 0.0


def test_the_same_data_give_the_same_mode() -> None:
    first, second = (fit(data(9, 3, 4), MeanPrior(0.5, 0.2)) for _ in range(2))
    assert first.noise == second.noise
    np.testing.assert_array_equal(first.lengthscales, second.lengthscales)
