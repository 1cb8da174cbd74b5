"""The Gaussian process over a task's scores: offline opinion plus residual.

Notation: n observations, d encoded columns, m(x) the offline opinion (standardised over the
space), r_h(x) what past task h said beyond it. In standardised scores,

    y(x) = c + s m(x) + g(x) + noise,   g ~ GP(0, w_1 mean_h r_h(x) r_h(x') + w_2 k(x, x')),

k Matern-5/2 with a lengthscale a column. The first term lets a few trials say which past tasks this
one resembles. b^2 = s^2 + w_1 v + w_2 is the variance of this task, v = E mean_h r_h^2, and
rho = s / b the share of its scale that the opinion explains. The prior on rho is
centred on the correlation that the history's held-out datasets showed, so that a history without
skill is ignored; everything is fitted by marginal likelihood times priors (MAP).
Sources: AutoPipe (arXiv 2603.18773) for mean + residual; Hvarfner et al. (arXiv 2402.02229) for
the dimension-scaled lengthscale prior.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.models import SingleTaskGP
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import Mean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior, NormalPrior
from linear_operator.utils.errors import NanError, NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

FIT_ERRORS = (ModelFittingError, NanError, NotPSDError)
MIN_NOISE = 1e-4
FIT_OPTIONS = {"maxiter": 200, "ftol": 1e-8}
JITTERS = (1e-5, 1e-3, 1e-2)  # noise variance added in turn when a fit fails


@dataclass(frozen=True)
class MeanPrior:
    """How much to believe the offline opinion before the first trial."""

    rho: float
    """Expected correlation of the opinion with this task's scores."""
    sd: float
    """Spread of that correlation from task to task."""


@dataclass(frozen=True)
class Split:
    """Which columns of the Gaussian process's inputs are what."""

    cube: int
    """d: the first columns are the encoded configuration; m(x) follows them."""
    past: int
    """h: the last columns are the deviations of past tasks."""
    past_variance: float
    """Mean over the space of the sum of their squares."""


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
        if len(y) < 6 or scale <= 1e-9 * max(abs(middle), 1e-300):
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


