"""The Gaussian process over a task's scores: offline prior mean plus residual.

Notation: n observations, d encoded columns, m(x) the offline prior mean (standardised over the
space). In standardised scores,

    y(x) = c + s m(x) + g(x) + noise,   g ~ GP(0, w k(x, x')),

k Matern-5/2 with a lengthscale per column. The prior on rho = s / b, b^2 the variance of the task,
is centred on the correlation that the history's held-out datasets showed, so that a history without
skill is ignored, and leaves room for a task about which it is wrong. Hyperparameters:
`surrogates.gp.fit`. Source: AutoPipe (arXiv 2603.18773) for mean + residual.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import Mean
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from surrogates.gp.fit import FitData, Hyperparameters, MeanPrior, Posterior, fit
from surrogates.gp.levels import EDGE, LevelKernel, LevelPrior

NUMERICAL_ERRORS = (NanError, NotPSDError)
TOLERANCE = 1e-9  # squared distance in the cube below which two points are one
FEW = 6  # scores, whose quantiles say little
LEVEL_WEIGHT = 3.0  # scores that the scale of another level counts as
JITTERS = (1e-5, 1e-3, 1e-2)  # noise variance added in turn when a fit fails


@dataclass(frozen=True)
class TailTransform:
    """Standardisation that compresses the bad tail: one diverged run must not flatten the rest.

    z = (y - location) / scale; below z = -2 it becomes -2 - log(1 - (z + 2)). Monotone, smooth,
    inverted exactly.
    """

    location: float
    scale: float

    KNEE = -2.0

    @classmethod
    def of(cls, y: np.ndarray) -> TailTransform:
        """Location and scale of scores: median and half of the central 84 - 16 % range."""
        low, middle, high = np.quantile(y, [0.16, 0.5, 0.84])
        scale = max((high - low) / 2, high - middle)
        least = max(1e-9 * abs(middle), 1e-18 * float(np.ptp(y)), 1e-300)
        if len(y) < FEW or scale <= least:
            middle, scale = float(np.mean(y)), float(np.std(y))
        if not scale > 1e-12 * max(abs(middle), 1e-300):
            scale = 1.0
        return cls(float(middle), float(scale))

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Raw scores to standardised ones."""
        z = (np.asarray(y, dtype=np.float64) - self.location) / self.scale
        return np.where(z < self.KNEE, self.KNEE - np.log1p(np.maximum(self.KNEE - z, 0.0)), z)

    def slope(self, y: np.ndarray) -> np.ndarray:
        """Derivative of `forward`, for carrying standard errors across."""
        z = (np.asarray(y, dtype=np.float64) - self.location) / self.scale
        return 1.0 / (self.scale * (1.0 + np.maximum(self.KNEE - z, 0.0)))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Standardised scores back to raw ones."""
        z = np.asarray(z, dtype=np.float64)
        tail = self.KNEE - np.expm1(np.clip(self.KNEE - z, 0.0, 50.0))
        return self.location + self.scale * np.where(z < self.KNEE, tail, z)


def transforms_of(scores: Sequence[np.ndarray]) -> tuple[TailTransform, ...]:
    """The standardisation of each level's scores.

    The scale of a level with few scores is shrunk to that of the level with most of them, as the
    models of one family are scored alike: of n < 6 scores with a sum of squares SS around their
    mean, scale^2 = (3 s^2 + SS) / (3 + n - 1). A level without any score is scaled as that one.
    """
    most = TailTransform.of(max(scores, key=len))
    return tuple(
        TailTransform.of(y) if len(scores) == 1 or len(y) >= FEW else _shrunk(y, most)
        for y in scores
    )


def _shrunk(y: np.ndarray, typical: TailTransform) -> TailTransform:
    if len(y) == 0:
        return typical
    squares = LEVEL_WEIGHT * typical.scale**2 + float(((y - y.mean()) ** 2).sum())
    return TailTransform(float(y.mean()), (squares / (LEVEL_WEIGHT + len(y) - 1)) ** 0.5)


class OfflineMean(Mean):
    """const + slope * (m - centre), with m a column of x; of several levels each has a constant."""

    def __init__(self, column: int, centre: float, slope: float, constants: np.ndarray) -> None:
        super().__init__()
        self.column, self.centre, self.slope = column, centre, slope
        self.constants = torch.as_tensor(constants)

    def forward(self, x: Tensor) -> Tensor:
        """`batch x n x (d + 1)`, or one column more, -> `batch x n`."""
        level = -1 if len(self.constants) == 1 else x[..., -1].round().long()
        return self.at(x[..., self.column], level)

    def at(self, prior_mean: Tensor, level: int | Tensor = -1) -> Tensor:
        """The mean where the offline prior mean is m."""
        return self.constants[level] + self.slope * (prior_mean - self.centre)


class NuggetKernel(Kernel):
    """A variance of each configuration by itself: t where two points are the same, else 0.

    Repeats of one configuration share it, its neighbours do not.
    """

    def __init__(self, columns: tuple[int, ...], variance: float) -> None:
        super().__init__()
        self.columns, self.variance = list(columns), variance

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """`batch x n x m` covariances, or `batch x n` variances."""
        a, b = x1[..., self.columns], x2[..., self.columns]
        if diag:
            return torch.full(a.shape[:-1], self.variance, dtype=a.dtype)
        squares = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
        return self.variance * (squares - 2.0 * a @ b.mT < TOLERANCE).to(a.dtype)


@dataclass
class ResidualGP:
    """A fitted process.

    X is `n x (d + 1)`: encoded cube and m (zeros if there is none). With several levels of size
    (`surrogates.gp.levels`) it has one column more: the index of the level, the last the target.
    """

    model: SingleTaskGP
    transforms: tuple[TailTransform, ...]
    """Of each level's scores; the last is the target's."""
    hyperparameters: Hyperparameters
    data: FitData
    prior: MeanPrior | None
    noise: tuple[float, ...]
    """Mean variance of noise of each level's scores, in standardised units."""
    _intervals: dict[int, tuple[float, float]] = field(default_factory=dict, init=False)

    @classmethod
    def fit(
        cls,
        inputs: np.ndarray,
        y: np.ndarray,
        y_var: np.ndarray,
        prior: MeanPrior | None,
        nugget: float | None = None,
        levels: LevelPrior | None = None,
    ) -> ResidualGP | None:
        """Fit by MAP, on a numerical failure again with more noise; None if every attempt failed.

        Args:
            inputs: X, duplicates already merged (`merge_duplicates`).
            y: (n,) raw scores, more is better.
            y_var: (n,) known noise variances in raw units (0 if unknown).
            prior: On rho; None leaves the prior mean out.
            nugget: Where `y_var` is all the noise there is: the share of variance that is expected
                to belong to single configurations, and would be found there again. None: what
                sets single scores apart is noise.
            levels: What is known of them, if there are several.
        """
        count = levels.count if levels else 1
        level = inputs[:, -1].round().astype(int) if levels else np.zeros(len(y), dtype=int)
        transforms = transforms_of([y[level == each] for each in range(count)])
        z, noise = np.zeros(len(y)), np.zeros(len(y))
        for each, transform in enumerate(transforms):
            own = level == each
            z[own] = transform.forward(y[own])
            noise[own] = y_var[own] * transform.slope(y[own]) ** 2
        d = inputs.shape[1] - (2 if levels else 1)
        cube, prior_mean = inputs[:, :d], inputs[:, d]
        centre = float(prior_mean.mean())
        for jitter in JITTERS:
            data = FitData(
                cube,
                prior_mean - centre,
                z,
                noise + jitter,
                nugget,
                level if levels else None,
                levels,
            )
            found = fit(data, prior)
            if found is None:
                continue
            model = _model(inputs, data, centre, found)
            try:
                with warnings.catch_warnings(), torch.no_grad():
                    warnings.simplefilter("ignore", NumericalWarning)
                    model.posterior(torch.as_tensor(inputs[:1])).mean.sum().item()
            except NUMERICAL_ERRORS:
                continue
            own = (noise[level == each] for each in range(count))
            typical = tuple(float(v.sum() / max(len(v), 1)) for v in own)
            return cls(model, transforms, found, data, prior, typical)
        return None

    def posterior(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd of the noise-free full-length score in standardised units, each (n,)."""
        with torch.no_grad():
            posterior = self.model.posterior(torch.as_tensor(inputs))
            mean = posterior.mean.squeeze(-1).numpy()
            sd = posterior.variance.clamp_min(1e-12).sqrt().squeeze(-1).numpy()
        return mean, sd

    def joint(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (n,) and covariances `n x n` of noise-free scores, in standardised units."""
        return self.posterior(inputs)[0], self._covariance(torch.as_tensor(inputs)).numpy()

    def _covariance(self, x: Tensor) -> Tensor:
        """`batch x n x n` posterior covariances of `batch x n` points."""
        with torch.no_grad():
            found: Tensor = self.model(x).covariance_matrix
        return found

    def correlation_interval(self, level: int) -> tuple[float, float]:
        """The 90 % interval of a level's correlation with the target, with all else as fitted."""
        if level not in self._intervals:
            self._intervals[level] = self._correlation_interval(level, 0.9)
        return self._intervals[level]

    def _correlation_interval(self, level: int, share: float) -> tuple[float, float]:
        theta = self.hyperparameters.theta
        posterior = Posterior(self.data.for_fitting(), self.prior)
        place = 4 + posterior.d + len(self.noise) - 1 + level  # behind the constants of the proxies
        grid = np.linspace(-EDGE, EDGE, 100)
        moved = (np.r_[theta[:place], each, theta[place + 1 :]] for each in np.arctanh(grid))
        losses = np.array([posterior.loss(each) for each in moved])
        weight = np.exp(losses.min() - losses).cumsum()
        low, high = np.searchsorted(weight / weight[-1], [(1 - share) / 2, (1 + share) / 2])
        return float(grid[low]), float(grid[min(high, len(grid) - 1)])

    def informativeness(self, inputs: np.ndarray, images: np.ndarray, level: int) -> np.ndarray:
        """Share of the target's uncertainty that a trial of another level would resolve, (n,).

        cov(g_T(u), g_l(x))^2 / (var g_T(u) (var g_l(x) + noise_l)), under the present posterior,
        whose variances hold the nugget where it is no noise.

        Args:
            inputs: X of the trials on that level.
            images: X of what they stand for on the target.
            level: Its index.
        """
        pairs = torch.as_tensor(np.stack([images, inputs], axis=1))
        covariance = self._covariance(pairs)
        found = self.hyperparameters
        noise = self.noise[level] + (found.noise if self.data.nugget is None else 0.0)
        target, own = covariance[:, 0, 0].clamp_min(1e-12), covariance[:, 1, 1].clamp_min(1e-12)
        return (covariance[:, 0, 1].square() / (target * (own + noise))).clamp(0.0, 1.0).numpy()

    def raw(
        self, mean: np.ndarray, sd: np.ndarray, level: int = -1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Standardised mean and sd in raw score units (median and half the 1-sd range)."""
        t = self.transforms[level]
        return t.inverse(mean), (t.inverse(mean + sd) - t.inverse(mean - sd)) / 2

    def offline_part(self, prior_mean: np.ndarray, level: int = -1) -> np.ndarray:
        """The part of the mean that the offline prior gives, in raw units (flat without one)."""
        module = self.model.mean_module
        with torch.no_grad():
            found = module.at(torch.as_tensor(prior_mean), level)
            return self.transforms[level].inverse(found.numpy())


def _model(
    inputs: np.ndarray, data: FitData, centre: float, found: Hyperparameters
) -> SingleTaskGP:
    """BoTorch's model with these hyperparameters, for posteriors and acquisition."""
    d = data.cube.shape[1]
    matern = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=d, active_dims=tuple(range(d)))).double()
    matern.base_kernel.lengthscale = torch.as_tensor(found.lengthscales)
    matern.outputscale = torch.tensor(found.variance, dtype=torch.float64)
    covariance: Kernel = matern
    columns = tuple(range(d))
    constants = np.array([found.constant])
    if data.levels is not None and found.levels is not None:
        covariance = LevelKernel(matern, data.levels, found.levels)
        columns = (*columns, d + 1)
        constants = found.levels.constants
    noise = torch.as_tensor(data.noise)
    if data.nugget is None:
        noise = noise + found.noise
    else:
        covariance = covariance + NuggetKernel(columns, found.noise)
    model = SingleTaskGP(
        torch.as_tensor(inputs),
        torch.as_tensor(data.z).unsqueeze(-1),
        likelihood=FixedNoiseGaussianLikelihood(noise=noise),
        covar_module=covariance,
        mean_module=OfflineMean(d, centre, found.slope, constants),
        outcome_transform=None,
    )
    return model.eval()


def merge_duplicates(
    keys: list[tuple], y: np.ndarray, y_var: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision-weighted means of the observations that share a key, and their variances.

    A variance of 0 is unknown, and carries no information on the precision of the score: beside
    repeats whose variance is known it counts as the largest of theirs; repeats of which none is
    known count the same, and what they have in common stays unknown.

    Returns:
        Index of each distinct key's first row, merged scores and merged variances, each (u,).
    """
    first: dict[tuple, int] = {}
    members: dict[tuple, list[int]] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
        members.setdefault(key, []).append(i)
    merged, variances = [], []
    for rows in members.values():
        variance = np.where(y_var[rows] > 0, y_var[rows], y_var[rows].max())
        known = variance[0] > 0
        weight = 1.0 / (variance / variance.max()) if known else np.ones(len(rows))
        merged.append(float(weight @ y[rows] / weight.sum()))
        variances.append(float(variance.max() / weight.sum()) if known else 0.0)
    return np.array(list(first.values()), dtype=int), np.array(merged), np.array(variances)
