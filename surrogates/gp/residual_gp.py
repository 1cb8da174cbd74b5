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
from dataclasses import dataclass
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

from surrogates.gp.fit import FitData, Hyperparameters, MeanPrior, fit

NUMERICAL_ERRORS = (NanError, NotPSDError)
TOLERANCE = 1e-9  # squared distance in the cube below which two points are one
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
        if len(y) < 6 or scale <= least:
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


class OfflineMean(Mean):
    """const + slope * (m - centre), with m a column of x."""

    def __init__(self, column: int, centre: float, constant: float, slope: float) -> None:
        super().__init__()
        self.column, self.centre = column, centre
        self.constant, self.slope = constant, slope

    def forward(self, x: Tensor) -> Tensor:
        """`batch x n x (d + 1)` -> `batch x n`."""
        return self.at(x[..., self.column])

    def at(self, prior_mean: Tensor) -> Tensor:
        """The mean where the offline prior mean is m."""
        return self.constant + self.slope * (prior_mean - self.centre)


class NuggetKernel(Kernel):
    """A variance of each configuration by itself: t where two points are the same, else 0.

    Repeats of one configuration share it, its neighbours do not.
    """

    def __init__(self, columns: int, variance: float) -> None:
        super().__init__()
        self.columns, self.variance = columns, variance

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """`batch x n x m` covariances, or `batch x n` variances."""
        a, b = x1[..., : self.columns], x2[..., : self.columns]
        if diag:
            return torch.full(a.shape[:-1], self.variance, dtype=a.dtype)
        squares = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
        return self.variance * (squares - 2.0 * a @ b.mT < TOLERANCE).to(a.dtype)


@dataclass
class ResidualGP:
    """A fitted process. X is `n x (d + 1)`: encoded cube and m (zeros if there is none)."""

    model: SingleTaskGP
    transform: TailTransform
    hyperparameters: Hyperparameters

    @classmethod
    def fit(
        cls,
        inputs: np.ndarray,
        y: np.ndarray,
        y_var: np.ndarray,
        prior: MeanPrior | None,
        nugget: float | None = None,
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
        """
        transform = TailTransform.of(y)
        z, noise = transform.forward(y), y_var * transform.slope(y) ** 2
        cube, prior_mean = inputs[:, :-1], inputs[:, -1]
        centre = float(prior_mean.mean())
        for jitter in JITTERS:
            data = FitData(cube, prior_mean - centre, z, noise + jitter, nugget)
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
            return cls(model, transform, found)
        return None

    def posterior(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd of the noise-free full-length score in standardised units, each (n,)."""
        with torch.no_grad():
            posterior = self.model.posterior(torch.as_tensor(inputs))
            mean = posterior.mean.squeeze(-1).numpy()
            sd = posterior.variance.clamp_min(1e-12).sqrt().squeeze(-1).numpy()
        return mean, sd

    def raw(self, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standardised mean and sd in raw score units (median and half the 1-sd range)."""
        t = self.transform
        return t.inverse(mean), (t.inverse(mean + sd) - t.inverse(mean - sd)) / 2

    def offline_part(self, prior_mean: np.ndarray) -> np.ndarray:
        """The part of the mean that the offline prior gives, in raw units (flat without one)."""
        module = self.model.mean_module
        with torch.no_grad():
            return self.transform.inverse(module.at(torch.as_tensor(prior_mean)).numpy())


def _model(
    inputs: np.ndarray, data: FitData, centre: float, found: Hyperparameters
) -> SingleTaskGP:
    """BoTorch's model with these hyperparameters, for posteriors and acquisition."""
    d = data.cube.shape[1]
    matern = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=d, active_dims=tuple(range(d)))).double()
    matern.base_kernel.lengthscale = torch.as_tensor(found.lengthscales)
    matern.outputscale = torch.tensor(found.variance, dtype=torch.float64)
    covariance: Kernel = matern
    noise = torch.as_tensor(data.noise)
    if data.nugget is None:
        noise = noise + found.noise
    else:
        covariance = covariance + NuggetKernel(d, found.noise)
    model = SingleTaskGP(
        torch.as_tensor(inputs),
        torch.as_tensor(data.z).unsqueeze(-1),
        likelihood=FixedNoiseGaussianLikelihood(noise=noise),
        covar_module=covariance,
        mean_module=OfflineMean(d, centre, found.constant, found.slope),
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