class OpinionMean(Mean):
    """const + slope * (m - centre), with m a column of x."""

    def __init__(self, column: int, centre: float, slope: float) -> None:
        super().__init__()
        self.column, self.centre = column, centre
        self.register_parameter("constant", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
        self.register_parameter(
            "slope", torch.nn.Parameter(torch.full((1,), slope, dtype=torch.float64))
        )

    def forward(self, x: Tensor) -> Tensor:
        """`batch x n x (d + 1 + h)` -> `batch x n`."""
        return self.at(x[..., self.column])

    def at(self, opinion: Tensor) -> Tensor:
        """The mean where the opinion is m."""
        return self.constant + self.slope * (opinion - self.centre)


class PastKernel(Kernel):
    """w_1 times the inner product of the columns that hold the deviations of past tasks."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        self.first = split.cube + 1
        start = torch.zeros(1, dtype=torch.float64)
        self.register_parameter("raw_weight", torch.nn.Parameter(start))
        self.register_constraint("raw_weight", _above(1e-3, 1.0))

    @property
    def weight(self) -> Tensor:
        """w_1."""
        return self.raw_weight_constraint.transform(self.raw_weight)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """`batch x n x m` covariances, or `batch x n` variances."""
        a, b = x1[..., self.first :], x2[..., self.first :]
        return self.weight * ((a * b).sum(-1) if diag else a @ b.mT)


@dataclass
class ResidualGP:
    """A fitted process. X is `n x (d + 1 + h)`: encoded cube, m (zeros if there is none), r_h."""

    model: SingleTaskGP
    transform: TailTransform
    x: Tensor
    slope: float

    @classmethod
    def fit(
        cls,
        inputs: np.ndarray,
        split: Split,
        y: np.ndarray,
        y_var: np.ndarray,
        prior: MeanPrior | None,
    ) -> ResidualGP | None:
        """Fit by MAP; on a numerical failure retry from a clean state with more noise.

        Args:
            inputs: X, duplicates already merged (`merge_duplicates`).
            split: Which of its columns are what.
            y: (n,) raw scores, more is better.
            y_var: (n,) known noise variances in raw units (0 if unknown).
            prior: Prior on rho; None leaves the opinion out.

        Returns:
            None if every attempt failed: the caller falls back on the opinion alone.
        """
        transform = TailTransform.of(y)
        z = torch.as_tensor(transform.forward(y)).unsqueeze(-1)
        noise = torch.as_tensor(y_var * transform.slope(y) ** 2)
        x = torch.as_tensor(inputs)
        for jitter in JITTERS:
            model = _build(x, split, z, noise + jitter, prior)
            mll = ExactMarginalLogLikelihood(model.likelihood, model)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumericalWarning)
                    warnings.simplefilter("ignore", BotorchWarning)
                    # Not fit_gpytorch_mll: its own retries draw from torch's global generator.
                    fit_gpytorch_mll_scipy(mll, options=FIT_OPTIONS)
                    with torch.no_grad():
                        model.posterior(x[:1]).mean.sum().item()
            except FIT_ERRORS:
                continue
            slope = model.mean_module.slope.item() if prior is not None else 0.0
            return cls(model, transform, x, slope)
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

    def prior_mean(self, opinion: np.ndarray) -> np.ndarray:
        """The part of the mean that the opinion gives, in raw units (flat without opinion)."""
        module = self.model.mean_module
        with torch.no_grad():
            return self.transform.inverse(module.at(torch.as_tensor(opinion)).numpy())


def _build(
    x: Tensor, split: Split, z: Tensor, noise: Tensor, prior: MeanPrior | None
) -> SingleTaskGP:
    left = 1.0 - (prior.rho**2 if prior else 0.0)
    if split.past:
        left = max(left - split.past_variance, 0.5 * left)
    residual: Kernel = _matern(split.cube, max(left, 0.05))
    covariance = residual + PastKernel(split) if split.past else residual
    likelihood = FixedNoiseGaussianLikelihood(noise=noise, learn_additional_noise=True)
    extra = likelihood.second_noise_covar
    extra.register_prior("noise_prior", LogNormalPrior(-4.0, 1.0), lambda m: m.noise)
    extra.register_constraint("raw_noise", _above(MIN_NOISE, math.exp(-5.0)))
    opinion = x[:, split.cube]
    mean = OpinionMean(split.cube, float(opinion.mean()), prior.rho if prior else 0.0)
    model: Any = SingleTaskGP(
        x, z, likelihood=likelihood, covar_module=covariance, mean_module=mean,
        outcome_transform=None,
    )  # fmt: skip

    def scale(model: Any) -> Tensor:
        """b."""
        variance = model.mean_module.slope**2 + residual.outputscale
        if split.past:
            variance = variance + split.past_variance * past_weight(model)
        return variance.sqrt()

    mean.register_prior("constant_prior", NormalPrior(0.0, 1.0), "constant")
    model.register_prior("scale_prior", LogNormalPrior(0.0, 0.75), scale)
    if split.past:
        # A task like the past ones deviates as much as they did: w_1 = b^2.
        model.register_prior(
            "past_prior", LogNormalPrior(0.0, 0.75), lambda m: past_weight(m) / scale(m) ** 2
        )
    if prior is None:
        mean.slope.requires_grad_(False)
    else:
        model.register_prior(
            "rho_prior", NormalPrior(prior.rho, prior.sd), lambda m: m.mean_module.slope / scale(m)
        )
    return model.to(x)


def past_weight(model: Any) -> Tensor:
    """w_1 of a model whose kernel has it."""
    return model.covar_module.kernels[1].weight


def _matern(d: int, variance: float) -> ScaleKernel:
    """w_2 k: its lengthscales grow with the root of the dimension (arXiv 2402.02229)."""
    lengthscale = LogNormalPrior(math.sqrt(2) + 0.5 * math.log(d) - 0.5, 1.0)
    return ScaleKernel(
        MaternKernel(
            nu=2.5,
            ard_num_dims=d,
            active_dims=tuple(range(d)),
            lengthscale_prior=lengthscale,
            lengthscale_constraint=_above(2.5e-2, float(lengthscale.mode)),
        ),
        outputscale_constraint=_above(1e-3, variance),
    )


def _above(lower: float, initial: float) -> GreaterThan:
    """A bounded positive parameter searched on a log scale, where L-BFGS needs few steps."""
    return GreaterThan(lower, transform=torch.exp, inv_transform=torch.log, initial_value=initial)


def merge_duplicates(
    keys: list[tuple], y: np.ndarray, y_var: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision-weighted means of the observations that share a key.

    Returns:
        Index of each distinct key's first row, merged scores and merged variances, each (u,).
    """
    first: dict[tuple, int] = {}
    members: dict[tuple, list[int]] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
        members.setdefault(key, []).append(i)
    floor = 1e-12 + 1e-6 * float(np.var(y)) if len(y) else 0.0
    merged, variances = [], []
    for rows in members.values():
        precision = 1.0 / (y_var[rows] + floor)
        merged.append(float(precision @ y[rows] / precision.sum()))
        variances.append(float(1.0 / precision.sum()))
    return np.array(list(first.values()), dtype=int), np.array(merged), np.array(variances)
