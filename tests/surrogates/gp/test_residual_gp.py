from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surrogates.gp.acquisition import cost_weight, log_noisy_ei
from surrogates.gp.fit import MeanPrior
from surrogates.gp.residual_gp import ResidualGP, TailTransform, merge_duplicates

RNG = np.random.default_rng(0)


def fit(
    cube: np.ndarray,
    prior_mean: np.ndarray,
    y: np.ndarray,
    y_var: np.ndarray,
    prior: MeanPrior | None,
) -> ResidualGP:
    """A process on these inputs, which must be there."""
    gp = ResidualGP.fit(inputs(cube, prior_mean), y, y_var, prior)
    return gp


def inputs(cube: np.ndarray, prior_mean: np.ndarray) -> np.ndarray:
    return np.column_stack([cube, prior_mean])


def problem(n: int, rho: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cube, prior_mean and scores: y correlates with the prior at about rho."""
    rng = np.random.default_rng(n)
    cube = rng.random((n, 3))
    prior_mean = rng.standard_normal(n)
    other = 3.0 * (cube[:, 0] - 0.5)
    return cube, prior_mean, 5.0 + 2.0 * (rho * prior_mean + np.sqrt(1 - rho**2) * other)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=30))
@example([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, -6.8e-79])
@settings(deadline=None)
def test_tail_transform_is_monotone_and_inverts(values: list[float]) -> None:
    y = np.array(values)
    t = TailTransform.of(y)
    z = t.forward(np.sort(y))
    assert (np.diff(z) >= 0).all()
    np.testing.assert_allclose(t.inverse(z), np.sort(y), rtol=1e-6, atol=1e-6 * t.scale)


def test_one_disaster_does_not_flatten_the_rest() -> None:
    y = np.array([0.5, 0.6, 0.55, 0.58, 0.62, 0.5, 0.57, -1e6])
    z = TailTransform.of(y).forward(y)
    assert np.ptp(z[:-1]) > 1.0
    assert z[-1] > -30.0


def test_a_skilled_opinion_carries_unseen_points() -> None:
    cube, prior_mean, y = problem(30, rho=0.95)
    gp = fit(cube[:10], prior_mean[:10], y[:10], np.zeros(10), MeanPrior(0.9, 0.2))
    mean, _ = gp.raw(*gp.posterior(inputs(cube[10:], prior_mean[10:])))
    assert np.corrcoef(mean, y[10:])[0, 1] > 0.9
    assert gp.hyperparameters.slope > 0.3


def test_without_prior_the_opinion_is_ignored() -> None:
    cube, prior_mean, y = problem(12, rho=0.5)
    gp = fit(cube, prior_mean, y, np.zeros(12), None)
    assert gp.hyperparameters.slope == 0.0
    a, b = gp.posterior(inputs(cube, prior_mean)), gp.posterior(inputs(cube, -prior_mean))
    np.testing.assert_allclose(a[0], b[0])


def test_data_overrule_a_wrong_opinion() -> None:
    cube, prior_mean, y = problem(30, rho=0.95)
    gp = fit(cube, -prior_mean, y, np.zeros(30), MeanPrior(0.7, 0.25))
    assert gp.hyperparameters.slope < 0.2


def test_a_noisy_observation_pulls_less() -> None:
    cube, y = np.array([[0.1], [0.5], [0.9]]), np.array([0.0, 5.0, 0.0])
    m = np.zeros(3)
    sure = fit(cube, m, y, np.zeros(3), None)
    unsure = fit(cube, m, y, np.array([0.0, 100.0, 0.0]), None)
    middle = np.array([[0.5]])
    assert (
        unsure.raw(*unsure.posterior(inputs(middle, m[:1])))[0]
        < sure.raw(*sure.posterior(inputs(middle, m[:1])))[0]
    )


@pytest.mark.parametrize("y", [np.zeros(5), np.full(5, 1e8), np.array([0.0, 0, 0, 0, 1e-9])])
def test_degenerate_scores_still_fit(y: np.ndarray) -> None:
    gp = fit(RNG.random((5, 2)), np.zeros(5), y, np.zeros(5), None)
    mean, sd = gp.posterior(inputs(RNG.random((3, 2)), np.zeros(3)))
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()


def test_fit_leaves_torch_as_it_was() -> None:
    dtype, state = torch.get_default_dtype(), torch.random.get_rng_state()
    cube, prior_mean, y = problem(8, 0.5)
    fit(cube, prior_mean, y, np.zeros(8), MeanPrior(0.5, 0.2))
    assert torch.get_default_dtype() == dtype
    assert torch.equal(torch.random.get_rng_state(), state)


def test_duplicates_merge_by_precision() -> None:
    keys = [("a",), ("b",), ("a",)]
    first, y, var = merge_duplicates(keys, np.array([1.0, 5.0, 2.0]), np.array([1.0, 1.0, 3.0]))
    assert first.tolist() == [0, 1]
    assert y[0] == pytest.approx(1.25, abs=1e-3)
    assert var[0] == pytest.approx(0.75, abs=1e-3)
    assert y[1] == 5.0


def test_an_unknown_error_is_not_taken_for_none() -> None:
    """Beside a repeat of known error it weighs no more; alone it stays unknown."""
    keys = [("a",), ("a",), ("b",), ("b",)]
    y, var = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.04, 0.0, 0.0, 0.0])
    first, merged, variance = merge_duplicates(keys, y, var)
    assert first.tolist() == [0, 2]
    assert merged == pytest.approx([1.5, 4.0])
    assert variance == pytest.approx([0.02, 0.0])


def test_improvement_falls_next_to_a_pending_point() -> None:
    cube, prior_mean, y = problem(10, 0.5)
    gp = fit(cube, prior_mean, y, np.zeros(10), None)
    points = np.column_stack([np.random.default_rng(1).random((40, 3)), np.zeros(40)])
    observed = inputs(cube, prior_mean)
    free = log_noisy_ei(gp, points, observed, None, seed=0)
    top = int(np.argmax(free))
    taken = log_noisy_ei(gp, points, observed, points[[top]], seed=0)
    assert taken[top] < free[top] - 1.0
    assert np.array_equal(free, log_noisy_ei(gp, points, observed, None, seed=0))


def test_cost_counts_less_as_the_budget_runs_out() -> None:
    assert [cost_weight(s, 10.0) for s in (0.0, 5.0, 10.0, 20.0)] == [1.0, 0.5, 0.0, 0.0]
    assert cost_weight(3.0, None) == 0.5


def test_what_noise_does_not_explain_belongs_to_the_configuration() -> None:
    """Rough scores: with known small errors each is kept, with unknown ones they are smoothed."""
    rng = np.random.default_rng(2)
    cube, y, m = rng.random((16, 3)), rng.normal(size=16), np.zeros(16)
    x = inputs(cube, m)
    kept = ResidualGP.fit(x, y, np.full(16, 1e-6), None, 0.4)
    smoothed = ResidualGP.fit(x, y, np.full(16, 0.5), None, 0.4)
    told = kept.raw(*kept.posterior(x))[0]
    np.testing.assert_allclose(told, y, atol=0.05)
    # With a variance of 0.5 known of each, they are drawn to each other.
    assert smoothed.raw(*smoothed.posterior(x))[0].std() < 0.8 * y.std()
    # A neighbour has a value of its own: less is known of it than of the point itself.
    near = inputs(cube + 1e-3, m)
    assert kept.posterior(near)[1].min() > 5 * kept.posterior(x)[1].max()
