"""Several levels of size in one Gaussian process, on families that were made on purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel

from surrogates.gp.fit import FitData, Posterior, starts
from surrogates.gp.levels import (
    LevelFit,
    LevelKernel,
    LevelPrior,
    LevelTerms,
    correlation_prior,
    log_correlation_prior,
)
from surrogates.gp.residual_gp import ResidualGP

DECADES = 4.0  # of the first column, a learning rate
CORRELATION_PRIOR = correlation_prior(0.1)


def prior(shift: float = 0.0, proxies: int = 1) -> LevelPrior:
    expected = np.zeros((proxies + 1, 1, 1))
    expected[:-1] = shift
    return LevelPrior(
        proxies + 1, (0,), (), np.array([1 / DECADES]), expected, (-1,),
        (CORRELATION_PRIOR,) * proxies,
    )  # fmt: skip


def landscape(cube: np.ndarray) -> np.ndarray:
    """A ridge along the learning rate, and a slope along the rest."""
    return -8.0 * (cube[:, 0] - 0.6) ** 2 + np.sin(3.0 * cube[:, 1]) + 0.5 * cube[:, 2]


def family(shift: float, agreement: float, seed: int, n: tuple[int, int] = (30, 12)):
    """X and y of a proxy whose rates are `shift` decades above their images, and of the target."""
    rng = np.random.default_rng(seed)
    cube = rng.uniform(size=(sum(n), 3))
    level = np.repeat([0.0, 1.0], n)
    image = cube.copy()
    image[: n[0], 0] += shift / DECADES
    own = np.sin(7.0 * cube @ np.array([1.0, 2.0, 3.0]))
    y = landscape(image)
    y[: n[0]] = agreement * y[: n[0]] + math.sqrt(1 - agreement**2) * own[: n[0]]
    y[: n[0]] = 5.0 + 10.0 * y[: n[0]]  # in units of its own
    return np.column_stack([cube, np.zeros(len(y)), level]), y


@pytest.mark.parametrize("shift", [-0.6, -0.2, 0.2])
def test_the_shift_is_recovered(shift: float) -> None:
    x, y = family(shift, 1.0, seed=1)
    gp = ResidualGP.fit(x, y, np.full(len(y), 1e-6), None, 0.05, prior(shift=-0.3))
    assert gp is not None
    found = gp.hyperparameters.levels
    assert found is not None
    assert abs(found.shift[0, 0, 0] - shift) / DECADES < 0.1
    assert found.shift[1, 0, 0] == 0.0


def test_the_shift_is_not_learned_from_few_trials_of_the_target() -> None:
    x, y = family(0.2, 1.0, seed=1, n=(30, 2))
    gp = ResidualGP.fit(x, y, np.full(len(y), 1e-6), None, 0.05, prior(shift=-0.3))
    assert gp is not None
    assert gp.hyperparameters.levels is not None
    assert gp.hyperparameters.levels.shift[0, 0, 0] == -0.3


def test_what_agrees_is_trusted_and_what_does_not_is_not() -> None:
    found = []
    for agreement in (1.0, 0.0):
        x, y = family(0.0, agreement, seed=2, n=(40, 20))
        gp = ResidualGP.fit(x, y, np.full(len(y), 1e-6), None, 0.05, prior())
        assert gp is not None
        assert gp.hyperparameters.levels is not None
        found.append(gp.hyperparameters.levels.correlations[0])
    assert found[0] > 0.85
    assert found[1] < 0.5


def test_a_ranking_in_reverse_is_learned_from_a_few_trials_of_the_target_and_of_use() -> None:
    x, y = family(0.0, 1.0, seed=2, n=(40, 26))
    y[:40] = -y[:40]
    few = np.r_[:46]
    gp = ResidualGP.fit(x[few], y[few], np.full(46, 1e-6), None, 0.05, prior())
    assert gp is not None
    assert gp.hyperparameters.levels is not None
    assert gp.hyperparameters.levels.correlations[0] < -0.7
    low, high = gp.correlation_interval(0)
    assert low <= gp.hyperparameters.levels.correlations[0] <= high < 0.0
    assert np.corrcoef(gp.posterior(x[46:])[0], y[46:])[0, 1] > 0.8


@pytest.mark.parametrize("cost", [0.9, 0.26, 0.026, 1e-4])
def test_the_prior_on_a_correlation_is_a_density_and_trusts_larger_proxies_more(cost: float):
    a, b = (torch.tensor(value, dtype=torch.float64) for value in correlation_prior(cost))
    r = torch.linspace(-1.0, 1.0, 20_001, dtype=torch.float64)[1:-1]
    density = log_correlation_prior(r, a, b).exp()
    assert torch.trapezoid(density, r).item() == pytest.approx(1.0, abs=0.02)
    assert torch.trapezoid(density[r < 0], r[r < 0]).item() == pytest.approx(0.05, abs=0.001)
    larger = correlation_prior(min(1.0, 3.0 * cost))
    assert larger[0] / sum(larger) >= a / (a + b)


def test_a_proxy_predicts_the_target_in_the_targets_units() -> None:
    x, y = family(-0.3, 1.0, seed=3, n=(40, 6))
    known = ResidualGP.fit(x, y, np.full(len(y), 1e-6), None, 0.05, prior(shift=-0.3))
    alone = ResidualGP.fit(x[40:, :-1], y[40:], np.full(6, 1e-6), None, 0.05)
    assert known is not None
    assert alone is not None
    cube = np.random.default_rng(4).uniform(size=(200, 3))
    truth = landscape(cube)
    inputs = np.column_stack([cube, np.zeros(200), np.ones(200)])
    errors = [
        np.abs(gp.raw(*gp.posterior(each))[0] - truth).mean()
        for gp, each in ((known, inputs), (alone, inputs[:, :-1]))
    ]
    assert errors[0] < 0.6 * errors[1]


def test_a_trial_that_was_run_tells_nothing_more() -> None:
    x, y = family(0.0, 1.0, seed=5)
    gp = ResidualGP.fit(x, y, np.full(len(y), 1e-6), None, 0.05, prior())
    assert gp is not None
    fresh = np.random.default_rng(6).uniform(size=(50, 3))
    new = np.column_stack([fresh, np.zeros(50), np.zeros(50)])
    old = x[:30]

    def on_target(rows: np.ndarray) -> np.ndarray:
        return np.column_stack([rows[:, :-1], np.ones(len(rows))])

    told_new = gp.informativeness(new, on_target(new), 0)
    told_old = gp.informativeness(old, on_target(old), 0)
    assert ((told_new >= 0) & (told_new <= 1)).all()
    assert np.median(told_old) < 0.3 * np.median(told_new)


def test_the_kernel_is_a_covariance_for_any_correlations_and_shifts() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        fit = LevelFit(
            np.zeros(3), np.append(rng.uniform(0, 1, 2), 1.0), rng.normal(size=(3, 1, 2))
        )
        levels = LevelPrior(
            3, (0,), (1, 2), np.array([0.3]), fit.shift, (-1,), (CORRELATION_PRIOR,) * 2
        )
        base = MaternKernel(nu=2.5, ard_num_dims=4, active_dims=tuple(range(4))).double()
        x = np.column_stack([rng.uniform(size=(30, 4)), np.zeros(30), rng.integers(0, 3, 30)])
        x[:, 1:3] = np.eye(2)[rng.integers(0, 2, 30)]
        k = LevelKernel(base, levels, fit)
        tensor = torch.as_tensor(x)
        matrix = k(tensor).to_dense().detach().numpy()
        assert np.linalg.eigvalsh(matrix).min() > -1e-9
        np.testing.assert_allclose(np.diag(matrix), k(tensor, diag=True).detach(), rtol=1e-12)


def test_a_rate_that_is_inactive_does_not_shift() -> None:
    """On both levels it is encoded alike, so the configuration is its own image."""
    fit = LevelFit(np.zeros(2), np.array([1.0, 1.0]), np.array([[[-0.5]], [[0.0]]]))
    levels = LevelPrior(2, (0,), (), np.array([0.25]), fit.shift, (1,), (CORRELATION_PRIOR,))
    base = MaternKernel(nu=2.5, ard_num_dims=3, active_dims=(0, 1, 2)).double()
    kernel = LevelKernel(base, levels, fit)
    for active, moved in ((0.0, False), (1.0, True)):
        pair = [[0.5, active, 0.3, 0.0, level] for level in (0.0, 1.0)]
        covariance = kernel(torch.as_tensor(np.array(pair))).to_dense()[0, 1].item()
        assert (covariance < 0.999) == moved
        terms = LevelTerms(levels, np.array(pair)[:, :3], np.array([0, 1]), learn=False)
        image = terms.moved(torch.as_tensor(terms.starts[0]))[:, 0]
        assert (image[0] != image[1]) == moved


def test_many_scores_of_a_proxy_leave_those_of_the_target_in_the_fit() -> None:
    x, y = family(0.1, 0.8, seed=3, n=(300, 3))
    gp = ResidualGP.fit(x, y, np.full(len(y), 1e-4), None, 0.05, prior(0.1))
    assert gp is not None
    assert gp.hyperparameters.levels is not None
    found = gp.hyperparameters.levels.correlations[0]
    low, high = gp.correlation_interval(0)
    assert low <= found <= high
    part = gp.data.for_fitting()
    assert part.level is not None
    assert (int((part.level == 1).sum()), len(part.z)) == (3, 200)


def test_the_gradient_of_the_posterior_is_right() -> None:
    x, y = family(0.1, 0.8, seed=8, n=(12, 9))
    data = FitData(
        x[:, :3], x[:, 3], (y - y.mean()) / y.std(), np.full(len(y), 1e-3), 0.05,
        x[:, -1].astype(int), prior(-0.2),
    )  # fmt: skip
    posterior = Posterior(data, None)
    theta = starts(data, None)[0] + 0.1
    value, gradient = posterior(theta)
    assert posterior.loss(theta) == pytest.approx(value)
    for i in range(len(theta)):
        step = np.eye(len(theta))[i] * 1e-5
        numeric = (posterior(theta + step)[0] - posterior(theta - step)[0]) / 2e-5
        assert gradient[i] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_a_level_without_scores_and_one_with_a_single_score_can_be_predicted() -> None:
    x, y = family(0.0, 1.0, seed=9, n=(20, 1))
    x[:, -1] = np.repeat([1.0, 2.0], [20, 1])  # level 0 has none
    gp = ResidualGP.fit(x, y, np.full(len(y), 1e-6), None, 0.05, prior(proxies=2))
    assert gp is not None
    for level in (0.0, 1.0, 2.0):
        inputs = np.column_stack([x[:5, :-1], np.full(5, level)])
        assert np.isfinite(gp.posterior(inputs)[0]).all()
    assert gp.transforms[0] == gp.transforms[1]
